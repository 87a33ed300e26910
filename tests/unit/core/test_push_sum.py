"""Push-sum: what is kept, and where it ends on a directed graph whose nodes send and receive unequally."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from decentralized.algorithms.push_sum import WEIGHT, PushSum, _check_weight
from decentralized.errors import CodecError, ConfigError, StateError
from decentralized.in_memory import InMemoryRun
from decentralized.prepare import build_learner
from decentralized.types import Graph, Received

Run = Callable[..., InMemoryRun]
ONLY_MIXING = ("training.local_steps=0", "training.same_start=false", "evaluation.every=0")
UNEQUAL = ((1, 2, 3), (2,), (3, 4), (0,), (0, 1))  # strongly connected, not regular, one way only


@pytest.fixture
def unequal(directed: Callable[..., str]) -> str:
    return directed(*UNEQUAL)


def final(run: InMemoryRun) -> np.ndarray:
    return np.stack([run.learners[node].vector().numpy() for node in sorted(run.learners)]).astype(np.float64)


def first(run: InMemoryRun) -> np.ndarray:
    nodes = range(run._prepared.experiment.nodes)
    return np.stack([build_learner(run._prepared, node).vector().numpy() for node in nodes]).astype(np.float64)


def column_stochastic(graph: Graph) -> np.ndarray:
    weights_NN = np.eye(graph.nodes)
    for sender, targets in enumerate(graph.targets):
        weights_NN[list(targets), sender] = 1
    divided_NN: np.ndarray = weights_NN / weights_NN.sum(axis=0)
    return divided_NN


def test_unbiased_on_a_directed_graph_and_averaging_is_not(unequal: str, run_in_memory: Run) -> None:
    settings = ("nodes=5", unequal, "algorithm.rounds=60", *ONLY_MIXING)
    pushed = run_in_memory(*settings, "algorithm.name=push-sum")
    assert pushed._prepared.graph.targets == UNEQUAL
    mean_P = first(pushed).mean(axis=0)
    np.testing.assert_allclose(final(pushed), np.tile(mean_P, (5, 1)), atol=1e-6)
    averaged = final(run_in_memory(*settings, "mixing.name=uniform"))
    assert np.abs(averaged - averaged.mean(axis=0)).max() < 1e-5, "they agree"
    assert np.abs(averaged - mean_P).max() > 0.01, "but not on the mean"


@pytest.mark.parametrize("topology", ["{name='epidemic', degree=2}", "one-peer-exponential"])
def test_unbiased_where_the_graph_changes(topology: str, run_in_memory: Run) -> None:
    run = run_in_memory(
        "nodes=6", f"topology={topology}", "algorithm.rounds=40", "algorithm.name=push-sum", *ONLY_MIXING
    )
    np.testing.assert_allclose(final(run), np.tile(first(run).mean(axis=0), (6, 1)), atol=1e-6)


def test_sums_are_kept_and_the_model_is_their_quotient(unequal: str, run_in_memory: Run) -> None:
    algorithms: list[PushSum] = []

    class Watched(PushSum):
        def __init__(self, config: PushSum.Config) -> None:
            super().__init__(config)
            algorithms.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("decentralized.algorithms.push_sum.PushSum", Watched)
        run = run_in_memory("nodes=5", unequal, "algorithm.name=push-sum", *ONLY_MIXING)
    states: list[Any] = [algorithm.state() for algorithm in algorithms[-5:]]  # those of the nodes, in their order
    biased_NP = np.stack([state["biased"].numpy() for state in states]).astype(np.float64)
    weights_N = np.array([state["weight"] for state in states])
    np.testing.assert_allclose(biased_NP.sum(axis=0), first(run).sum(axis=0), atol=1e-5)
    assert weights_N.sum() == pytest.approx(5, abs=1e-12)
    product_NN = np.linalg.matrix_power(column_stochastic(run._prepared.graph), 3)
    np.testing.assert_allclose(weights_N, product_NN.sum(axis=1), atol=1e-12)
    np.testing.assert_allclose(biased_NP, product_NN @ first(run), atol=1e-5)
    np.testing.assert_allclose(final(run), biased_NP / weights_N[:, np.newaxis], atol=1e-5)


def test_on_a_regular_graph_it_is_averaging(run_in_memory: Run) -> None:
    settings = ("nodes=6", "topology.name=ring", "algorithm.rounds=3")
    pushed = final(run_in_memory(*settings, "algorithm.name=push-sum"))
    np.testing.assert_allclose(pushed, final(run_in_memory(*settings)), atol=1e-5)


def test_only_whole_vectors_are_divided(run_in_memory: Run) -> None:
    for sharing in ("{name='top-k', alpha=0.1}", "{name='full', payload='deltas'}"):
        with pytest.raises(ConfigError, match="all of x is divided"):
            run_in_memory("algorithm.name=push-sum", f"sharing={sharing}")


@pytest.mark.parametrize("weight", [None, 0.0, -1.0, float("nan"), float("inf"), "1.0", True])
def test_weights_that_cannot_be_used(weight: Any) -> None:
    item = Received(3, torch.zeros(2), {} if weight is None else {WEIGHT: weight})
    with pytest.raises(CodecError, match="node 3"):
        _check_weight(item)


def test_states_that_are_none() -> None:
    push_sum = PushSum(PushSum.Config(name="push-sum", rounds=1))
    for state in ({"biased": None, "weight": 1}, {"biased": [1.0], "weight": 1.0}, {"weight": 1.0}):
        with pytest.raises(StateError):
            push_sum.restore(state)
    push_sum.check(Graph(((),)), SimpleNamespace(sharing=SimpleNamespace(name="full")))
