"""The weight of MATCHA's mixing matrices, against closed forms, all possible rounds and a grid."""

from __future__ import annotations

from itertools import product
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from decentralized.errors import ConfigError, TopologyError
from decentralized.graphs import check_graphs, first_graphs, make_topology
from decentralized.mixing.from_topology import FromTopology
from decentralized.topologies.changing import graph_of, weights_of
from decentralized.topologies.edge_coloring import matchings
from decentralized.topologies.edges import undirected
from decentralized.topologies.matcha import _partners, probabilities
from decentralized.topologies.matcha_weight import best_weight, laplacian, shrinking
from decentralized.types import Graph, Neighbors, Received

from .changing import changing, settings

PAIR = undirected(2, [(0, 1)])
LINE = undirected(5, [(i, i + 1) for i in range(4)])
STAR = undirected(5, [(0, i) for i in range(1, 5)])
BRIDGED = undirected(6, [(0, 1), (1, 2), (0, 2), (3, 4), (4, 5), (3, 5), (2, 3)])  # two triangles
FULL = undirected(6, [(i, j) for j in range(6) for i in range(j)])
DIGITS = 6e-5  # alpha is rounded to five digits: at most so much of it


def partners_of(graph: Graph) -> np.ndarray:
    return _partners(matchings(graph), graph.nodes)


def found(graph: Graph, budget: float) -> tuple[np.ndarray, np.ndarray, float]:
    partners_MN = partners_of(graph)
    probabilities_M = probabilities(partners_MN, budget)
    return partners_MN, probabilities_M, best_weight(partners_MN, probabilities_M)


@pytest.mark.parametrize("probability", [0.1, 0.5, 1.0])
def test_two_nodes(probability: float) -> None:
    """E[W'W] - J has the eigenvalue 1 - 4 p alpha (1 - alpha)."""
    partners_MN, probability_M = partners_of(PAIR), np.array([probability])
    assert best_weight(partners_MN, probability_M) == 0.5
    assert shrinking(partners_MN, probability_M, 0.5) == pytest.approx(1 - probability)


@pytest.mark.parametrize("probability", [0.2, 0.7])
def test_the_full_graph_with_equal_probabilities(probability: float) -> None:
    """All L_j sum to n (I - J): 1 - 2 alpha p n + alpha^2 (p^2 n^2 + 2 p (1 - p) n) on everything but the mean."""
    partners_MN, nodes = partners_of(FULL), FULL.nodes
    probabilities_M = np.full(len(partners_MN), probability)
    best = 1 / (probability * nodes + 2 * (1 - probability))
    assert best_weight(partners_MN, probabilities_M) == pytest.approx(best, rel=DIGITS)
    assert shrinking(partners_MN, probabilities_M, best) == pytest.approx(1 - probability * nodes * best)


@pytest.mark.parametrize("graph", [LINE, STAR, BRIDGED], ids=["line", "star", "bridged"])
def test_all_matchings_in_each_round(graph: Graph) -> None:
    """The best constant weight of a graph that stays (Xiao & Boyd 2004): 2 / (lambda_2 + lambda_N)."""
    partners_MN, probabilities_M, alpha = found(graph, 1.0)
    values_N = np.linalg.eigvalsh(laplacian(partners_MN, probabilities_M))
    second, last = values_N[1], values_N[-1]
    assert alpha == pytest.approx(2 / (second + last), rel=DIGITS)
    best = ((last - second) / (last + second)) ** 2
    assert shrinking(partners_MN, probabilities_M, 2 / (second + last)) == pytest.approx(best)


