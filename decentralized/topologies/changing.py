"""Graphs that change from round to round, seen by one node, and as a whole.

Nobody coordinates: what a round's graph is follows from the seed and the round, and each node works out its own part.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np

from decentralized.errors import TopologyError
from decentralized.seeding import numpy_generator
from decentralized.types import Graph, Mixed, Neighbors, NodeId

if TYPE_CHECKING:
    from decentralized.interfaces import ChangingGraph, Context

Drawn = TypeVar("Drawn")

KEPT = 4  # rounds: nodes that are threads of one process share a graph and are a round or two apart


class ChangingTopology:
    """The neighbors of one node, round by round."""

    def __init__(self, graph: ChangingGraph, node: NodeId) -> None:
        self._graph, self._node = graph, node

    def neighbors(self, round: int) -> Neighbors:
        return self._graph.neighbors(round, self._node)

    def observe(self, round: int, mixed: Mixed, context: Context) -> None:
        """Nothing that is learned changes these graphs."""


class EachRound(Generic[Drawn]):
    """What is drawn for each round, with a generator of the round's own; the newest few are kept."""

    def __init__(self, seed: int, draw: Callable[[np.random.Generator], Drawn]) -> None:
        self._seed, self._draw = seed, draw
        self._kept: dict[int, Drawn] = {}

    def of(self, round: int) -> Drawn:
        if round not in self._kept:
            while len(self._kept) >= KEPT:
                del self._kept[next(iter(self._kept))]
            self._kept[round] = self._draw(numpy_generator(self._seed, f"topology/{round}"))
        return self._kept[round]


def graph_of(graph: ChangingGraph, nodes: int, round: int) -> Graph:
    """The whole graph of one round."""
    return Graph(tuple(graph.neighbors(round, node).send_to for node in range(nodes)))


def weights_of(graph: ChangingGraph, nodes: int, round: int) -> np.ndarray:
    """(N, N) float64: the mixing matrix that the graph brings for one round; raises TopologyError if it brings none."""
    matrix_NN = np.zeros((nodes, nodes))
    for node in range(nodes):
        weights = graph.neighbors(round, node).weights
        if weights is None:
            raise TopologyError(f"no weights come with the graph of round {round}")
        matrix_NN[node, list(weights)] = list(weights.values())
    return matrix_NN


def in_order(nodes: np.ndarray) -> tuple[NodeId, ...]:
    """Node numbers as `Neighbors` wants them: increasing, each once."""
    return tuple(np.unique(nodes).tolist())
