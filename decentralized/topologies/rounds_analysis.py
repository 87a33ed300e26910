"""What a graph that changes means for gossip: means over its first rounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, inf, log

import numpy as np

from decentralized.mixing.matrices import adjacency
from decentralized.types import Graph

EXACT = 1e-13  # what rounding leaves of a distance that is gone
STARTS = 10  # rounds from which the spread of news is followed


@dataclass(frozen=True)
class RoundsFacts:
    """Properties of the graphs of some rounds, one after the other.

    directed: whether some round has an edge that goes one way only.
    sends_min, sends_mean, sends_max: nodes to which a node sends in a round, over all nodes and rounds.
    receives_max: nodes from which a node receives in a round, at most.
    pieces: of all rounds' graphs together, edges taken both ways.
    spread: rounds until every node has heard of every other (the diameter of a graph that changes), the mean over
        STARTS first rounds; infinite when the rounds are too few for it.
    spectral_gap: 1 - c, with c the factor by which a round shrinks the distance of all nodes from their mean: the
        geometric mean over the rounds, for the worst start. That is |(I - J) W_R ... W_1|^(1/R) in the spectral norm,
        J being the matrix of all 1/N. For a graph that stays as it is, and many rounds, it is the gap of GraphFacts.
    mixing_time: 1 / spectral_gap, in rounds.
    exact_after: rounds after which mixing alone has averaged exactly, or None.
    """

    nodes: int
    rounds: int
    directed: bool
    sends_min: int
    sends_mean: float
    sends_max: int
    receives_max: int
    pieces: int
    spread: float
    spectral_gap: float
    mixing_time: float
    exact_after: int | None


def describe_rounds(graphs: Sequence[Graph], matrices: Sequence[np.ndarray]) -> RoundsFacts:
    """The graphs of at least one round, in order, and the mixing matrix (N, N) of each."""
    sends = np.array([[len(targets) for targets in graph.targets] for graph in graphs])
    joined = [adjacency(graph) for graph in graphs]
    together = sum(joined)
    pieces = len(Graph(tuple(tuple(np.flatnonzero(column).tolist()) for column in np.transpose(together))).pieces())
    factor, exact_after = _shrinking(matrices)
    gap = 0.0 if pieces > 1 else max(0.0, 1.0 - factor)
    return RoundsFacts(
        nodes=graphs[0].nodes,
        rounds=len(graphs),
        directed=not all(graph.undirected for graph in graphs),
        sends_min=int(sends.min()),
        sends_mean=float(sends.mean()),
        sends_max=int(sends.max()),
        receives_max=int(max(matrix.sum(axis=1).max() for matrix in joined)),
        pieces=pieces,
        spread=_spread(joined),
        spectral_gap=gap,
        mixing_time=1 / gap if gap else inf,
        exact_after=exact_after,
    )


def _shrinking(matrices: Sequence[np.ndarray]) -> tuple[float, int | None]:
    """The factor of one round, and the round in which nothing is left.

    Distances are scaled up again after each round, so that many rounds do not lose them in rounding. With columns that
    sum to 1 instead of rows (push-sum) it is what is left of a start whose sum is 0.
    """
    nodes = len(matrices[0])
    center = np.eye(nodes) - 1 / nodes
    distance, total = center, 0.0
    for round, matrix in enumerate(matrices, 1):
        distance = center @ matrix @ distance
        size = float(np.abs(distance).max())
        if size < EXACT:
            return 0.0, round
        distance, total = distance / size, total + log(size)
    total += log(float(np.linalg.norm(distance, 2)))
    return exp(total / len(matrices)), None


def _spread(joined: Sequence[np.ndarray]) -> float:
    starts = range(0, max(1, len(joined) // 2), max(1, len(joined) // 2 // STARTS))
    return float(np.mean([_rounds_to_all(joined[start:]) for start in starts]))


def _rounds_to_all(joined: Sequence[np.ndarray]) -> float:
    """Rounds until each node has, perhaps through others, something of every other; infinite if that does not come."""
    heard = np.eye(len(joined[0]), dtype=np.float32)
    for rounds, matrix in enumerate(joined):
        if heard.all():
            return rounds
        heard = ((heard + matrix.astype(np.float32) @ heard) > 0).astype(np.float32)
    return len(joined) if heard.all() else inf
