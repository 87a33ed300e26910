"""Nodes die, agents die, and the run ends as its policy says: bit for bit, or with every walk accounted for."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.processes.runs import models, run
from tests.processes.survival import CONFIG, SMALL, Live, records, resume

STATEFUL = (  # every part that has something to remember
    "training.optimizer={name='Adam', lr=0.005}",
    "training.schedule={name='StepLR', step_size=7}",
    "sharing={name='top-k', alpha=0.2, payload='deltas'}",
    "data.samples=700",
    "topology={name='random-regular', degree=4}",
)
WALK = ("algorithm.name=random-walk",)


@pytest.fixture(scope="module", params=[(), STATEFUL], ids=["plain", "stateful"])
def settings(request: pytest.FixtureRequest) -> tuple[str, ...]:
    return (*SMALL, *request.param)


@pytest.fixture(scope="module")
def undisturbed(settings: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(CONFIG, tmp_path_factory.mktemp("undisturbed"), *settings)


@pytest.fixture
def live(tmp_path: Path) -> Iterator[list[Live]]:
    """Runs put here end with the test."""
    runs: list[Live] = []
    yield runs
    for one in runs:
        if one.agent.poll() is None:
            one.agent.kill()
            one.agent.communicate()


def begin(live: list[Live], out: Path, *settings: str) -> Live:
    live.append(Live(out, *settings))
    return live[-1]


def assert_same(directory: Path, undisturbed: Path) -> None:
    assert models(directory) == models(undisturbed)
    assert records(directory) == records(undisturbed)
    assert not list(directory.glob("nodes/*/checkpoint/*")), "nobody needs them any more"


def test_a_killed_node_is_started_again_and_changes_nothing(
    live: list[Live], tmp_path: Path, settings: tuple[str, ...], undisturbed: Path
) -> None:
    run = begin(live, tmp_path, *settings)
    run.wait_for_checkpoint()
    run.signal(3, signal.SIGKILL)
    run.wait_for_life(2)
    run.signal(0, signal.SIGKILL)  # perhaps before its first round
    assert "node 3 was killed by SIGKILL" in run.end()
    assert_same(run.directory, undisturbed)
    assert [event["life"] for event in run.events("rollback")] == [2, 3]


def test_a_run_whose_agent_was_killed_goes_on(
    live: list[Live], tmp_path: Path, settings: tuple[str, ...], undisturbed: Path
) -> None:
    run = begin(live, tmp_path, *settings)
    run.wait_for_checkpoint(2)
    run.agent.kill()
    run.agent.communicate()
    newest = sorted((run.directory / "nodes" / "0002" / "checkpoint").glob("*.safetensors"))[-1]
    newest.write_bytes(newest.read_bytes()[:-100])  # the disk lost its end
    resume(run.directory)
    assert_same(run.directory, undisturbed)


def test_ctrl_c_and_resume(live: list[Live], tmp_path: Path, settings: tuple[str, ...], undisturbed: Path) -> None:
    run = begin(live, tmp_path, *settings)
    run.wait_for_checkpoint()
    run.agent.send_signal(signal.SIGINT)
    run.end(130)
    assert run.summary()["outcome"] == "interrupted"
    resume(run.directory)
    assert_same(run.directory, undisturbed)
    assert "has finished" in resume(run.directory, 8)


def test_two_machines_start_again_together_and_are_resumed_as_one(
    live: list[Live], tmp_path: Path, two_machines: Path, settings: tuple[str, ...], undisturbed: Path
) -> None:
    first, second = (Live(tmp_path, *settings, ip_map=two_machines, machine=machine) for machine in (0, 1))
    live += [first, second]
    first.wait_for_checkpoint()
    second.signal(1, signal.SIGKILL)  # the second of its own nodes
    first.wait_for_life(2)
    second.wait_for_life(2)
    first.wait_for_checkpoint(3)
    for machine in (second, first):
        machine.agent.kill()
        machine.agent.communicate()
    alone = tmp_path / "alone.json"
    alone.write_text(json.dumps({"0": "127.0.0.1"}))
    resume(first.directory, 0, "--ip-map", str(alone))
    assert_same(first.directory, undisturbed)


def test_two_machines_are_resumed_as_two(
    live: list[Live], tmp_path: Path, two_machines: Path, settings: tuple[str, ...], undisturbed: Path
) -> None:
    """On one disk: neither takes the other for a run that still goes on."""
    first, second = (Live(tmp_path, *settings, ip_map=two_machines, machine=machine) for machine in (0, 1))
    live += [first, second]
    first.wait_for_checkpoint()
    for machine in (second, first):
        machine.agent.kill()
        machine.agent.communicate()
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda machine: resume(first.directory, 0, "--machine", machine), ("0", "1")))
    assert_same(first.directory, undisturbed)


def test_sigusr1_asks_for_a_checkpoint_of_one_round(live: list[Live], tmp_path: Path) -> None:
    run = begin(live, tmp_path, *SMALL, "checkpoint.every=0", "algorithm.rounds=200")
    run.wait(lambda: run.events("first-round"))
    run.agent.send_signal(signal.SIGUSR1)
    run.wait_for_checkpoint()
    run.agent.send_signal(signal.SIGUSR1)
    run.wait_for_checkpoint(2)
    run.end()


def test_a_silent_node_is_replaced(live: list[Live], tmp_path: Path) -> None:
    run = begin(live, tmp_path, *SMALL, "network.deadline_s=2")
    run.wait(lambda: run.events("first-round"))
    run.signal(5, signal.SIGSTOP)
    assert "node 5 has been silent for 2 s" in run.end()


def test_nodes_that_die_again_and_again_end_the_run(live: list[Live], tmp_path: Path) -> None:
    run = begin(live, tmp_path, *SMALL, "checkpoint.every=0", "network.restarts=1", "algorithm.rounds=500")
    for life in (1, 2):
        run.wait_for_life(life)
        run.signal(1, signal.SIGKILL)
    assert "nodes were started again 1 times since check-point 0" in run.end(6)


def test_resume_refuses_another_configuration(live: list[Live], tmp_path: Path) -> None:
    run = begin(live, tmp_path, *SMALL)
    run.wait_for_checkpoint()
    run.agent.kill()
    run.agent.communicate()
    config = run.directory / "config.toml"
    config.write_text(config.read_text().replace("lr = 0.1", "lr = 0.2"))
    assert "made with another configuration" in resume(run.directory, 6)


def test_without_a_lost_node_the_living_mix_symmetrically(live: list[Live], tmp_path: Path) -> None:
    settings = (
        "network.on_peer_loss=continue",
        "evaluation.weights=true",
        "topology={name='random-regular', degree=4}",
    )
    run = begin(live, tmp_path, *SMALL, *settings)
    run.wait(lambda: run.events("first-round"))
    run.signal(3, signal.SIGKILL)
    run.wait(lambda: run.events("lost"))
    run.signal(6, signal.SIGKILL)
    run.end()
    weights: dict[int, dict[int, dict[int, float]]] = {}
    for node, lines in records(run.directory).items():
        for line in lines:
            if line["kind"] == "round":
                row = {int(peer): weight for peer, weight in line["weights"].items()}
                weights.setdefault(line["round"], {})[node] = row
    assert set(weights[60]) == {0, 1, 2, 4, 5, 7}
    graph = json.loads((run.directory / "topology.json").read_text())["targets"]
    for rows in weights.values():
        assert_doubly_stochastic(rows, graph)


def assert_doubly_stochastic(rows: dict[int, dict[int, float]], graph: list[list[int]]) -> None:
    """Symmetric, with rows that sum to 1; a node without a row was used by all of its neighbors or by none."""
    for node, row in rows.items():
        assert sum(row.values()) == pytest.approx(1.0, abs=1e-9)
        for peer in row.keys() & rows.keys():
            assert rows[peer][node] == pytest.approx(row[peer], abs=1e-12)
    for gone in set(range(len(graph))) - rows.keys():
        neighbors = {node for node in graph[gone] if node in rows}
        assert {node for node, row in rows.items() if gone in row} in (neighbors, set())


@pytest.mark.parametrize("reissue", [True, False])
def test_walks_of_a_lost_node_are_counted(live: list[Live], tmp_path: Path, reissue: bool) -> None:
    policy = ("network.on_peer_loss=continue", f"network.reissue_walks={str(reissue).lower()}")
    run = begin(live, tmp_path, *SMALL, *WALK, *policy)
    run.wait(lambda: run.events("first-round"))
    run.signal(3, signal.SIGKILL)
    run.end()
    totals = run.summary()["totals"]
    arrived = totals["walks_taken"] + totals["walks_waiting_at_end"]
    assert totals["walks_sent"] - totals["walks_sent_to_lost"] == arrived - totals["walks_received_from_lost"]


def test_nodes_that_are_all_alone_finish_their_rounds(live: list[Live], tmp_path: Path) -> None:
    run = begin(live, tmp_path, *SMALL, *WALK, "network.on_peer_loss=continue", "topology={name='star'}")
    run.wait(lambda: run.events("first-round"))
    run.signal(0, signal.SIGKILL)
    run.end()
    assert run.summary()["rounds"] == 60


@pytest.mark.parametrize("kill", ["node", "agent"])
def test_walks_go_on_from_a_consistent_cut(live: list[Live], tmp_path: Path, kill: str) -> None:
    run = begin(live, tmp_path, *SMALL, *WALK)
    run.wait_for_checkpoint(2)
    if kill == "node":
        run.signal(3, signal.SIGKILL)
        run.end()
    else:
        run.agent.kill()
        run.agent.communicate()
        resume(run.directory)
    totals = run.summary()["totals"]
    assert totals["walks_sent"] == totals["walks_taken"] + totals["walks_waiting_at_end"]
    assert totals["walks_waiting_at_end"] == 8, "one message out for each message in: as many walks as nodes"
