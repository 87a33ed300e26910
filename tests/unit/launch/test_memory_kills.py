"""The system's own count of processes that it killed for want of memory, and what a user is told of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from decentralized.control import Exited, Failed
from launch.loss import Loss
from launch.memory_kills import MemoryKills

PLACES = {  # what /proc/self/cgroup says, and where the counter is
    "version 2": ("0::/user/run\n", "groups/user/run/memory.events"),
    "version 2, in a container": ("0::/\n", "groups/memory.events"),
    "version 1": ("4:memory:/docker/1\n0::/\n", "groups/memory/docker/1/memory.oom_control"),
    "version 1, in a container": ("4:memory:/docker/1\n", "groups/memory/memory.oom_control"),
    "no group": ("0::/\n", "vmstat"),
}


@pytest.mark.parametrize("place", PLACES)
def test_kills_since_the_last_look(place: str, tmp_path: Path) -> None:
    own, counter = PLACES[place]
    (tmp_path / "own").write_text(own)
    file = tmp_path / counter
    file.parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "vmstat").write_text("oom_kill 70\n")
    file.write_text("under_oom 0\noom_kill 2\n")
    kills = MemoryKills(tmp_path / "groups", tmp_path / "own", tmp_path / "vmstat")
    assert not kills.again()
    file.write_text("under_oom 0\noom_kill 3\noom_group_kill 0\n")
    assert kills.again() and not kills.again()


def test_a_system_that_does_not_count(tmp_path: Path) -> None:
    kills = MemoryKills(tmp_path / "groups", tmp_path / "own", tmp_path / "vmstat")
    assert not kills.again()


@pytest.mark.parametrize(
    ("fact", "what", "advice"),
    [
        (Exited(3, -9, out_of_memory=True), "killed by SIGKILL (out of memory) after round 5", "The system ran out"),
        (Exited(3, -9), "killed by SIGKILL after round 5", "Perhaps the system ran out"),
        (Exited(3, -11), "killed by SIGSEGV after round 5", ""),
    ],
)
def test_what_is_said_of_a_killed_node(fact: Exited, what: str, advice: str) -> None:
    loss = Loss.exited(fact, 5)
    assert loss.what == f"node 3 was {what}"
    assert loss.advice.startswith(advice) and bool(advice) == bool(loss.advice)


@pytest.mark.parametrize(("error", "message"), [("MemoryError", ""), ("RuntimeError", "x: can't allocate memory: y")])
def test_memory_that_a_node_did_not_get(error: str, message: str) -> None:
    assert "out of memory" in Loss.failed(Failed(3, 5, error, message, "", 1)).advice
