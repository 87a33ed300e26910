"""Graphs that change give the same bits everywhere: over few connections, in memory, and after a node was killed."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.processes.runs import models, run, start
from tests.processes.survival import CONFIG, Live, records

SETTINGS = ("nodes=8", "algorithm.rounds=40", "checkpoint.every=10", "evaluation.every=20", "data.samples=400")
EPIDEMIC = ("topology={name='epidemic', degree=2}", "mixing.name=uniform")
PUSH_SUM = ("topology={name='epidemic', degree=2}", "algorithm.name=push-sum")
FEW = "network.connections=2"


@pytest.fixture(scope="module", params=[EPIDEMIC, PUSH_SUM], ids=["epidemic", "push-sum"])
def settings(request: pytest.FixtureRequest) -> tuple[str, ...]:
    return (*SETTINGS, *request.param)


@pytest.fixture(scope="module")
def undisturbed(settings: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(CONFIG, tmp_path_factory.mktemp("undisturbed"), *settings)


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Callable[..., Live]]:
    """Starts a run; it does not outlive the test, however that ends."""
    runs: list[Live] = []

    def start_one(*settings: str) -> Live:
        runs.append(Live(tmp_path / "live", *settings))
        return runs[-1]

    yield start_one
    for live in runs:
        if live.agent.poll() is None:
            live.agent.kill()
            live.agent.communicate()


def assert_same(there: Path, undisturbed: Path) -> None:
    assert models(there) == models(undisturbed)
    assert records(there) == records(undisturbed)


def kill_one(live: Live, node: int) -> None:
    """Once there is a check-point to go back to; the run begins a second life, and ends well."""
    live.wait_for_checkpoint()
    live.signal(node, signal.SIGKILL)
    live.wait_for_life(2)
    assert f"node {node} was killed by SIGKILL" in live.end()


def test_in_memory(settings: tuple[str, ...], undisturbed: Path, tmp_path: Path) -> None:
    assert_same(run(CONFIG, tmp_path, *settings, "network.transport=memory"), undisturbed)


def test_with_few_connections(settings: tuple[str, ...], undisturbed: Path, tmp_path: Path) -> None:
    assert_same(run(CONFIG, tmp_path, *settings, FEW), undisturbed)


def test_a_killed_node_is_started_again_and_changes_nothing(
    settings: tuple[str, ...], undisturbed: Path, begin: Callable[..., Live]
) -> None:
    live = begin(*settings, FEW, "network.on_peer_loss=wait")
    kill_one(live, 3)
    assert_same(live.directory, undisturbed)


def test_a_chain_of_one_way_edges(begin: Callable[..., Live], tmp_path: Path) -> None:
    """Longer than what a node keeps of one sender; the last node, for which nobody else waits, is killed on the way."""
    file = tmp_path / "chain.txt"
    file.write_text("0 1\n1 2\n")
    chain = f"topology={{name='edge-list', path='{file}', directed=true}}"
    settings = (*SETTINGS, chain, "mixing.name=uniform", "nodes=3", "algorithm.rounds=100", "checkpoint.every=20")
    undisturbed = run(CONFIG, tmp_path / "memory", *settings, "network.transport=memory")
    live = begin(*settings, "network.on_peer_loss=wait")
    kill_one(live, 2)
    assert_same(live.directory, undisturbed)


def test_a_stopped_node_is_found_and_ends_the_run(begin: Callable[..., Live]) -> None:
    """It says nothing any more, but lives: whoever waits for it has asked, and accuses it."""
    live = begin(*SETTINGS, *EPIDEMIC, FEW, "algorithm.rounds=100000", "network.deadline_s=3")
    live.wait(lambda: live.events("run"))
    live.wait_for_checkpoint()
    live.signal(5, signal.SIGSTOP)
    assert "node 5" in live.end(code=5)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (("topology.name=epidemic",), '[mixing] metropolis-hastings: in round 1 [topology] "epidemic"'),
        ((*EPIDEMIC, "algorithm.name=random-walk"), "[algorithm] random-walk needs a graph that stays as it is"),
        ((*EPIDEMIC, "network.on_peer_loss=continue"), '[network] on_peer_loss = "continue" needs the same neighbors'),
        ((*EPIDEMIC, "sharing={name='top-k', alpha=0.1, payload='deltas'}"), '[sharing] payload = "deltas"'),
    ],
)
def test_what_does_not_go_together(settings: tuple[str, ...], said: str, tmp_path: Path) -> None:
    process = start(CONFIG, tmp_path, *SETTINGS, *settings)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 2, output
    assert said in output
