"""Classes that have other numbers on some nodes: tasks that are similar and not the same.

Bouchra Pilet, Frey, Taiani 2019, section V.1, exchange handwritten digits for some peers in this way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from decentralized.data.dataset import DataSet, DataSettings, Samples
from decentralized.errors import ConfigError
from decentralized.settings import Component
from decentralized.types import NodeId


def permutation(cycles: Sequence[Sequence[int]], classes: int) -> np.ndarray:
    """The new number of each class, (classes,): in a cycle (a b c), a becomes b, b becomes c, and c becomes a."""
    new_C = np.arange(classes)
    for cycle in cycles:
        new_C[list(cycle)] = np.roll(cycle, -1)
    return new_C


def relabelled(data: DataSet, settings: Component, node: NodeId) -> DataSet:
    """The data with the class numbers of this node, in the training and the test part; without any, the same data."""
    rules = settings.permute_labels if isinstance(settings, DataSettings) else ()
    for rule in rules:
        if node in rule.nodes:
            new_C = permutation(rule.cycles, data.facts.classes)
            return replace(data, train=_renamed(data.train, new_C), test=_renamed(data.test, new_C))
    return data


def check_relabelling(data: DataSet, settings: DataSettings, nodes: int) -> None:
    """Raises ConfigError with all that is wrong with `permute_labels`."""
    where, seen, mistakes = "[data] permute_labels:", set[NodeId](), list[str]()
    if settings.permute_labels and data.task != "classification":
        raise ConfigError([f"{where} the data has no classes"])
    for rule in settings.permute_labels:
        mistakes += [f"{where} node {node}, and the last node is {nodes - 1}" for node in rule.nodes if node >= nodes]
        mistakes += [f"{where} node {node} is named twice" for node in rule.nodes if node in seen]
        seen.update(rule.nodes)
        named = [label for cycle in rule.cycles for label in cycle]
        mistakes += [f"{where} there is no class {label}" for label in named if label >= data.facts.classes]
        if len(set(named)) < len(named):
            mistakes.append(f"{where} cycles {list(map(list, rule.cycles))} name a class twice")
    if mistakes:
        raise ConfigError(mistakes)


def _renamed(samples: Samples, new_C: np.ndarray) -> Samples:
    return replace(samples, targets=new_C[samples.targets])
