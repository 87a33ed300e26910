"""What is said of graphs that change, and of directed ones, against closed forms and brute force."""

from __future__ import annotations

from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from decentralized.mixing.matrices import metropolis_hastings, push_sum, uniform
from decentralized.report.topology_picture import draw_rounds
from decentralized.topologies.analysis import Weights, describe
from decentralized.topologies.changing import graph_of
from decentralized.topologies.edges import directed, undirected
from decentralized.topologies.named import Full, Line, Ring
from decentralized.topologies.rounds_analysis import RoundsFacts, describe_rounds
from decentralized.types import Graph

from .changing import changing

CIRCLE = Graph(((1,), (2,), (3,), (0,)))  # edges one way only
UNEQUAL = Graph(((1, 2, 3), (2,), (3, 4), (0,), (0, 1)))


def still(topology: Any, nodes: int) -> Graph:
    graph: Graph = topology(topology.Config(name="this")).graph(nodes, np.random.default_rng(0))
    return graph


def rounds_of(name: str, nodes: int, rounds: int, **values: Any) -> list[Graph]:
    graph = changing(name, nodes, **values)
    return [graph_of(graph, nodes, round) for round in range(1, rounds + 1)]


def facts_of(graphs: list[Graph], weights: Weights) -> RoundsFacts:
    return describe_rounds(graphs, [weights(graph) for graph in graphs])


@pytest.mark.parametrize(("topology", "nodes"), [(Ring, 9), (Line, 6), (Full, 5)])
def test_a_graph_that_stays_has_the_facts_of_one_round(topology: Any, nodes: int) -> None:
    graph = still(topology, nodes)
    one, many = describe(graph), facts_of([graph] * 50, metropolis_hastings)
    assert many.spectral_gap == pytest.approx(one.spectral_gap, rel=1e-9)
    assert many.spread == one.diameter
    assert (many.sends_min, many.sends_mean, many.sends_max) == (one.degree_min, one.degree_mean, one.degree_max)
    assert (many.pieces, many.directed) == (1, False)


def test_the_worst_start_shrinks_so_much_in_a_round() -> None:
    graphs = rounds_of("epidemic", 7, 6, degree=2)
    product_NN = np.linalg.multi_dot([uniform(graph) for graph in reversed(graphs)])
    distance = np.linalg.norm((np.eye(7) - 1 / 7) @ product_NN, 2)
    facts = facts_of(graphs, uniform)
    assert facts.spectral_gap == pytest.approx(1 - distance ** (1 / 6), rel=1e-9)
    assert (facts.sends_min, facts.sends_max) == (2, 2)
    assert facts.receives_max == max(len(graph.sources(node)) for graph in graphs for node in range(7))


def test_thousands_of_rounds_do_not_vanish_in_rounding() -> None:
    graph = still(Ring, 8)
    facts = facts_of([graph] * 3000, metropolis_hastings)
    assert facts.spectral_gap == pytest.approx(describe(graph).spectral_gap, rel=1e-9)


@pytest.mark.parametrize("weights", [uniform, push_sum])
def test_a_directed_graph_ends_as_its_second_eigenvalue_says(weights: Any) -> None:
    one = describe(UNEQUAL, weights)
    many = facts_of([UNEQUAL] * 2000, weights)
    assert many.spectral_gap == pytest.approx(one.spectral_gap, rel=2e-3)
    assert one.directed and many.directed


def test_the_circle_that_goes_one_way() -> None:
    """Half stays, half moves on: eigenvalues (1 + exp(2 pi i k / 4)) / 2, of modulus cos(pi k / 4)."""
    facts = describe(CIRCLE, uniform)
    assert facts.spectral_gap == pytest.approx(1 - np.cos(np.pi / 4))
    assert (facts.edges, facts.diameter, facts.degree_max) == (4, 3, 1)
    one_way = describe(directed(3, [(0, 1), (1, 2)]), uniform)
    assert (one_way.diameter, one_way.components) == (inf, (3,))


@pytest.mark.parametrize("weights", [uniform, push_sum])
def test_one_peer_exponential_is_exact(weights: Any) -> None:
    facts = facts_of(rounds_of("one-peer-exponential", 16, 20), weights)
    assert (facts.exact_after, facts.spectral_gap, facts.spread) == (4, 1.0, 4.0)


def test_pieces_that_never_meet() -> None:
    pair = undirected(4, [(0, 1)])
    other = undirected(4, [(2, 3)])
    facts = facts_of([pair, other] * 4, metropolis_hastings)
    assert (facts.pieces, facts.spectral_gap, facts.mixing_time, facts.spread) == (2, 0.0, inf, inf)
    assert (facts.sends_min, facts.sends_mean, facts.sends_max) == (0, 0.5, 1)


@pytest.mark.parametrize("rounds", [1, 2, 30])
def test_a_picture_of_rounds(rounds: int, tmp_path: Path) -> None:
    for name in ("one.png", "two.png"):
        draw_rounds(rounds_of("random-matching", 5, rounds), tmp_path / name, "pairs")
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    draw_rounds([Graph(((),))], tmp_path / "alone.png", "one node")
