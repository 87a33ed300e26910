"""What agent 0 decides, from facts alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from decentralized.config import Network
from decentralized.control import (
    Abort,
    Addresses,
    AnyFact,
    Begin,
    Exited,
    Failed,
    Finished,
    Listening,
    Ready,
    Refused,
    RoundDone,
    Stop,
)
from decentralized.errors import NodeFailed, StorageError
from decentralized.run_directory import RunDirectory
from launch.coordinator import Coordinator

DIRECTORY = RunDirectory(Path("runs/x"))


def new_coordinator(nodes: int, machines: int = 1, **network: Any) -> Coordinator:
    """Every machine is ready, so that nodes may be started."""
    coordinator = Coordinator(nodes, machines, DIRECTORY, Network(**network))
    for machine in range(machines):
        begin = coordinator.hear(Ready(machine, 1, []))
    assert begin == [Begin(1, 0)]
    return coordinator


def listening(node: int) -> Listening:
    return Listening(node, f"tcp://h:{node}", 100 + node)


def finished(node: int) -> Finished:
    return Finished(node, 3, 1.0, {}, {})


def running(nodes: int) -> Coordinator:
    """All nodes are up."""
    coordinator = new_coordinator(nodes)
    for node in range(nodes):
        coordinator.hear(listening(node))
    return coordinator


def abort_after(coordinator: Coordinator, fact: AnyFact) -> Abort:
    (abort,) = coordinator.hear(fact)
    assert isinstance(abort, Abort) and coordinator.abort is abort
    return abort


def test_the_run_begins_when_the_last_node_is_up() -> None:
    coordinator = new_coordinator(3)
    assert coordinator.hear(listening(2)) == coordinator.hear(listening(0)) == []
    assert coordinator.missing() == [1]
    assert coordinator.hear(listening(1)) == [Addresses({0: "tcp://h:0", 1: "tcp://h:1", 2: "tcp://h:2"})]
    assert coordinator.missing() == []


@pytest.mark.parametrize("nodes", [1, 3])
def test_the_run_ends_when_all_have_finished_and_left(nodes: int) -> None:
    coordinator = running(nodes)
    for node in range(nodes - 1):
        assert coordinator.hear(finished(node)) == []
    assert coordinator.hear(finished(nodes - 1)) == [Stop()]
    for node in range(nodes):
        assert not coordinator.done
        assert coordinator.hear(Exited(node, 0)) == []
    assert coordinator.done


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (-9, "was killed by SIGKILL"),
        (-11, "was killed by SIGSEGV"),
        (-40, "was killed by signal 40"),
        (1, "ended with status 1"),
        (0, "ended with status 0"),
    ],
)
def test_a_node_that_ends_too_early_is_named(status: int, told: str) -> None:
    abort = abort_after(running(3), Exited(1, status))
    assert abort.message == f"node 1 {told} before the end of round 1\nits log: runs/x/nodes/0001/log.txt"
    assert (abort.error, abort.exit_code) == ("NodeFailed", NodeFailed.exit_code)
    assert ("memory" in abort.advice) == (status == -9)


def test_its_last_round_is_told() -> None:
    coordinator = running(3)
    for round in (1, 2):
        assert coordinator.hear(RoundDone(1, round, 0.5, 10)) == []
    assert abort_after(coordinator, Exited(1, -9)).message.startswith("node 1 was killed by SIGKILL after round 2\n")


def test_a_node_that_raised_is_told_with_its_round_and_its_log() -> None:
    abort = abort_after(running(3), Failed(2, 7, "ValueError", "no such thing", "Do this.", 1))
    assert abort.message == (
        "node 2 failed after round 7: ValueError: no such thing\nits log: runs/x/nodes/0002/log.txt"
    )
    assert (abort.error, abort.exit_code, abort.advice) == ("NodeFailed", NodeFailed.exit_code, "Do this.")


def test_an_error_of_our_own_keeps_its_exit_code() -> None:
    fact = Failed(0, 0, "StorageError", "could not write", StorageError.advice, StorageError.exit_code)
    abort = abort_after(running(2), fact)
    assert abort.exit_code == StorageError.exit_code and "--out" in abort.advice


def test_nodes_that_are_threads_of_one_process_name_themselves() -> None:
    fact = Failed(0, 0, "NodeFailed", "node 1 failed in round 2: ValueError: x", "", NodeFailed.exit_code)
    assert abort_after(running(2), fact).message.startswith("node 1 failed in round 2: ValueError: x\n")


def test_what_the_fork_server_refuses_comes_unchanged() -> None:
    abort = abort_after(new_coordinator(2), Refused("DataMissing", "mnist: nothing at x", "Fetch it.", 3))
    assert (abort.error, abort.message, abort.advice, abort.exit_code) == (
        "DataMissing",
        "mnist: nothing at x",
        "Fetch it.",
        3,
    )


def test_the_first_failure_is_the_one_that_counts() -> None:
    coordinator = running(2)
    first = abort_after(coordinator, Failed(0, 1, "ValueError", "x", "", 1))
    assert coordinator.hear(Exited(0, 1)) == coordinator.hear(Exited(1, -9)) == coordinator.hear(finished(1)) == []
    assert coordinator.abort is first


def test_an_abort_of_another_machine_is_passed_on() -> None:
    abort = Abort("HelloMismatch", "another configuration", "", 5)
    assert abort_after(running(2), abort) is abort
