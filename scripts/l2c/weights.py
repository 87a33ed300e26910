"""The mixing weights of a run, by round, and how much of them lies on nodes with the same task."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from decentralized import config
from decentralized.build import BuiltIn
from decentralized.data.cards import data_root
from decentralized.metrics import read_metrics
from decentralized.prepare import prepare
from decentralized.run_directory import RunDirectory


@dataclass(frozen=True)
class Weights:
    """Of one run: round to the mixing weights (N, N) of its nodes, row i those that node i gave; and their classes."""

    by_round: Mapping[int, np.ndarray]
    classes: Sequence[frozenset[int]]

    @property
    def nodes(self) -> int:
        return len(self.classes)

    def chosen(self, rounds: Sequence[int] | None) -> list[int]:
        """The rounds asked for, or the first, the tenth and the last."""
        last = max(self.by_round)
        return list(dict.fromkeys(rounds or [1, min(10, last), last]))

    def mates(self, node: int) -> list[int]:
        """The other nodes with the same classes."""
        return [other for other in range(self.nodes) if other != node and self.classes[other] == self.classes[node]]


def weights_of(path: Path) -> Weights:
    """Read from a run directory; the classes come from its configuration, and the data."""
    directory = RunDirectory.open(path)
    experiment = config.load(directory.config, BuiltIn())
    prepared = prepare(experiment, data_root())
    classes = [frozenset(np.unique(prepared.data.train.targets[part.train]).tolist()) for part in prepared.parts]
    by_round: dict[int, np.ndarray] = {}
    for node in directory.nodes():
        for record in read_metrics(directory.node(node).metrics):
            found: Any = record.get("weights")
            if found:
                rows = by_round.setdefault(int(str(record["round"])), np.zeros((experiment.nodes, experiment.nodes)))
                for peer, weight in found.items():
                    rows[node, int(peer)] = weight
    if not by_round:
        raise SystemExit(f"{path} has no mixing weights: run it with --set evaluation.weights=true")
    return Weights(by_round, classes)


def with_mates(weights: Weights, rows_NN: np.ndarray) -> tuple[float, float]:
    """The share of the nodes whose mates have the largest weights outside itself, and the mean weight on mates there.

    Of equal weights those of mates count as the smaller ones.
    """
    first, shares = [], []
    for node in range(weights.nodes):
        mates = weights.mates(node)
        others = [other for other in range(weights.nodes) if other != node and other not in mates]
        if mates:
            first.append(min(rows_NN[node, mates]) > max(rows_NN[node, others], default=0.0))
            shares.append(rows_NN[node, mates].sum() / max(1e-300, rows_NN[node, [*mates, *others]].sum()))
    return float(np.mean(first)), float(np.mean(shares))


def by_shared(weights: Weights, round: int) -> list[tuple[float, list[float]]]:
    """Figure 7: the weights of all pairs, by the number of classes that they share."""
    found: dict[int, list[float]] = {}
    for node, other in itertools.permutations(range(weights.nodes), 2):
        count = len(weights.classes[node] & weights.classes[other])
        found.setdefault(count, []).append(float(weights.by_round[round][node, other]))
    return sorted((float(count), values) for count, values in found.items())
