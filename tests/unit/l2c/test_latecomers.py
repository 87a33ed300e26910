"""Nodes that join a run of L2C later: nothing of them before, all of them after, and rounds in common throughout."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

import numpy as np
import pytest
import torch

from decentralized.algorithms.l2c import L2C
from decentralized.errors import ConfigError
from decentralized.in_memory import InMemoryRun
from decentralized.prepare import Prepared, build_learner
from decentralized.topologies.edges import undirected
from tests.unit.l2c.village import Village
from tests.unit.rounds import rounds_of
from tests.unit.simulated.graphs import full
from tests.unit.simulated.run import SimulatedRun, resumed
from tests.unit.simulated.seeds import seeds

Prepare = Callable[..., Prepared]
Run = Callable[..., InMemoryRun]
LATE, EARLY = (1, 4), (0, 2, 3)
JOINING = (f"algorithm.latecomers={list(LATE)}", "algorithm.join_after=3", "algorithm.rounds=6")
UNTRAINED = ("algorithm.name=meta-l2c", "algorithm.weight_steps=0")  # an encoder as it is drawn, which nobody trains
METHODS = pytest.mark.parametrize("method", [(), UNTRAINED], ids=["l2c", "meta-l2c"])


@METHODS
def test_until_they_join_the_others_are_as_without_them(method: tuple[str, ...], small: Prepare) -> None:
    joined = Village(small(*method, *JOINING))
    apart = small(*method, "algorithm.rounds=6")
    alone = Village(replace(apart, graph=undirected(5, [(0, 2), (0, 3), (2, 3)])))
    for village in (joined, alone):
        village.go(1, 3)
    for node in EARLY:
        assert joined.vectors()[node] == alone.vectors()[node]
        assert [r.weights for r in joined.reports[node]] == [r.weights for r in alone.reports[node]]
    for node in LATE:
        assert joined.vectors()[node] == build_learner(apart, node).vector().numpy().tobytes()
        assert all(report.weights == {} and "train_loss" not in report.metrics for report in joined.reports[node])


@METHODS
def test_then_they_take_part_from_the_initial_model_on(method: tuple[str, ...], run: Run) -> None:
    made = run(*method, *JOINING)
    size = made._prepared.parameters * (8 if method else 4)
    for node in range(5):
        records, late = rounds_of(made, node), node in LATE
        own = [str(peer) for peer in ((node,) if late else EARLY)]
        assert [sorted(r["weights"]) for r in records[:3]] == [[] if late else own] * 3
        assert [sorted(r["weights"]) for r in records[3:]] == [["0", "1", "2", "3", "4"]] * 3
        assert [r["in_degree"] for r in records] == [r["out_degree"] for r in records]
        assert [r["in_degree"] for r in records] == [0 if late else 2] * 3 + [4] * 3
        sent = np.diff([0, *(r["bytes_values"] for r in records)])
        assert sent.tolist() == [size * r["out_degree"] for r in records]
    for node in LATE:
        records, fresh = rounds_of(made, node), build_learner(made._prepared, node)
        assert records[3]["train_loss"] == fresh.fit(1, lambda: None)["train_loss"]
        if not method:
            assert set(records[3]["weights"].values()) == {1 / 5}, "it has learned nothing of anybody yet"
            assert len(set(records[5]["weights"].values())) == 5


@pytest.mark.parametrize("how", ["changes", "updates"])
def test_what_is_added_up_in_the_first_round_of_a_meta_l2c(how: str, small: Prepare) -> None:
    prepared = small(*UNTRAINED, *JOINING, f"algorithm.join_with={how}")
    joined, trained = Village(prepared), Village(prepared)
    joined.go(1, 4)
    trained.go(1, 3)
    before = [learner.vector().clone() for learner in trained.learners]
    for learner in trained.learners:
        learner.fit(4, lambda: None)
    for node in LATE:
        expected_P = before[node].clone()
        for other, weight in joined.reports[node][3].weights.items():
            since_P = before[node if how == "changes" else other]
            expected_P += weight * (trained.learners[other].vector() - since_P)
        torch.testing.assert_close(joined.learners[node].vector(), expected_P, rtol=0, atol=1e-6)


def test_pruning_comes_after_they_were_heard(run: Run) -> None:
    made = run(*JOINING, "algorithm.prune=2", "algorithm.prune_after=5")
    for node in range(5):
        assert [r["in_degree"] for r in rounds_of(made, node)[3:]] == [4, 2, 2]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (("algorithm.latecomers=[5]",), "latecomers: expected different nodes up to 4"),
        (("algorithm.latecomers=[2, 2]",), "expected different nodes"),
        (("algorithm.latecomers=[0, 1, 2, 3, 4]",), "somebody must be there"),
        (("algorithm.join_after=6",), "after round 6 of 6"),
        (("algorithm.prune=1", "algorithm.prune_after=3"), "would be dropped in round 3, unheard"),
        (("algorithm.name=meta-l2c",), "encoder is averaged over all nodes"),
    ],
)
def test_what_does_not_fit_is_refused(changes: tuple[str, ...], said: str, small: Prepare) -> None:
    with pytest.raises(ConfigError, match=said):
        small(*JOINING, *changes)


def simulated(seed: int, rounds: int) -> SimulatedRun:
    random = Random(seed)
    nodes = random.randint(2, 5)
    late, after = random.sample(range(nodes), random.randint(1, nodes - 1)), random.randint(1, rounds - 1)
    algorithm = L2C.Config(name="l2c", rounds=rounds, weight_steps=0, latecomers=tuple(late), join_after=after)
    return SimulatedRun(full(nodes), algorithm, seed)


@seeds(20)
def test_nobody_runs_ahead_of_them_nor_they_of_others(seed: int) -> None:
    run = simulated(seed, 12)
    apart: list[int] = []

    def look() -> None:
        done = [len(node.reports) for node in run.nodes.values()]
        apart.append(max(done) - min(done))
        if min(done) < 12:
            run.later(5, look)

    run.at(1, look)
    run.run()
    assert max(apart) <= 2 and len(apart) > 20


@seeds(20)
def test_a_run_that_was_halted_ends_the_same(seed: int) -> None:
    undisturbed = simulated(seed, 9).run()
    second = resumed(undisturbed.graph, undisturbed.algorithm, seed, Random(seed).randint(1, 6))
    for node in undisturbed.nodes:
        assert second.nodes[node].learner.vector().equal(undisturbed.nodes[node].learner.vector())
