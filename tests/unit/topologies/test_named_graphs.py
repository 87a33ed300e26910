"""Graphs without randomness: degrees and edges by closed form, and what cannot be made."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from decentralized.errors import TopologyError
from decentralized.topologies.analysis import describe
from decentralized.topologies.named import Exponential, Full, Grid, Hypercube, Isolated, Line, Ring, Star, Torus
from decentralized.types import Graph


def make(topology: Any, nodes: int, **settings: Any) -> Graph:
    graph: Graph = topology(topology.Config(name="this", **settings)).graph(nodes, np.random.default_rng(0))
    assert graph.nodes == nodes
    assert graph.undirected
    for node, targets in enumerate(graph.targets):
        assert list(targets) == sorted(set(targets) - {node})
        assert all(type(target) is int and 0 <= target < nodes for target in targets)
    return graph


@pytest.mark.parametrize("topology", [Ring, Line, Star, Full, Grid, Torus, Hypercube, Exponential, Isolated])
def test_one_node_has_no_edges(topology: Any) -> None:
    assert make(topology, 1).targets == ((),)


@pytest.mark.parametrize("topology", [Ring, Line, Star, Full, Grid, Torus, Hypercube, Exponential])
def test_two_nodes_have_one_edge(topology: Any) -> None:
    assert make(topology, 2).targets == ((1,), (0,))


def test_small_graphs_by_hand() -> None:
    assert make(Ring, 4).targets == ((1, 3), (0, 2), (1, 3), (0, 2))
    assert make(Line, 4).targets == ((1,), (0, 2), (1, 3), (2,))
    assert make(Star, 4).targets == ((1, 2, 3), (0,), (0,), (0,))
    assert make(Star, 4, center=2).targets == ((2,), (2,), (0, 1, 3), (2,))
    assert make(Full, 3).targets == ((1, 2), (0, 2), (0, 1))
    assert make(Grid, 6, rows=2).targets == ((1, 3), (0, 2, 4), (1, 5), (0, 4), (1, 3, 5), (2, 4))
    assert make(Torus, 6, rows=2).targets == ((1, 2, 3), (0, 2, 4), (0, 1, 5), (0, 4, 5), (1, 3, 5), (2, 3, 4))
    assert make(Hypercube, 4).targets == ((1, 2), (0, 3), (0, 3), (1, 2))
    assert make(Exponential, 8).targets[0] == (1, 2, 4, 6, 7)
    assert make(Exponential, 6).targets[0] == (1, 2, 4, 5)
    assert make(Exponential, 7) == make(Full, 7)
    assert make(Exponential, 11).targets[0] == (1, 2, 3, 4, 7, 8, 9, 10)


@pytest.mark.parametrize(
    ("topology", "nodes", "edges", "diameter"),
    [
        (Ring, 17, 17, 8),
        (Line, 17, 16, 16),
        (Star, 17, 16, 2),
        (Full, 17, 17 * 16 // 2, 1),
        (Grid, 20, 4 * 4 + 5 * 3, 7),
        (Torus, 20, 40, 4),
        (Hypercube, 32, 32 * 5 // 2, 5),
        (Exponential, 16, 16 * 7 // 2, 2),
    ],
)
def test_edges_and_diameter(topology: Any, nodes: int, edges: int, diameter: int) -> None:
    facts = describe(make(topology, nodes))
    assert (facts.edges, facts.diameter, facts.components) == (edges, diameter, (nodes,))


def test_grid_is_as_square_as_the_nodes_allow() -> None:
    assert make(Grid, 12) == make(Grid, 12, rows=3)
    assert make(Grid, 96) == make(Grid, 96, rows=8)
    assert make(Grid, 7) == make(Line, 7)
    assert make(Torus, 7) == make(Ring, 7)


@pytest.mark.parametrize("others", ["full", "ring"])
@pytest.mark.parametrize("node", [0, 3, 7])
def test_isolated_node(others: str, node: int) -> None:
    graph = make(Isolated, 8, node=node, others=others)
    assert graph.targets[node] == ()
    assert {len(targets) for other, targets in enumerate(graph.targets) if other != node} == {
        6 if others == "full" else 2
    }
    assert describe(graph).components == (7, 1)


@pytest.mark.parametrize(
    ("topology", "nodes", "settings", "message"),
    [
        (Hypercube, 12, {}, "not 12; 8 or 16 would fit"),
        (Grid, 12, {"rows": 5}, "12 nodes do not fill 5 rows evenly; rows = 1, 2, 3, 4, 6, 12 would fit"),
        (Torus, 12, {"rows": 24}, "12 nodes do not fill 24 rows"),
        (Star, 4, {"center": 4}, "center = 4: with 4 nodes the last one is 3"),
        (Isolated, 4, {"node": 9}, "node = 9: with 4 nodes the last one is 3"),
    ],
)
def test_what_cannot_be_made(topology: Any, nodes: int, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(TopologyError, match=message):
        make(topology, nodes, **settings)
