"""What mixing must keep and must do, on whole runs in memory."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from decentralized.in_memory import InMemoryRun
from decentralized.metrics import read_metrics
from decentralized.mixing.linear import weighted_sum
from decentralized.mixing.matrices import metropolis_hastings
from decentralized.prepare import build_learner
from decentralized.run_directory import RunDirectory
from decentralized.types import Received

Run = Callable[..., InMemoryRun]
ONLY_MIXING = ("training.local_steps=0", "training.same_start=false")


def final(run: InMemoryRun) -> np.ndarray:
    return np.stack([run.learners[node].vector().numpy() for node in sorted(run.learners)]).astype(np.float64)


def first(run: InMemoryRun) -> np.ndarray:
    prepared = run._prepared
    nodes = range(prepared.experiment.nodes)
    return np.stack([build_learner(prepared, node).vector().numpy() for node in nodes]).astype(np.float64)


@pytest.mark.parametrize("topology", ["ring", "star", "line", "full", "small-world"])
def test_averaging_is_the_matrix_and_keeps_the_mean(topology: str, run_in_memory: Run) -> None:
    run = run_in_memory("nodes=6", f"topology.name={topology}", *ONLY_MIXING)
    weights_NN = metropolis_hastings(run._prepared.graph)
    start_NP, end_NP = first(run), final(run)
    np.testing.assert_allclose(end_NP, np.linalg.matrix_power(weights_NN, 3) @ start_NP, atol=1e-6)
    np.testing.assert_allclose(end_NP.mean(axis=0), start_NP.mean(axis=0), atol=1e-6)


def test_uniform_mixing_on_a_full_graph_is_the_mean_at_once(run_in_memory: Run) -> None:
    run = run_in_memory("nodes=5", "topology.name=full", "mixing.name=uniform", "algorithm.rounds=1", *ONLY_MIXING)
    expected_P = first(run).mean(axis=0)
    for model_P in final(run):
        np.testing.assert_allclose(model_P, expected_P, atol=1e-6)


@pytest.mark.parametrize("nodes", [1, 2])
def test_one_and_two_nodes(nodes: int, run_in_memory: Run) -> None:
    run = run_in_memory(f"nodes={nodes}")
    assert len(run.learners) == nodes
    assert not np.array_equal(final(run), first(run))


def test_an_isolated_node_trains_as_if_alone(run_in_memory: Run) -> None:
    with_others = run_in_memory("nodes=4", "topology.name=isolated", "topology.node=2")
    alone = run_in_memory("nodes=4", "algorithm.name=local")
    same = [np.array_equal(a, b) for a, b in zip(final(with_others), final(alone), strict=True)]
    assert same == [False, False, True, False]


def test_weights_are_written_where_asked_and_sum_to_one(run_in_memory: Run, tmp_path: object) -> None:
    run = run_in_memory("nodes=4", "topology.name=star", "evaluation.weights=true")
    directory: RunDirectory = run._directory
    weights_NN = metropolis_hastings(run._prepared.graph)
    for node in range(4):
        rounds = [record for record in read_metrics(directory.node(node).metrics) if record["kind"] == "round"]
        assert len(rounds) == 3
        for record in rounds:
            weights = record["weights"]
            assert isinstance(weights, dict)
            assert sum(weights.values()) == pytest.approx(1)
            assert {int(peer): value for peer, value in weights.items()} == pytest.approx(
                {peer: weight for peer, weight in enumerate(weights_NN[node]) if weight}
            )


def test_counted_bytes_are_those_of_full_sharing(run_in_memory: Run) -> None:
    run = run_in_memory("nodes=4")
    parameters = run._prepared.parameters
    for node in range(4):
        records = read_metrics(run._directory.node(node).metrics)
        last = [record for record in records if record["kind"] == "round"][-1]
        assert last["bytes_values"] == 3 * 2 * 4 * parameters  # rounds, neighbors, bytes of a float
        assert last["bytes_indices"] == last["bytes_resent"] == 0
        assert last["messages_sent"] == (3 + 1) * 2  # one hello to each neighbor
        assert last["bytes_sent"] == last["bytes_values"] + last["bytes_header"]  # type: ignore[operator]


def test_weighted_sum_by_hand() -> None:
    own_P = torch.tensor([8.0, 80.0])
    received = [Received(3, torch.tensor([1.0, 10.0]), {}), Received(5, torch.tensor([2.0, 20.0]), {})]
    mixed = weighted_sum(4, own_P, received, lambda item: 0.25 if item.sender == 3 else 0.125)
    assert mixed.weights == {3: 0.25, 5: 0.125, 4: 0.625}
    assert mixed.vector_P.tolist() == [0.25 + 0.25 + 5.0, 2.5 + 2.5 + 50.0]
    assert own_P.tolist() == [8.0, 80.0]


def test_weighted_sum_without_neighbors_is_a_copy() -> None:
    own_P = torch.tensor([1.0, 2.0])
    mixed = weighted_sum(0, own_P, [], lambda item: 1.0)
    own_P.zero_()
    assert mixed.vector_P.tolist() == [1.0, 2.0]
