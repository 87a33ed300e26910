"""What `status` sees of a run that goes on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from decentralized.control import Exited, Finished, Listening, RoundDone, Status
from launch import live, state
from launch.live import EVERY_S, LiveFile, LiveNode, live_nodes, read_live
from launch.state import SILENT_S, RunState


@dataclass
class Clock:
    """Takes the place of the module `time`."""

    now: float = 1000.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return 1e9 + self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in (live, state):
        monkeypatch.setattr(module, "time", clock)
    return clock


def up(nodes: int) -> RunState:
    known = RunState(nodes, 10, started=0.0)
    for node in range(nodes):
        known.hear(Listening(node, "", 100 + node))
    return known


def test_a_node_that_has_said_nothing_yet_is_starting(clock: Clock) -> None:
    assert live_nodes(up(2)) == [LiveNode(0, 100), LiveNode(1, 101)]
    assert live_nodes(RunState(2, 10)) == []


def test_what_a_node_last_said(clock: Clock) -> None:
    known = up(2)
    known.hear(RoundDone(1, 4, 0.5, 77))
    known.hear(Status(1, "waiting", 0, 2.5, 9))
    clock.now += SILENT_S - 1
    (_, node) = live_nodes(known)
    assert node == LiveNode(1, 101, 4, "waiting", 0, 2.5 + SILENT_S - 1, 9, 77)


def test_a_node_that_says_nothing_any_more_is_silent(clock: Clock) -> None:
    known = up(1)
    known.hear(Status(0, "waiting", 3, 2.5, None))
    clock.now += SILENT_S + 4
    (node,) = live_nodes(known)
    assert (node.activity, node.waits_for, node.since_s) == ("silent", None, SILENT_S + 4)


@pytest.mark.parametrize(("status", "activity"), [(0, "left"), (-9, "dead (-9)"), (3, "dead (3)")])
def test_a_node_that_is_gone_waits_for_nobody(clock: Clock, status: int, activity: str) -> None:
    known = up(1)
    known.hear(Status(0, "waiting", 3, 2.5, None))
    known.hear(Exited(0, status))
    clock.now += 2 * SILENT_S
    (node,) = live_nodes(known)
    assert (node.activity, node.waits_for, node.since_s) == (activity, None, 0.0)


def test_a_node_that_has_finished_says_so_until_it_leaves(clock: Clock) -> None:
    known = up(1)
    known.hear(Status(0, "waiting", 3, 2.5, None))
    known.hear(Finished(0, 10, 1.0, {}, {"bytes_sent": 5}))
    (node,) = live_nodes(known)
    assert (node.activity, node.waits_for, node.round, node.bytes_sent) == ("finished", None, 10, 5)
    known.hear(Exited(0, 0))
    assert live_nodes(known)[0].activity == "left"


def test_the_file_says_what_was_known_when_it_was_written(clock: Clock, tmp_path: Path) -> None:
    known, file = up(2), LiveFile(tmp_path / "live.json")
    known.hear(Status(1, "training", None, 0.0, None))
    file.update(known)
    written = read_live(tmp_path / "live.json")
    assert written is not None and written.time == clock.time() and written.nodes == live_nodes(known)


def test_the_file_is_not_written_all_the_time(clock: Clock, tmp_path: Path) -> None:
    known, file, path = up(1), LiveFile(tmp_path / "live.json"), tmp_path / "live.json"
    file.update(known)
    before = path.read_bytes()
    known.hear(RoundDone(0, 7, None, 0))
    clock.now += EVERY_S / 2
    file.update(known)
    assert path.read_bytes() == before
    clock.now += EVERY_S
    file.update(known)
    written = read_live(path)
    assert written is not None and written.nodes[0].round == 7
    assert [entry.name for entry in tmp_path.iterdir()] == ["live.json"]


def test_a_disk_that_takes_no_more_does_not_stop_the_run(clock: Clock, tmp_path: Path) -> None:
    LiveFile(tmp_path / "no such folder" / "live.json").update(up(1))


@pytest.mark.parametrize(
    "content", [None, b"", b"{", b'{"time": 1}', b'{"time": 1, "nodes": [{"node": "x"}]}', b"\xff"]
)
def test_a_file_that_cannot_be_read_says_nothing(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "live.json"
    if content is not None:
        path.write_bytes(content)
    assert read_live(path) is None
