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
    Bereaved,
    Checkpointed,
    Committed,
    Contributed,
    Exited,
    Fact,
    Failed,
    Finished,
    Halt,
    HaltAt,
    Halted,
    Kill,
    Listening,
    Lost,
    Parted,
    Ready,
    Refused,
    Removed,
    Rollback,
    RoundDone,
    Said,
    Silent,
    Stop,
    Summed,
)  # fmt: skip
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


def running(nodes: int, **network: Any) -> Coordinator:
    """All nodes are up."""
    coordinator = new_coordinator(nodes, **network)
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
    assert coordinator.hear(listening(1)) == [
        Addresses({node: f"tcp://h:{node}" for node in range(3)}, {0: "", 1: "", 2: ""})
    ]
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


def failed(node: int, error: str = "ValueError") -> Failed:
    return Failed(node, 4, error, "x", "", 1)


def checkpoint(coordinator: Coordinator, nodes: int, number: int) -> list[Fact]:
    """All nodes have written it; the answers to the last one."""
    answers: list[Fact] = []
    for node in range(nodes):
        answers = coordinator.hear(Checkpointed(node, number))
    return answers


class TestStart:
    def test_no_node_begins_before_every_machine_is_ready(self) -> None:
        coordinator = Coordinator(2, 3, DIRECTORY, Network())
        assert coordinator.hear(Ready(2, 1, [])) == coordinator.hear(Ready(0, 1, [])) == []
        assert coordinator.hear(Ready(0, 1, [])) == [], "one machine twice is not two machines"
        assert coordinator.hear(Ready(1, 1, [])) == [Begin(1, 0)]
        assert coordinator.hear(Ready(1, 1, [])) == []

    @pytest.mark.parametrize(
        ("first", "second", "common"),
        [([10, 20, 30], [10, 20], 20), ([10], [20], 0), ([], [10], 0), ([20, 10], [20, 10], 20)],
    )
    def test_a_run_goes_on_from_the_newest_check_point_that_all_have(
        self, first: list[int], second: list[int], common: int
    ) -> None:
        coordinator = Coordinator(2, 2, DIRECTORY, Network(on_peer_loss="wait"))
        coordinator.hear(Ready(0, 1, first))
        assert coordinator.hear(Ready(1, 1, second)) == [Begin(1, common)]
        rollback = coordinator.hear(Exited(0, -9))
        assert isinstance(rollback[0], Rollback)
        coordinator.hear(Ready(0, 2, []))
        assert coordinator.hear(Ready(1, 2, [])) == [Begin(2, common)], "there is no newer one yet"

    def test_it_cannot_halt_before_all_are_up_and_not_after_the_end(self) -> None:
        coordinator = new_coordinator(2)
        coordinator.hear(listening(0))
        assert not coordinator.running and coordinator.hear(Halt(True)) == []
        coordinator.hear(listening(1))
        assert coordinator.running and coordinator.hear(Halt(False)) == [Halt(False)]
        for node in (0, 1):
            coordinator.hear(finished(node))
        assert not coordinator.running and coordinator.hear(Halt(True)) == []


class TestHalt:
    def test_a_run_that_stops_says_with_which_check_point(self) -> None:
        coordinator = running(2)
        coordinator.hear(Halt(True))
        assert checkpoint(coordinator, 2, 7) == [Committed(7)]
        assert coordinator.hear(Halted(1, stops=True)) == []
        assert coordinator.hear(Halted(0, stops=True)) == [Stop(7)]
        assert coordinator.stopped == Stop(7) and not coordinator.done
        for node in (0, 1):
            assert coordinator.hear(Exited(node, 0)) == []
        assert coordinator.done


