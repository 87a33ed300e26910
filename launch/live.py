"""The newest state of each node, in a file that `decentralized status` reads while the run goes on."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

import msgspec

from decentralized.types import NodeId
from launch.state import SILENT_S, RunState

EVERY_S = 1.0


class LiveNode(msgspec.Struct):
    """One node as its agent last heard of it. `since_s`: for how long it has done this, at that moment."""

    node: NodeId
    pid: int = 0
    round: int = 0
    activity: str = "starting"
    waits_for: NodeId | None = None
    since_s: float = 0.0
    age: int | None = None
    bytes_sent: int = 0


class Live(msgspec.Struct):
    """All nodes that one agent hears of. `time`: seconds since 1970."""

    time: float
    nodes: list[LiveNode]


class LiveFile:
    """Writes at most once in EVERY_S. It is for people only, so a disk that takes no more must not stop the run."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._written = 0.0

    def update(self, state: RunState) -> None:
        now = time.monotonic()
        if now - self._written < EVERY_S:
            return
        self._written = now
        temporary = self._path.with_suffix(".tmp")
        with contextlib.suppress(OSError):
            temporary.write_bytes(msgspec.json.encode(Live(time.time(), live_nodes(state))))
            os.replace(temporary, self._path)


def live_nodes(state: RunState) -> list[LiveNode]:
    """What is known of each node now."""
    now = time.monotonic()
    nodes = []
    for node, pid in sorted(state.pids.items()):
        live = LiveNode(node, pid, state.round.get(node, 0), bytes_sent=state.bytes_sent.get(node, 0))
        if node in state.status:
            fact, heard = state.status[node]
            live.activity, live.waits_for, live.age = fact.activity, fact.waits_for, fact.age
            live.since_s = fact.since_s + now - heard
            if now - heard > SILENT_S:
                live.activity, live.waits_for, live.since_s = "silent", None, now - heard
        if node in state.gone:
            live.activity, live.waits_for, live.since_s = state.gone[node], None, 0.0
        elif node in state.finished:
            live.activity, live.waits_for = "finished", None
        nodes.append(live)
    return nodes


def read_live(path: Path) -> Live | None:
    """What the file says; None when there is none, or none that can be read."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Live)
    except (OSError, msgspec.DecodeError):
        return None
