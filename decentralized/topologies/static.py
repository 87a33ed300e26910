"""A graph that stays as it is, seen by one node."""

from __future__ import annotations

from typing import TYPE_CHECKING

from decentralized.types import Graph, Mixed, Neighbors, NodeId

if TYPE_CHECKING:
    from decentralized.interfaces import Context


class StaticTopology:
    """The same neighbors in every round."""

    def __init__(self, graph: Graph, node: NodeId) -> None:
        self._neighbors = Neighbors(send_to=graph.targets[node], receive_from=graph.sources(node))

    def neighbors(self, round: int) -> Neighbors:
        """This node's neighbors; weights are left to the mixing rule."""
        return self._neighbors

    def observe(self, round: int, mixed: Mixed, context: Context) -> None:
        """Nothing that is learned changes this graph."""