class TestWait:
    """A lost node: all nodes start again."""

    def again(self, coordinator: Coordinator, nodes: int) -> list[Fact]:
        """The machine is ready for the next life, and all nodes come up."""
        begin = coordinator.hear(Ready(0, coordinator.life, []))
        for node in range(nodes):
            coordinator.hear(listening(node))
        return begin

    @pytest.mark.parametrize("fact", [Exited(1, -9), failed(1), Silent(0, 1, 61.0)])
    def test_a_loss_ends_this_life_and_begins_the_next(self, fact: AnyFact) -> None:
        coordinator = running(3, on_peer_loss="wait")
        checkpoint(coordinator, 3, 20)
        (rollback,) = coordinator.hear(fact)
        assert isinstance(rollback, Rollback) and rollback.life == coordinator.life == 2
        assert "node 1" in rollback.reason
        assert coordinator.abort is None and not coordinator.running
        assert self.again(coordinator, 3) == [Begin(2, 20)] and coordinator.running

    def test_what_is_left_of_the_former_life_is_ignored(self) -> None:
        coordinator = running(2, on_peer_loss="wait")
        coordinator.hear(failed(0))
        late: list[AnyFact] = [
            Exited(0, 1),
            Exited(1, -9),
            failed(1),
            Silent(1, 0, 61.0),
            finished(0),
            finished(1),
            listening(0),
        ]
        others: list[AnyFact] = [Checkpointed(0, 5), Checkpointed(1, 5), Halt(True), Ready(0, 1, [99])]
        for fact in [*late, *others]:
            assert coordinator.hear(fact) == []
        assert self.again(coordinator, 2) == [Begin(2, 0)]
        assert coordinator.hear(finished(0)) == [] and coordinator.hear(finished(1)) == [Stop()]
        for node in (0, 1):
            coordinator.hear(Exited(node, 0))
        assert coordinator.done

    def test_nodes_wait_for_every_machine(self) -> None:
        coordinator = new_coordinator(2, machines=2, on_peer_loss="wait")
        coordinator.hear(Exited(1, -9))
        assert coordinator.hear(Ready(1, 2, [])) == []
        assert coordinator.hear(Ready(0, 2, [])) == [Begin(2, 0)]

    def test_the_sums_and_halts_of_the_former_life_are_forgotten(self) -> None:
        coordinator = running(2, on_peer_loss="wait")
        coordinator.hear(Contributed(0, "walks", {"sent": 1}))
        coordinator.hear(Halt(True))
        coordinator.hear(Exited(1, -9))
        self.again(coordinator, 2)
        assert coordinator.hear(Contributed(1, "walks", {"sent": 2})) == []
        assert coordinator.hear(Contributed(0, "walks", {"sent": 3})) == [Summed("walks", {"sent": 5})]
        assert coordinator.hear(Halt(False)) == [Halt(False)]

    def test_restarts_are_counted_until_there_is_a_new_check_point(self) -> None:
        coordinator = running(2, on_peer_loss="wait", restarts=2)
        for _ in range(2):
            assert isinstance(coordinator.hear(Exited(0, -9))[0], Rollback)
            self.again(coordinator, 2)
        assert checkpoint(coordinator, 2, 10) == [Committed(10)]
        for _ in range(2):
            assert isinstance(coordinator.hear(Exited(0, -9))[0], Rollback)
            assert self.again(coordinator, 2) == [Begin(coordinator.life, 10)]
        abort = abort_after(coordinator, Exited(0, -9))
        assert "nodes were started again 2 times since check-point 10" in abort.message

    def test_an_old_check_point_is_no_progress(self) -> None:
        coordinator = Coordinator(1, 1, DIRECTORY, Network(on_peer_loss="wait", restarts=1))
        assert coordinator.hear(Ready(0, 1, [10])) == [Begin(1, 10)]
        coordinator.hear(listening(0))
        coordinator.hear(Exited(0, -9))
        self.again(coordinator, 1)
        coordinator.hear(Checkpointed(0, 10))
        assert abort_after(coordinator, Exited(0, -9))

    @pytest.mark.parametrize("error", ["ConfigError", "HelloMismatch", "StateError", "StorageError"])
    @pytest.mark.parametrize("policy", ["wait", "continue"])
    def test_what_would_happen_again_ends_the_run(self, policy: str, error: str) -> None:
        assert abort_after(running(2, on_peer_loss=policy), failed(1, error))

    def test_a_run_that_has_ended_is_not_begun_again(self) -> None:
        coordinator = running(2, on_peer_loss="wait")
        for node in (0, 1):
            coordinator.hear(finished(node))
        assert coordinator.hear(Silent(0, 1, 61.0)) == [] and coordinator.life == 1
        assert not any(isinstance(fact, Rollback) for fact in coordinator.hear(failed(1)))


