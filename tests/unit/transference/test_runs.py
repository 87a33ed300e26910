"""Whole runs: Algorithm 2 as it is written, what travels, what all nodes agree on, and how a run goes on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import torch

from decentralized import checkpoint
from decentralized.errors import ConfigError, StateError, TopologyError
from decentralized.in_memory import InMemoryRun
from decentralized.learners.partial import Partial
from decentralized.mixing.linear import weighted_sum
from decentralized.prepare import Prepared, build_learner
from decentralized.transference.metric import exact, first_order
from decentralized.transference.spectral import Clustering, clusters_of, mixing_matrix
from decentralized.transport.memory import MemoryNetwork
from decentralized.types import Buffer, NodeId, Received
from tests.unit.core.test_personal_runs import pairs, windows
from tests.unit.l2c.village import Village
from tests.unit.rounds import rounds_of

Prepare = Callable[..., Prepared]
Run = Callable[..., InMemoryRun]
OWN_HEADS = "training.same_personal_start=false"
EXACT = "algorithm.definition=exact"


def vectors(run: InMemoryRun) -> list[bytes]:
    return [run.learners[node].vector().numpy().tobytes() for node in sorted(run.learners)]


def weights_of(run: InMemoryRun, round: int) -> np.ndarray:
    """W (N, N) in a round, as the nodes used it."""
    nodes = range(run._prepared.experiment.nodes)
    rows = [rounds_of(run, node)[round - 1]["weights"] for node in nodes]
    return np.array([[row.get(str(j), 0.0) for j in nodes] for row in rows])


def mixed(own: int, vectors_N: Sequence[torch.Tensor], weights_N: Sequence[float]) -> torch.Tensor:
    received = [Received(j, vectors_N[j].clone(), {}) for j, w in enumerate(weights_N) if w > 0 and j != own]
    return weighted_sum(own, vectors_N[own], received, lambda item: float(weights_N[item.sender])).vector_P


def measured(nodes: Sequence[Any], definition: str, rate: float) -> np.ndarray:
    """Z, by equation 8 or 5."""
    found = np.zeros((len(nodes), len(nodes)))
    own = [node.gradient_at(node.vector(), "common") for node in nodes]
    for j, (loss, g_j) in enumerate(own):
        for i, (_, g_i) in enumerate(own):
            if definition == "exact":
                start_P = nodes[j].vector().clone()
                _, there_P = nodes[i].gradient_at(start_P, "common")
                found[i, j] = exact(loss, nodes[j].loss_at(start_P - rate * there_P, "common"))
            else:
                found[i, j] = first_order(float(g_j.double().dot(g_i.double())), loss)
    return found


@pytest.mark.parametrize("settings", [(), (OWN_HEADS, "algorithm.average=mixing"), (EXACT,)])
def test_algorithm_2_bit_for_bit(settings: tuple[str, ...], run: Run) -> None:
    made = run(*settings, "algorithm.exchanges=3")
    config: Any = made._prepared.experiment.algorithm
    nodes: list[Any] = [build_learner(made._prepared, node) for node in range(4)]
    matrix, summed = np.full((4, 4), 0.25), np.zeros((4, 4))
    for round in range(1, 5):
        for node in nodes:
            node.fit_personal(lambda: None)
        z = measured(nodes, config.definition, config.exact_rate)
        averages = config.average == "mixing"
        summed += mixing_matrix(clusters_of(z, Clustering(), 90)) if averages else z
        if round % 2 == 0:
            matrix = summed / 2 if averages else mixing_matrix(clusters_of(summed / 2, Clustering(), 90))
            summed = np.zeros((4, 4))
        for _ in range(3):
            for node in nodes:
                node.fit_shared(lambda: None)
            now = [node.vector().clone() for node in nodes]
            for i, node in enumerate(nodes):
                node.load(mixed(i, now, matrix[i].tolist()))
        np.testing.assert_array_equal(weights_of(made, round), matrix)
        for node in range(4):
            record = rounds_of(made, node)[round - 1]
            assert [record[f"transference_from_{i}"] for i in range(4)] == z[:, node].tolist()
    assert vectors(made) == [node.vector().numpy().tobytes() for node in nodes]


@pytest.mark.parametrize("definition", ["first-order", "exact"])
def test_all_nodes_have_the_same_matrices_bit_for_bit(definition: str, run: Run) -> None:
    made = run(f"algorithm.definition={definition}", "algorithm.rounds=3", "nodes=5")
    files = [made._directory.node(node).learned.read_bytes() for node in range(5)]
    assert len(set(files)) == 1
    learned = safetensors.numpy.load(files[0])
    assert learned["transference"].shape == (5, 5) and learned["transference"].all()
    np.testing.assert_allclose(learned["mixing"].sum(axis=0), 1, atol=1e-12)
    np.testing.assert_array_equal(learned["mixing"], weights_of(made, 3))


def test_tasks_that_agree_are_put_together_and_others_apart(run: Run) -> None:
    for seed in (1, 2, 3):
        made = run(f"seed={seed}", "algorithm.rounds=2", "model.hidden=[32, 16]")
        np.testing.assert_array_equal(weights_of(made, 1), np.full((4, 4), 0.25))
        np.testing.assert_array_equal(weights_of(made, 2), mixing_matrix(np.array([0, 1, 1, 0])))


def test_encoders_travel_only_between_nodes_that_mix(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = set[tuple[NodeId, NodeId]]()
    deliver = MemoryNetwork.deliver

    def delivered(network: MemoryNetwork, sender: NodeId, to: NodeId, frames: Sequence[Buffer]) -> None:
        if any(len(bytes(frame)) > 500 for frame in frames):
            sent.add((sender, to))
        deliver(network, sender, to, frames)

    monkeypatch.setattr(MemoryNetwork, "deliver", delivered)
    run("algorithm.groups=[[0, 3], [1]]")
    assert sent == {(0, 3), (3, 0)}


@pytest.mark.parametrize("definition", ["first-order", "exact"])
def test_the_bytes_of_transference_are_counted_apart(definition: str, run: Run) -> None:
    made = run(f"algorithm.definition={definition}", "algorithm.stop_after=3", "algorithm.period=9")
    shared = len(made.learners[0].vector())
    vectors_sent = 3 if definition == "first-order" else 6
    for node in range(4):
        counted = [record["bytes_for_transference"] for record in rounds_of(made, node)]
        payload = 4 * shared * vectors_sent + 8 * 4 * 3
        for before, after in zip([0, *counted], counted[:3], strict=False):
            assert payload <= after - before <= payload + 200 * (vectors_sent + 3)
        assert counted[3] == counted[2], "nothing is measured after the last round for it"
        last = rounds_of(made, node)[-1]
        assert last["bytes_values"] == 3 * payload + 4 * 2 * 3 * 4 * shared
        assert "common_loss" not in last


def test_after_the_stop_the_graph_stays(run: Run) -> None:
    made = run("algorithm.rounds=6", "algorithm.period=1", "algorithm.stop_after=2", OWN_HEADS)
    for round in (3, 4, 5, 6):
        np.testing.assert_array_equal(weights_of(made, round), weights_of(made, 2))


def test_in_groups_of_one_it_is_training_alone_bit_for_bit(run: Run) -> None:
    made = run("algorithm.groups=[]", "algorithm.exchanges=1")
    assert vectors(made) == vectors(run("algorithm={name='local', rounds=4}"))


def test_in_one_group_it_is_d_psgd_with_equal_weights_bit_for_bit(run: Run) -> None:
    made = run("algorithm.groups=[[0, 1, 2, 3]]", "algorithm.exchanges=1")
    assert vectors(made) == vectors(run("algorithm={name='dpsgd', rounds=4}", "mixing=uniform"))


@pytest.mark.parametrize("settings", [(), (EXACT,), ("algorithm.average=mixing",)])
def test_no_byte_of_a_head_leaves_its_node(
    settings: tuple[str, ...], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames: list[bytes] = []
    kept, shared = set[bytes](), set[bytes]()
    deliver = MemoryNetwork.deliver

    def delivered(network: MemoryNetwork, sender: NodeId, to: NodeId, sent: Sequence[Buffer]) -> None:
        frames.extend(bytes(frame) for frame in sent)
        deliver(network, sender, to, sent)

    def watched(fit: Callable[..., Any]) -> Callable[..., Any]:
        def watch(learner: Any, progress: Any) -> Any:
            result = fit(learner, progress)
            kept.update(pairs(learner.parameters.personal.clone()))
            shared.update(pairs(learner.vector().clone()))
            return result

        return watch

    monkeypatch.setattr(MemoryNetwork, "deliver", delivered)
    for name in ("fit_personal", "fit_shared"):
        monkeypatch.setattr(Partial, name, watched(getattr(Partial, name)))
    run(*settings, "algorithm.period=9")
    travelled = windows(frames)
    assert len(kept) > 50 and not kept & travelled
    assert len(shared & travelled) > len(shared) / 3, "the search finds what does travel"


@pytest.mark.parametrize("settings", [(), ("algorithm.average=mixing", OWN_HEADS)])
@pytest.mark.parametrize("stop", [1, 2, 3])
def test_it_goes_on_from_a_file_as_if_nothing_had_happened(
    settings: tuple[str, ...], stop: int, small: Prepare, tmp_path: Path
) -> None:
    prepared = small(*settings, "algorithm.rounds=5")
    straight, first, second = (Village(prepared) for _ in range(3))
    straight.go(1, 5)
    first.go(1, stop)
    for node in first.nodes:
        folder = tmp_path / str(node)
        folder.mkdir()
        state = {"learner": first.learners[node].state(), "algorithm": first.algorithms[node].state()}
        checkpoint.write(folder, 1, state)
        saved: Any = checkpoint.read(folder, 1)
        second.learners[node].restore(saved["learner"])
        second.algorithms[node].restore(saved["algorithm"])
    second.go(stop + 1, 5)
    assert second.vectors() == straight.vectors()
    for node in first.nodes:
        assert second.learners[node].parameters.vector.equal(straight.learners[node].parameters.vector)
        for one, other in zip(straight.reports[node][stop:], second.reports[node], strict=True):
            assert one.weights == other.weights
            counted = [report.metrics["bytes_for_transference"] for report in (one, other)]
            assert counted[0] == counted[1]


def test_the_state_of_something_else(small: Prepare) -> None:
    village = Village(small("nodes=1"))
    village.algorithms[0].restore({"graph": {}})
    with pytest.raises(StateError, match="expected bytes, graph, transference"):
        village.go(1, 1)


def test_a_gradient_that_cannot_be_used_has_no_affinity(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Node 2's losses are infinite: nobody mixes with it, and the others go on."""
    broken = int(run("algorithm.rounds=0")._prepared.parts[2].train[0])
    original = Partial.gradient_at

    def gradient_at(learner: Any, *arguments: Any) -> tuple[float, torch.Tensor]:
        loss, gradient_P = original(learner, *arguments)
        return (float("inf"), gradient_P * float("nan")) if learner._parts.train[0] == broken else (loss, gradient_P)

    monkeypatch.setattr(Partial, "gradient_at", gradient_at)
    made = run()
    np.testing.assert_array_equal(weights_of(made, 4)[2], [0, 0, 1, 0])
    files = [made._directory.node(node).learned.read_bytes() for node in range(4)]
    assert len(set(files)) == 1
    assert all(learner.vector().isfinite().all() for learner in made.learners.values())


def test_one_node(run: Run) -> None:
    made = run("nodes=1", "algorithm.rounds=3")
    assert weights_of(made, 3).tolist() == [[1.0]]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (("data.common=0",), "data. common"),
        (("sharing={name='top-k', alpha=0.1}",), "whole encoders"),
        (("sharing.payload=deltas",), "whole encoders"),
        (("network.on_peer_loss=continue",), "on_peer_loss"),
        (("training.name=sgd", "training.personal="), "a head that stays"),
        (("training={name='ditto'}",), "a head that stays"),
        (("training.method=fedsim",), "in turns"),
        (("training.reinitialize=true",), "in turns"),
        (("algorithm.groups=[[0, 4]]",), "the last node is 3"),
        (("algorithm.groups=[[0, 1], [1]]",), "in two groups"),
    ],
)
def test_what_does_not_go_with_it_is_refused(settings: tuple[str, ...], said: str, small: Prepare) -> None:
    with pytest.raises(ConfigError, match=said):
        small(*settings)


def test_nodes_that_are_not_joined_are_refused(small: Prepare) -> None:
    with pytest.raises(TopologyError, match="any two nodes"):
        small("topology=ring")
