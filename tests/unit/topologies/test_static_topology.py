"""One node's view of a graph that does not change."""

from __future__ import annotations

from typing import TYPE_CHECKING

from decentralized.topologies.static import StaticTopology
from decentralized.types import Graph, Neighbors

if TYPE_CHECKING:
    from decentralized.interfaces import Topology

GRAPH = Graph(((1, 2), (2,), (), ()))


def test_neighbors_are_those_of_the_graph_in_every_round() -> None:
    topology: Topology = StaticTopology(GRAPH, 1)
    assert topology.neighbors(0) == topology.neighbors(500) == Neighbors(send_to=(2,), receive_from=(0,))


def test_an_isolated_node_has_no_neighbors() -> None:
    assert StaticTopology(GRAPH, 3).neighbors(0) == Neighbors(send_to=(), receive_from=())
