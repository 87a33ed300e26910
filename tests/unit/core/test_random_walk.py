"""Random walks: nothing is lost, nothing is made up, and the ages are as the report says."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch

from decentralized.control import Fact, Finished
from decentralized.in_memory import InMemoryRun
from decentralized.metrics import read_metrics
from decentralized.run_directory import RunDirectory

Small = Callable[..., object]


@pytest.fixture
def walk(small: Callable[..., object], tmp_path: object) -> Callable[..., tuple[InMemoryRun, list[Finished]]]:
    def run(*overrides: str) -> tuple[InMemoryRun, list[Finished]]:
        facts: list[Fact] = []
        prepared = small("algorithm={name='random-walk', rounds=12}", *overrides)
        directory = RunDirectory.join(str(tmp_path) + "/run")
        result = InMemoryRun(prepared, directory, lambda fact, droppable=False: facts.append(fact), print)  # type: ignore[arg-type]
        result.run()
        return result, [fact for fact in facts if isinstance(fact, Finished)]

    return run


def total(finished: list[Finished], name: str) -> int:
    return sum(fact.totals[name] for fact in finished)


@pytest.mark.parametrize(
    "overrides",
    [
        ("nodes=6",),
        ("nodes=6", "topology.name=star"),
        ("nodes=5", "topology.name=full", "algorithm.send_after=averaging"),
        ("nodes=4", "algorithm.mode=periodic", "algorithm.period_rounds=2"),
        ("nodes=2", "topology.name=line"),
        ("nodes=1", "topology.name=full"),
        ("nodes=4", "topology={name='isolated', node=1}"),
        ("nodes=4", "sharing={name='top-k', alpha=0.1}"),
        ("nodes=4", "sharing={name='sub-sampling', alpha=0.3}", "algorithm.send_after=averaging"),
        ("nodes=4", "sharing={name='random-alpha', alphas=[0.1, 1.0]}"),
    ],
)
def test_every_model_that_was_sent_arrives(
    overrides: tuple[str, ...], walk: Callable[..., tuple[InMemoryRun, list[Finished]]]
) -> None:
    run, finished = walk(*overrides)
    assert len(finished) == run._prepared.experiment.nodes
    assert total(finished, "walks_sent") == total(finished, "walks_taken") + total(finished, "walks_waiting_at_end")
    assert max(fact.round for fact in finished) == 12
    assert total(finished, "dropped") == 0


def test_there_are_as_many_walks_as_nodes(walk: Callable[..., tuple[InMemoryRun, list[Finished]]]) -> None:
    """One in, one out: after its first round each node has sent one more than it has taken."""
    _, finished = walk("nodes=6")
    for fact in finished:
        assert fact.totals["walks_sent"] == fact.totals["walks_taken"] + 1 == fact.round
    assert total(finished, "walks_waiting_at_end") == 6


def test_age_grows_with_training_and_takes_the_older(
    walk: Callable[..., tuple[InMemoryRun, list[Finished]]],
) -> None:
    run, _ = walk("nodes=5", "evaluation.weights=true")
    for node in range(5):
        rounds = [record for record in read_metrics(run._directory.node(node).metrics) if record["kind"] == "round"]
        ages = [float(str(record["age"])) for record in rounds]
        assert ages[0] == 1 and all(later >= earlier + 1 for earlier, later in pairwise(ages))
        for earlier, record, later in zip(ages, rounds[1:], ages[1:], strict=False):
            weights = record["weights"]
            assert isinstance(weights, dict)
            (theirs,) = (weight for peer, weight in weights.items() if int(peer) != node)
            received = earlier * theirs / (1 - theirs)  # from w = theirs / (own + theirs)
            assert later == pytest.approx(max(earlier, received) + 1, rel=1e-6)


def test_turns_make_walks_repeatable(walk: Callable[..., tuple[InMemoryRun, list[Finished]]]) -> None:
    first, second = walk("nodes=5")[0], walk("nodes=5")[0]
    for node in range(5):
        assert torch.equal(first.learners[node].vector(), second.learners[node].vector())


def test_hybrid_walks_and_then_gossips(walk: Callable[..., tuple[InMemoryRun, list[Finished]]]) -> None:
    run, finished = walk("nodes=6", "algorithm={name='hybrid', rounds=10, switch_round=6}")
    assert all(fact.round == 10 for fact in finished)
    assert total(finished, "walks_sent") == total(finished, "walks_taken") + total(finished, "walks_waiting_at_end")
    parameters = run._prepared.parameters
    for fact in finished:
        walked = 6 - fact.totals["rounds_skipped"]
        assert fact.totals["walks_sent"] == walked
        assert fact.totals["bytes_values"] == 4 * parameters * (walked + 2 * 4)  # then two neighbors, four rounds
