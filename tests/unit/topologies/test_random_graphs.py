"""Random graphs: their laws for many seeds, the same graph for the same seed, and what cannot be drawn."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

import decentralized
from decentralized.errors import TopologyError
from decentralized.topologies.analysis import describe
from decentralized.topologies.random_graphs import ErdosRenyi, RandomRegular, SmallWorld
from decentralized.types import Graph

SEEDS = st.integers(0, 2**32)


def make(topology: Any, nodes: int, seed: int = 0, **settings: Any) -> Graph:
    graph: Graph = topology(topology.Config(name="this", **settings)).graph(nodes, np.random.default_rng(seed))
    return graph


def check(graph: Graph, nodes: int) -> None:
    assert graph.nodes == nodes
    assert graph.undirected
    for node, targets in enumerate(graph.targets):
        assert list(targets) == sorted(set(targets) - {node})
        assert all(type(target) is int and 0 <= target < nodes for target in targets)


@settings(max_examples=40, deadline=None)
@given(nodes=st.integers(1, 30), degree=st.integers(0, 8), seed=SEEDS)
def test_random_regular(nodes: int, degree: int, seed: int) -> None:
    if degree >= nodes or degree * nodes % 2:
        with pytest.raises(TopologyError, match="would fit"):
            make(RandomRegular, nodes, seed, degree=degree)
        return
    graph = make(RandomRegular, nodes, seed, degree=degree, connected=degree >= 3)
    check(graph, nodes)
    assert {len(targets) for targets in graph.targets} == {degree}
    if degree >= 3:
        assert describe(graph).components == (nodes,)


@pytest.mark.parametrize("degree", [47, 48, 90, 94, 95])
def test_dense_regular_graphs_are_drawn_at_once(degree: int) -> None:
    graph = make(RandomRegular, 96, degree=degree)
    check(graph, 96)
    assert {len(targets) for targets in graph.targets} == {degree}


@settings(max_examples=30, deadline=None)
@given(nodes=st.integers(1, 30), probability=st.floats(0, 1), seed=SEEDS)
def test_erdos_renyi(nodes: int, probability: float, seed: int) -> None:
    check(make(ErdosRenyi, nodes, seed, probability=probability, connected=False), nodes)
    assert describe(make(ErdosRenyi, nodes, seed, probability=0.9 + probability / 10)).components == (nodes,)


def test_erdos_renyi_has_the_expected_number_of_edges() -> None:
    """Of 20 graphs with 4,950 pairs each, a fifth: 19,800 edges, standard deviation 126."""
    edges = [describe(make(ErdosRenyi, 100, seed, probability=0.2)).edges for seed in range(20)]
    assert abs(sum(edges) - 19_800) < 4 * 126


@settings(max_examples=30, deadline=None)
@given(nodes=st.integers(5, 30), rewiring=st.floats(0, 1), seed=SEEDS)
def test_small_world_keeps_the_number_of_edges(nodes: int, rewiring: float, seed: int) -> None:
    graph = make(SmallWorld, nodes, seed, rewiring=rewiring)
    check(graph, nodes)
    assert describe(graph).edges == 2 * nodes


def test_small_world_without_rewiring_is_the_ring_lattice() -> None:
    assert make(SmallWorld, 10, degree=4, rewiring=0.0).targets[0] == (1, 2, 8, 9)


CASES: list[tuple[Any, dict[str, Any]]] = [(RandomRegular, {}), (ErdosRenyi, {"probability": 0.2}), (SmallWorld, {})]


@pytest.mark.parametrize(("topology", "given_settings"), CASES)
def test_the_seed_decides(topology: Any, given_settings: dict[str, Any]) -> None:
    one, again, other = (make(topology, 40, seed, **given_settings) for seed in (1, 1, 2))
    assert one == again
    assert one != other


@pytest.mark.parametrize(("topology", "given_settings"), CASES)
def test_global_random_state_is_neither_read_nor_changed(topology: Any, given_settings: dict[str, Any]) -> None:
    import random

    random.seed(1)
    one = make(topology, 40, 5, **given_settings)
    before = random.getstate()
    again = make(topology, 40, 5, **given_settings)
    assert random.getstate() == before
    assert one == again


def test_the_graph_does_not_depend_on_the_hash_seed() -> None:
    program = (
        "import numpy as np; from decentralized.topologies.random_graphs import RandomRegular as R\n"
        "print(R(R.Config(name='this')).graph(96, np.random.default_rng(90)).targets)"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            cwd=Path(decentralized.__file__).parents[1],
            capture_output=True,
            check=True,
            timeout=120,
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert len(outputs) == 1


@pytest.mark.parametrize(
    ("topology", "nodes", "given_settings", "message"),
    [
        (RandomRegular, 4, {}, "degree = 3 or less, or nodes = 5 or more would fit"),
        (RandomRegular, 1, {}, "degree = 0 or less"),
        (
            RandomRegular,
            5,
            {"degree": 3},
            "one of the two numbers must be even; degree = 2 or 4, or nodes = 6 would fit",
        ),
        (RandomRegular, 8, {"degree": 1}, "none of 100 random graphs with 8 nodes was connected"),
        (ErdosRenyi, 30, {"probability": 0.01}, "was connected; a probability of 0.23 or more would fit"),
        (SmallWorld, 4, {}, "a node has at most 3 neighbors among 4 nodes"),
        (SmallWorld, 20, {"degree": 0}, "was connected; a higher degree"),
    ],
)
def test_what_cannot_be_drawn(topology: Any, nodes: int, given_settings: dict[str, Any], message: str) -> None:
    with pytest.raises(TopologyError, match=message):
        make(topology, nodes, **given_settings)


def test_one_and_two_nodes() -> None:
    assert make(RandomRegular, 1, degree=0).targets == ((),)
    assert make(RandomRegular, 2, degree=1).targets == ((1,), (0,))
    assert make(ErdosRenyi, 1, probability=0.5).targets == ((),)
    assert make(ErdosRenyi, 2, probability=0.5).targets == ((1,), (0,))
    assert make(SmallWorld, 1, degree=0).targets == ((),)
    assert make(SmallWorld, 2, degree=0, connected=False).targets == ((), ())


def test_degree_of_the_small_world_is_even() -> None:
    with pytest.raises(ValidationError):
        SmallWorld.Config(name="this", degree=3)
