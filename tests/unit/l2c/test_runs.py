"""Whole runs in memory: what is mixed, what travels after pruning, what is saved, and how they go on after a stop."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import torch

from decentralized import checkpoint
from decentralized.algorithms.l2c import L2C
from decentralized.errors import ConfigError, DecentralizedError, StateError, TopologyError
from decentralized.in_memory import InMemoryRun
from decentralized.learners.sgd import SGD
from decentralized.prepare import Prepared, build_learner
from decentralized.types import Graph, Neighbors
from tests.unit.l2c.village import Village
from tests.unit.rounds import rounds_of
from tests.unit.simulated.graphs import full
from tests.unit.simulated.run import SimulatedRun, resumed
from tests.unit.simulated.seeds import seeds

Prepare = Callable[..., Prepared]
Run = Callable[..., InMemoryRun]
META = ("algorithm.name=meta-l2c",)
PRUNED = ("algorithm.prune=3", "algorithm.prune_after=2")


def vectors(run: InMemoryRun) -> list[bytes]:
    return [run.learners[node].vector().numpy().tobytes() for node in sorted(run.learners)]


def nodes_of(run: InMemoryRun) -> range:
    return range(run._prepared.experiment.nodes)


def test_without_steps_it_is_uniform_averaging_of_updates_bit_for_bit(run: Run) -> None:
    made = run("algorithm.weight_steps=0")
    nodes = [build_learner(made._prepared, node) for node in range(5)]
    for round in range(1, 5):
        starts = [node.vector().clone() for node in nodes]
        for node in nodes:
            node.fit(round, lambda: None)
        deltas = [start_P - node.vector() for start_P, node in zip(starts, nodes, strict=True)]
        for node, start_P in zip(nodes, starts, strict=True):
            mixed_P = start_P.clone()
            for delta_P in deltas:
                mixed_P.add_(delta_P, alpha=-1 / 5)
            node.load(mixed_P)
    assert vectors(made) == [node.vector().numpy().tobytes() for node in nodes]


def test_from_the_same_start_it_is_then_d_psgd_with_equal_weights(run: Run) -> None:
    made = run("algorithm.weight_steps=0")
    other = run("algorithm={name='dpsgd', rounds=4}", "mixing=uniform")
    for node in range(5):
        torch.testing.assert_close(made.learners[node].vector(), other.learners[node].vector(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("algorithm", [(), META], ids=["l2c", "meta-l2c"])
def test_weights_are_learned_and_sum_to_one(algorithm: tuple[str, ...], run: Run) -> None:
    made = run(*algorithm, "algorithm.weight_steps=3", "algorithm.rounds=5")
    for node in nodes_of(made):
        records = rounds_of(made, node)
        for record in records:
            assert sorted(record["weights"]) == ["0", "1", "2", "3", "4"]
            assert sum(record["weights"].values()) == pytest.approx(1, abs=1e-12)
            assert record["mixed_validation_loss"] > 0
        assert max(records[-1]["weights"].values()) > 1.2 / 5
    if not algorithm:
        assert set(rounds_of(made, 0)[0]["weights"].values()) == {1 / 5}


@pytest.mark.parametrize("algorithm", [(), META], ids=["l2c", "meta-l2c"])
@pytest.mark.parametrize(
    "graph",
    [("nodes=1",), ("nodes=2",), ("topology=ring",), ("nodes=4", "topology=isolated")],
)
def test_other_graphs(graph: tuple[str, ...], algorithm: tuple[str, ...], run: Run) -> None:
    gossip = ("algorithm.over=gossip",) if algorithm else ()
    if algorithm and graph[-1] == "topology=isolated":
        with pytest.raises(TopologyError):
            run(*algorithm, *gossip, *graph)
        return
    made = run(*algorithm, *graph)
    assert all(np.isfinite(learner.vector().numpy()).all() for learner in made.learners.values())
    if graph[-1] in ("nodes=1", "topology=isolated"):  # node 0 has no neighbors
        assert [r["weights"] for r in rounds_of(made, 0)] == [{"0": 1.0}] * 4
    if algorithm:
        again = run(*algorithm, *gossip, *graph)
        assert (vectors(again) == vectors(made)) == (len(nodes_of(made)) < 3), "gossip is exact between two"


@pytest.mark.parametrize("algorithm", [(), META], ids=["l2c", "meta-l2c"])
def test_bytes_fall_in_proportion_to_the_edges_dropped(algorithm: tuple[str, ...], run: Run) -> None:
    made = run(*algorithm, "nodes=6", *PRUNED)
    size = (8 if algorithm else 4) * made._prepared.parameters
    sent = np.zeros((6, 4), np.int64)
    for node in nodes_of(made):
        records = rounds_of(made, node)
        counted = [0, *(int(r["bytes_values"] - r.get("all_reduce_bytes", 0)) for r in records)]
        sent[node] = np.diff(counted)
        assert [r["in_degree"] for r in records] == [5, 2, 2, 2]
        assert [len(r["weights"]) for r in records] == [6, 6, 3, 3]
        kept = sorted(records[1]["weights"], key=lambda peer: (-records[1]["weights"][peer], int(peer)))
        kept = [peer for peer in kept if peer != str(node)][:2]
        assert sorted(records[3]["weights"]) == sorted([str(node), *kept])
    out = np.array([[r["out_degree"] for r in rounds_of(made, node)] for node in range(6)])
    assert out.sum(axis=0).tolist() == [30, 12, 12, 12], "each edge has two ends"
    edges = np.concatenate([[30, 30], [12, 12]])
    if algorithm:  # of the all-reduce the headers are counted with it, too
        assert abs(sent.sum(axis=0) - edges * size).max() < 0.2 * 12 * size
    else:
        assert sent.sum(axis=0).tolist() == (edges * size).tolist()
        assert (sent[:, 2:] == out[:, 2:] * size).all()


def test_headers_of_what_is_not_sent_are_small(run: Run) -> None:
    made = run("nodes=6", *PRUNED)
    headers = np.array([[r["bytes_header"] for r in rounds_of(made, node)] for node in range(6)]).sum(axis=0)
    assert headers[3] - headers[2] <= headers[0]


@pytest.mark.parametrize("algorithm", [(), META], ids=["l2c", "meta-l2c"])
def test_looking_changes_nothing(algorithm: tuple[str, ...], run: Run) -> None:
    looked = run(*algorithm, *PRUNED, "evaluation.every=1", "evaluation.train=true", "evaluation.samples=20")
    assert vectors(looked) == vectors(run(*algorithm, *PRUNED, "evaluation.weights=false"))


def test_an_update_that_cannot_be_used_is_left_out(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    fit = SGD.fit
    seen: list[SGD] = []

    def broken(learner: SGD, *arguments: object) -> object:
        metrics = fit(learner, *arguments)  # type: ignore[arg-type]
        seen.append(learner)
        if len(seen) == 2:
            learner.vector().fill_(float("nan"))
        return metrics

    monkeypatch.setattr(SGD, "fit", broken)
    made = run("algorithm.rounds=1")
    whole = [node for node in range(5) if made.learners[node] is not seen[1]]
    for node in whole:
        weights = rounds_of(made, node)[0]["weights"]
        assert weights == {str(peer): 0.25 for peer in whole}
        assert np.isfinite(made.learners[node].vector().numpy()).all()


SETTINGS: dict[str, tuple[str, ...]] = {
    "l2c": ("algorithm.weight_steps=2", "algorithm.validation_batch=3", *PRUNED),
    "meta-l2c": (*META, "algorithm.weight_steps=2", *PRUNED),
    "joining": (
        "algorithm.latecomers=[1, 2]",
        "algorithm.join_after=2",
        "algorithm.prune=2",
        "algorithm.prune_after=4",
    ),
    "gradients by gossip": (*META, "algorithm.average=gradients", "algorithm.over=gossip", "algorithm.weight_steps=2"),
}


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("stop", [1, 3])
def test_it_goes_on_from_a_file_as_if_nothing_had_happened(
    name: str, stop: int, small: Prepare, tmp_path: Path
) -> None:
    prepared = small(*SETTINGS[name], "algorithm.rounds=5")
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
        for one, other in zip(straight.reports[node][stop:], second.reports[node], strict=True):
            assert one.weights == other.weights
        learned = [village.algorithms[node].learned() for village in (straight, second)]
        assert {k: v.tobytes() for k, v in learned[0].items()} == {k: v.tobytes() for k, v in learned[1].items()}


def test_no_part_of_its_memory_is_kept_in_vain(small: Prepare) -> None:
    """With a fresh part instead, the run goes on differently."""
    prepared = small(*SETTINGS["l2c"], "algorithm.rounds=5")
    straight = Village(prepared)
    straight.go(1, 5)
    for part in ("rule", "generator"):
        first, second = Village(prepared), Village(prepared)
        first.go(1, 3)
        fresh = Village(prepared)
        fresh.go(1, 1)
        for node in first.nodes:
            second.learners[node].restore(first.learners[node].state())
            mixed = {**first.algorithms[node].state(), part: fresh.algorithms[node].state()[part]}
            second.algorithms[node].restore(mixed)
        second.go(4, 5)
        assert second.vectors() != straight.vectors(), part


def test_the_state_of_something_else(small: Prepare) -> None:
    village = Village(small("nodes=1"))
    village.algorithms[0].restore({"rule": {}})
    with pytest.raises(StateError, match="expected generator, graph, rule"):
        village.go(1, 1)


def test_what_was_learned_is_saved_and_makes_weights_for_others(run: Run, tmp_path: Path) -> None:
    alphas = run("algorithm.weight_steps=2")
    saved = safetensors.numpy.load_file(alphas._directory.node(3).learned)
    assert saved["alpha"].shape == (5,) and saved["alpha"].any()
    trained = run(*META, "algorithm.weight_steps=4")
    files = [trained._directory.node(node).learned for node in range(5)]
    assert len({path.read_bytes() for path in files}) == 1, "the ring gives all nodes the same encoder"
    used = run(*META, f"algorithm.transfer='{files[0]}'", "seed=4", "nodes=4", "data.samples=200")
    assert used._directory.node(1).learned.read_bytes() == files[0].read_bytes()
    for node in range(4):
        records = rounds_of(used, node)
        assert len(set(records[0]["weights"].values())) > 1
        assert "all_reduce_bytes" not in records[-1] and "mixed_validation_loss" not in records[-1]
        assert records[-1]["bytes_values"] == 4 * 3 * 8 * used._prepared.parameters


def test_the_all_reduce_is_counted(run: Run) -> None:
    made = run(*META)
    encoder = sum(array.size for array in safetensors.numpy.load_file(made._directory.node(0).learned).values())
    total = sum(rounds_of(made, node)[-1]["all_reduce_bytes"] for node in range(5))
    values = 4 * 2 * (5 - 1) * 4 * encoder  # rounds, ways around, nodes but one, bytes of a number
    assert values < total < values + 4 * 5 * 8 * 120  # headers
    sent = sum(rounds_of(made, node)[-1]["bytes_values"] for node in range(5))
    assert 0 <= sent - values - 4 * 20 * 8 * made._prepared.parameters <= 4 * 5 * 8 * 8  # padding
    without = run(*META, "algorithm.weight_steps=0")
    assert all("all_reduce_bytes" not in record for record in rounds_of(without, 0))


def test_gradients_and_parameters_are_not_the_same_under_adam(run: Run) -> None:
    parameters, gradients = (run(*META, f"algorithm.average={what}") for what in ("parameters", "gradients"))
    assert vectors(parameters) != vectors(gradients)
    plain = "algorithm.optimizer={name='SGD', lr=0.1}"
    parameters, gradients = (run(*META, plain, f"algorithm.average={what}") for what in ("parameters", "gradients"))
    for node in nodes_of(parameters):  # one step of plain SGD: the mean of the steps is a step down the mean
        one, other = parameters.learners[node].vector(), gradients.learners[node].vector()
        torch.testing.assert_close(one, other, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        (("algorithm.prune=5",), ConfigError, "4 neighbors and cannot drop 5"),
        (("sharing={name='top-k', alpha=0.5}",), ConfigError, "whole updates"),
        (("sharing.payload=deltas",), ConfigError, "whole updates"),
        (("network.on_peer_loss=continue",), ConfigError, "abort"),
        (("data.validation=0.0",), ConfigError, "validation samples"),
        (("algorithm.optimizer=Adm",), ConfigError, r"\[algorithm\] optimizer: torch.optim has no class 'Adm'"),
        ((*META, "nodes=4", "topology=star"), TopologyError, "between nodes 1 and 2"),
        ((*META, "topology=isolated", "algorithm.over=gossip"), TopologyError, "connected"),
        ((*META, "algorithm.transfer=nowhere"), ConfigError, "nowhere cannot be read"),
        ((*META, "algorithm.average=gradients", "algorithm.optimizer=LBFGS"), ConfigError, "LBFGS"),
    ],
)
def test_what_does_not_fit_is_refused(
    changes: tuple[str, ...], error: type[DecentralizedError], said: str, small: Prepare
) -> None:
    with pytest.raises(error, match=said):
        small(*changes)


def test_pruning_needs_edges_both_ways(small: Prepare) -> None:
    experiment, circle = small("nodes=3").experiment, Graph(((1,), (2,), (0,)))
    L2C(settings(1, 0, 1)).check(circle, experiment)
    with pytest.raises(TopologyError, match="both ways"):
        L2C(settings(1, 1, 1)).check(circle, experiment)


def test_without_steps_no_validation_data_are_needed(run: Run) -> None:
    assert len(run("data.validation=0.0", "algorithm.weight_steps=0").learners) == 5


def settings(rounds: int, prune: int, after: int) -> L2C.Config:
    return L2C.Config(name="l2c", rounds=rounds, weight_steps=0, prune=prune, prune_after=after)


class TestHalts:
    """Over simulated runs, in which everybody is as fast or slow as a seed says."""

    @seeds(20)
    def test_it_goes_on_from_where_it_was_stopped_and_ends_the_same(self, seed: int) -> None:
        random = Random(seed)
        nodes = random.randint(2, 5)
        algorithm = settings(9, random.randint(0, nodes - 1), random.randint(1, 9))
        undisturbed = SimulatedRun(full(nodes), algorithm, seed).run()
        second = resumed(full(nodes), algorithm, seed, random.randint(1, 6))
        for node in range(nodes):
            assert second.nodes[node].learner.vector().equal(undisturbed.nodes[node].learner.vector())

    @seeds(10)
    def test_nodes_that_are_started_again_end_the_same(self, seed: int) -> None:
        random = Random(seed)
        algorithm = settings(6, 2, random.randint(1, 5))
        undisturbed = SimulatedRun(full(4), algorithm, seed).run()
        run = SimulatedRun(full(4), algorithm, seed, random.choice([0, 1, 2]), on_peer_loss="wait")
        victim, how = random.randrange(4), random.choice([run.kill, run.fail, run.accuse])
        run.at(random.randint(1, 300), lambda: how(victim))
        run.run()
        assert run.coordinator.abort is None
        for node in range(4):
            assert run.nodes[node].learner.vector().equal(undisturbed.nodes[node].learner.vector())

    @seeds(10)
    def test_nobody_runs_ahead_along_edges_that_go_one_way(self, seed: int) -> None:
        run = SimulatedRun(full(5), settings(30, 3, 2), seed)
        ahead: list[int] = []

        def look() -> None:
            for node in range(5):
                for other, graph in ((other, run.nodes[other].algorithm._graph) for other in range(5)):
                    if node in graph.edges(Neighbors((), tuple(range(5)))).receive_from:
                        ahead.append(run.begun.get(node, 0) - run.begun.get(other, 0))
            if max(run.begun.values(), default=0) < 30:
                run.later(20, look)

        run.at(10, look)
        run.run()
        assert 1 <= max(ahead) <= 2 and len(ahead) > 100
