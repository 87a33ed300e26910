"""Mixing matrices and what they say of a graph: closed forms, and both sides of doubly stochastic."""

from __future__ import annotations

from math import cos, inf, pi
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decentralized.errors import TopologyError
from decentralized.mixing.matrices import adjacency, metropolis_hastings, uniform
from decentralized.topologies.analysis import describe
from decentralized.topologies.edges import undirected
from decentralized.topologies.named import Full, Hypercube, Isolated, Line, Ring, Star
from decentralized.types import Graph

DIRECTED = Graph(((1,), (2,), (0,)))


def make(topology: Any, nodes: int, **settings: Any) -> Graph:
    graph: Graph = topology(topology.Config(name="this", **settings)).graph(nodes, np.random.default_rng(0))
    return graph


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    nodes = draw(st.integers(1, 12))
    node = st.integers(0, nodes - 1)
    return undirected(nodes, draw(st.lists(st.tuples(node, node))))


@settings(max_examples=60, deadline=None)
@given(graph=graphs())
def test_metropolis_hastings_is_symmetric_and_doubly_stochastic(graph: Graph) -> None:
    weights = metropolis_hastings(graph)
    assert weights.dtype == np.float64
    assert np.array_equal(weights, weights.T)
    assert np.allclose(weights.sum(axis=0), 1, atol=1e-14)
    assert np.allclose(weights.sum(axis=1), 1, atol=1e-14)
    assert (np.diag(weights) > 0).all()
    off_diagonal = weights - np.diag(np.diag(weights))
    assert np.array_equal(off_diagonal > 0, adjacency(graph) > 0)


@settings(max_examples=60, deadline=None)
@given(graph=graphs())
def test_uniform_rows_are_equal_weights(graph: Graph) -> None:
    weights = uniform(graph)
    for node, targets in enumerate(graph.targets):
        expected = np.zeros(graph.nodes)
        expected[[node, *targets]] = 1 / (1 + len(targets))
        assert np.array_equal(weights[node], expected)


def test_metropolis_hastings_by_hand() -> None:
    third = 1 / 3
    line = [[2 * third, third, 0], [third, third, third], [0, third, 2 * third]]
    assert np.allclose(metropolis_hastings(make(Line, 3)), line, atol=1e-15)


def test_uniform_on_a_directed_graph_weighs_what_comes_in() -> None:
    assert uniform(DIRECTED).tolist() == [[0.5, 0, 0.5], [0.5, 0.5, 0], [0, 0.5, 0.5]]


def test_one_way_edges_are_refused() -> None:
    with pytest.raises(TopologyError, match="one way"):
        metropolis_hastings(DIRECTED)
    with pytest.raises(TopologyError, match="one way"):
        describe(DIRECTED)


@pytest.mark.parametrize("nodes", [3, 4, 5, 8, 16, 96])
def test_spectral_gap_of_the_ring(nodes: int) -> None:
    """Circulant with weights 1/3: eigenvalues (1 + 2 cos(2 pi k / n)) / 3."""
    values = sorted((1 + 2 * cos(2 * pi * k / nodes)) / 3 for k in range(nodes))
    facts = describe(make(Ring, nodes))
    assert facts.spectral_gap == pytest.approx(1 - max(values[-2], abs(values[0])), abs=1e-12)
    if nodes >= 4:
        assert facts.spectral_gap == pytest.approx(1 - (1 + 2 * cos(2 * pi / nodes)) / 3, abs=1e-12)
    assert facts.mixing_time == 1 / facts.spectral_gap


@pytest.mark.parametrize("nodes", [3, 4, 9])
def test_spectral_gap_of_the_star(nodes: int) -> None:
    """All edges weigh 1/n: eigenvalues 1, 1 - 1/n, 0."""
    assert describe(make(Star, nodes)).spectral_gap == pytest.approx(1 / nodes, abs=1e-12)


@pytest.mark.parametrize("dimensions", [2, 3, 5])
def test_spectral_gap_of_the_hypercube(dimensions: int) -> None:
    """Eigenvalues 1 - 2 k / (d + 1)."""
    assert describe(make(Hypercube, 2**dimensions)).spectral_gap == pytest.approx(2 / (dimensions + 1), abs=1e-12)


@pytest.mark.parametrize("half", [2, 3, 6])
def test_spectral_gap_of_the_complete_bipartite_graph(half: int) -> None:
    """Eigenvalues 1, 1 / (m + 1), (1 - m) / (1 + m): for m > 2 the lowest is the farthest from 0."""
    graph = undirected(2 * half, ((i, half + j) for i in range(half) for j in range(half)))
    assert describe(graph).spectral_gap == pytest.approx(1 - (half - 1) / (half + 1), abs=1e-12)


@pytest.mark.parametrize("nodes", [1, 2, 7])
def test_the_full_graph_averages_at_once(nodes: int) -> None:
    facts = describe(make(Full, nodes))
    assert facts.spectral_gap == pytest.approx(1, abs=1e-12)
    assert facts.mixing_time == pytest.approx(1, abs=1e-12)


def test_facts_of_a_graph_in_pieces() -> None:
    facts = describe(make(Isolated, 9, others="ring"))
    assert (facts.nodes, facts.edges, facts.components, facts.diameter) == (9, 8, (8, 1), 4)
    assert (facts.degree_min, facts.degree_mean, facts.degree_max) == (0, 16 / 9, 2)
    assert facts.spectral_gap == 0
    assert facts.mixing_time == inf


@pytest.mark.parametrize("nodes", [4, 5, 13, 16])
def test_two_rings_never_agree(nodes: int) -> None:
    """Exactly 0 and infinite, although the computed lambda_2 is not exactly 1."""
    one_ring = [(i, (i + 1) % nodes) for i in range(nodes)]
    facts = describe(undirected(2 * nodes, one_ring + [(nodes + i, nodes + j) for i, j in one_ring]))
    assert (facts.components, facts.diameter) == ((nodes, nodes), nodes // 2)
    assert (facts.spectral_gap, facts.mixing_time) == (0, inf)


def test_facts_of_one_node() -> None:
    facts = describe(make(Ring, 1))
    assert (facts.edges, facts.degree_max, facts.components, facts.diameter) == (0, 0, (1,), 0)


@settings(max_examples=40, deadline=None)
@given(graph=graphs(), seed=st.integers(0, 1000))
def test_the_gap_bounds_how_fast_nodes_agree(graph: Graph, seed: int) -> None:
    """One round of mixing shrinks the distance to the mean by at least 1 - gap, and keeps the mean."""
    values = np.random.default_rng(seed).normal(size=graph.nodes)
    mixed = metropolis_hastings(graph) @ values
    assert mixed.mean() == pytest.approx(values.mean(), abs=1e-12)
    facts = describe(graph)
    assert (facts.spectral_gap == 0) == (len(facts.components) > 1)
    before, after = (np.linalg.norm(x - x.mean()) for x in (values, mixed))
    assert after <= (1 - facts.spectral_gap) * before + 1e-9