class TestContinue:
    """A lost node: the others go on without it."""

    def test_everybody_hears_of_the_loss_and_the_node_is_ended(self) -> None:
        coordinator = running(3, on_peer_loss="continue")
        coordinator.hear(RoundDone(1, 4, 0.5, 10))
        bereaved, *facts = coordinator.hear(Silent(2, 1, 61.0))
        assert bereaved == Bereaved(1, "node 1 has been silent for 61 s after round 4, says node 2")
        assert facts == [Kill([1]), Lost(1)]
        assert coordinator.hear(Parted(0, 1, 5, True, 0, 0, False)) == []
        (removed,) = coordinator.hear(Parted(2, 1, 4, True, 0, 0, False))
        assert isinstance(removed, Removed)
        assert (removed.lost, removed.last, removed.holder, removed.lacking) == (1, 5, 0, {2: 4})

    def test_one_loss_is_told_once_however_often_it_is_noticed(self) -> None:
        coordinator = running(3, on_peer_loss="continue")
        assert coordinator.hear(failed(1))
        for fact in (Exited(1, 1), Silent(0, 1, 61.0), Silent(2, 1, 61.0)):
            assert coordinator.hear(fact) == []
        assert coordinator.abort is None

    def test_the_run_ends_when_the_last_living_node_has_finished(self) -> None:
        coordinator = running(3, on_peer_loss="continue")
        coordinator.hear(Exited(1, -9))
        assert coordinator.hear(finished(0)) == []
        assert coordinator.hear(finished(2)) == [Stop()]
        for node in (0, 2):
            assert not coordinator.done
            assert coordinator.hear(Exited(node, 0)) == []
        assert coordinator.done

    def test_the_run_ends_when_the_only_unfinished_node_is_lost(self) -> None:
        coordinator = running(3, on_peer_loss="continue")
        for node in (0, 2):
            coordinator.hear(finished(node))
        assert coordinator.hear(Exited(1, -9))[-1] == Stop()

    def test_a_node_that_has_finished_can_be_lost_too(self) -> None:
        coordinator = running(3, on_peer_loss="continue")
        coordinator.hear(finished(0))
        coordinator.hear(Exited(0, -9))
        coordinator.hear(finished(1))
        assert coordinator.hear(finished(2)) == [Stop()]

    def test_the_last_node_cannot_go_on_without_itself(self) -> None:
        coordinator = running(2, on_peer_loss="continue")
        coordinator.hear(Exited(0, -9))
        assert "node 1" in abort_after(coordinator, Exited(1, -9)).message

    def test_a_node_that_never_came_up_ends_the_run(self) -> None:
        coordinator = new_coordinator(2, on_peer_loss="continue")
        coordinator.hear(listening(0))
        assert "node 1" in abort_after(coordinator, Exited(1, 1)).message

    def test_nobody_waits_for_a_halt_with_a_lost_node(self) -> None:
        coordinator = running(3, on_peer_loss="continue")
        coordinator.hear(Halt(False))
        assert HaltAt(0, stop=False) in coordinator.hear(Exited(1, -9))
        assert not coordinator.running and coordinator.hear(Halt(False)) == []

    def test_sums_are_those_of_the_living(self) -> None:
        coordinator = running(3, on_peer_loss="continue")
        for node in (0, 1):
            coordinator.hear(Contributed(node, "walks", {"sent": 10**node}))
        assert Summed("walks", {"sent": 1}) not in coordinator.hear(Exited(1, -9))
        assert coordinator.hear(Contributed(2, "walks", {"sent": 5})) == [Summed("walks", {"sent": 6})]

    def test_when_every_walk_is_lost_the_run_ends(self) -> None:
        coordinator = running(3, on_peer_loss="continue", reissue_walks=False)
        coordinator.hear(Exited(1, -9))
        coordinator.hear(Parted(0, 1, -1, True, 1, 0, True))
        abort = abort_after(coordinator, Parted(2, 1, -1, True, 1, 0, True))
        assert "every walk was lost" in abort.message and "network.reissue_walks" in abort.advice
        assert coordinator.hear(finished(0)) == []


class TestLostMachine:
    """Nodes 2 and 3 are on the machine that is gone."""

    def test_the_others_go_on_and_nobody_waits_for_its_nodes_to_leave(self) -> None:
        coordinator = running(4, on_peer_loss="continue")
        assert coordinator.can_lose([2, 3])
        facts = coordinator.lose_machine([2, 3], "machine 1 (tcp://h:1) has been silent for 9 s")
        assert [fact for fact in facts if isinstance(fact, Lost)] == [Lost(2), Lost(3)]
        assert Bereaved(3, "node 3: machine 1 (tcp://h:1) has been silent for 9 s") in facts
        assert coordinator.hear(finished(0)) == []
        assert coordinator.hear(finished(1)) == [Stop()]
        for node in (0, 1):
            assert not coordinator.done
            coordinator.hear(Exited(node, 0))
        assert coordinator.done

    def test_not_with_all_nodes_nor_under_another_policy_nor_before_all_are_up(self) -> None:
        assert not running(2, on_peer_loss="continue").can_lose([0, 1])
        for policy in ("abort", "wait"):
            assert not running(4, on_peer_loss=policy).can_lose([2, 3])
        assert not new_coordinator(4, on_peer_loss="continue").can_lose([2, 3])

    def test_nodes_that_were_lost_before_are_not_lost_twice(self) -> None:
        coordinator = running(4, on_peer_loss="continue")
        coordinator.hear(Exited(2, -9))
        facts = coordinator.lose_machine([2, 3], "gone")
        assert [fact for fact in facts if isinstance(fact, Lost)] == [Lost(3)]


class TestHello:
    def test_machines_that_loaded_other_things_are_refused(self) -> None:
        coordinator = Coordinator(2, 2, DIRECTORY, Network())
        assert coordinator.hear(Ready(1, 1, [], {"data set": "b"})) == []
        abort = abort_after(coordinator, Ready(0, 1, [], {"data set": "a"}))
        assert abort.error == "HelloMismatch" and "machine 1" in abort.message
        assert "data set: b there, a on machine 0" in abort.message

    def test_another_processor_is_said(self) -> None:
        coordinator = Coordinator(2, 2, DIRECTORY, Network())
        coordinator.hear(Ready(0, 1, [], {"processor capability": "AVX2"}))
        said, begin = coordinator.hear(Ready(1, 1, [], {"processor capability": "AVX512"}))
        assert isinstance(said, Said) and "AVX512 there, AVX2 on machine 0" in said.line
        assert begin == Begin(1, 0)