@pytest.mark.parametrize("graph", [LINE, STAR, BRIDGED, FULL], ids=["line", "star", "bridged", "full"])
@pytest.mark.parametrize("budget", [0.2, 0.6])
def test_the_best_of_a_grid_over_all_possible_rounds(graph: Graph, budget: float) -> None:
    partners_MN, probabilities_M, alpha = found(graph, budget)
    nodes = graph.nodes

    def by_force(weight: float) -> float:
        expected_NN = np.zeros((nodes, nodes))
        for used in product([0.0, 1.0], repeat=len(partners_MN)):
            chance = np.prod(np.where(used, probabilities_M, 1 - probabilities_M))
            mixing_NN = np.eye(nodes) - weight * laplacian(partners_MN, np.array(used))
            expected_NN += chance * mixing_NN.T @ mixing_NN
        return float(np.linalg.norm(expected_NN - 1 / nodes, 2))

    reached = by_force(alpha)
    assert reached == pytest.approx(shrinking(partners_MN, probabilities_M, alpha), abs=1e-12)
    assert reached < 1
    best = min(shrinking(partners_MN, probabilities_M, weight) for weight in np.linspace(0.001, 1.5, 1500))
    assert reached <= best + 1e-4 * (1 - best)


@pytest.mark.parametrize("budget", [0.3, 0.8])
def test_each_round_is_doubly_stochastic(budget: float) -> None:
    graph = changing("matcha", 9, base={"name": "small-world"}, budget=budget)
    for round in range(1, 9):
        weights_NN = weights_of(graph, 9, round)
        np.testing.assert_allclose([weights_NN.sum(axis=0), weights_NN.sum(axis=1)], 1)
        np.testing.assert_array_equal(weights_NN, weights_NN.T)
        joined = np.array([[j in targets for j in range(9)] for targets in graph_of(graph, 9, round).targets])
        np.testing.assert_array_equal(weights_NN - np.diag(np.diag(weights_NN)) > 0, joined)
        assert len(set(weights_NN[joined].tolist())) <= 1, "one weight for all edges"


def test_one_node_and_none_that_brings_weights() -> None:
    assert weights_of(changing("matcha", 1, base={"name": "full"}), 1, 1).tolist() == [[1.0]]
    with pytest.raises(TopologyError, match="no weights"):
        weights_of(changing("random-matching", 4), 4, 1)


def test_the_mixer_takes_them_and_keeps_what_cannot_be_used() -> None:
    mixer = FromTopology(FromTopology.Config(name="from-topology"))
    context: Any = SimpleNamespace(node=1)
    neighbors = Neighbors((0, 2), (0, 2), {0: 0.3, 1: 0.4, 2: 0.3})
    own_P = torch.tensor([1.0, 0.0, 0.0])

    def mix(*received: Received, neighbors: Neighbors = neighbors) -> Any:
        return mixer.mix(own_P, own_P, received, neighbors, context)

    def zero() -> Received:
        return Received(0, torch.tensor([0.0, 1.0, 0.0]), {})

    def two() -> Received:
        return Received(2, torch.tensor([0.0, 0.0, 1.0]), {})

    torch.testing.assert_close(mix(zero(), two()).vector_P, torch.tensor([0.4, 0.3, 0.3]))
    torch.testing.assert_close(mix(two()).vector_P, torch.tensor([0.7, 0.0, 0.3]))
    with pytest.raises(TopologyError):
        mix(neighbors=Neighbors((0,), (0,)))


def test_only_where_the_topology_brings_weights() -> None:
    matcha = {"name": "matcha", "base": {"name": "ring"}}

    def check(topology: str, ignores: tuple[str, ...] = (), **values: Any) -> None:
        experiment: Any = SimpleNamespace(
            topology=settings(topology, **values),
            mixing=FromTopology.Config(name="from-topology"),
            algorithm=SimpleNamespace(name="any", ignores=ignores, changing_graphs=True),
            sharing=None,
            network=SimpleNamespace(on_peer_loss="abort"),
        )
        made = make_topology(experiment.topology, 5, 0)
        check_graphs(made, first_graphs(made, 5), experiment)

    check("matcha", base={"name": "ring"})
    check("switching", graphs=(matcha, {**matcha, "budget": 0.3}))
    check("ring", ignores=("mixing",))
    with pytest.raises(ConfigError, match='"ring" brings no weights'):
        check("ring")
    with pytest.raises(ConfigError, match='"switching" brings no weights'):
        check("switching", graphs=(matcha, {"name": "ring"}), rounds=3)
