"""`decentralized status`."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from decentralized.run_directory import RunDirectory
from decentralized.types import NodeId
from launch.commands.output import plain_table, say, show
from launch.progress import duration, size

TAIL_BYTES = 1 << 14  # the last lines of a metrics file
SHOWN = 12  # nodes in the table


@dataclass(frozen=True)
class NodeStatus:
    """What the files of one node say: its round, its bytes, and how long ago it wrote."""

    node: NodeId
    round: int
    bytes_sent: int
    age_s: float


def status(path: Path) -> None:
    """How far a run is, live or dead, from its files alone: the slowest nodes first."""
    directory = RunDirectory.open(path)
    nodes = sorted((_node(directory, node) for node in directory.nodes()), key=lambda node: (node.round, -node.age_s))
    say(f"{directory.path}: {_outcome(directory)}")
    if not nodes:
        say("no node has written anything yet")
        return
    total = sum(node.bytes_sent for node in nodes)
    say(f"{len(nodes)} nodes, rounds {nodes[0].round} to {nodes[-1].round}, {size(total)} sent")
    table = plain_table(("node", "round", "sent", "last wrote"), 0)
    for node in nodes[:SHOWN]:
        table.add_row(str(node.node), str(node.round), size(node.bytes_sent), f"{duration(node.age_s)} ago")
    show("the slowest nodes" if len(nodes) > SHOWN else "all nodes, the slowest first", table)


def _outcome(directory: RunDirectory) -> str:
    """Finished, failed, running or dead."""
    if directory.summary.is_file():
        summary = json.loads(directory.summary.read_text())
        message = str(summary.get("message", "")).partition("\n")[0]
        return str(summary["outcome"]) + (f": {message}" if message else "")
    started = [event for event in _events(directory) if event.get("event") == "start"]
    pids = [int(str(event["pid"])) for event in started if event.get("host") == platform.node() and "pid" in event]
    if not pids:
        return "no summary yet, and no agent of this machine"
    return "running" if any(_alive(pid) for pid in pids) else "dead: its agent is gone and left no summary"


def _events(directory: RunDirectory) -> list[Mapping[str, object]]:
    return [record for machine in directory.agents() for record in _records(directory.agent(machine).events)]


def _node(directory: RunDirectory, node: NodeId) -> NodeStatus:
    path = directory.node(node).metrics
    records = _records(path)
    rounds = [int(str(record.get("round", 0))) for record in records]
    sent = [int(str(record["bytes_sent"])) for record in records if "bytes_sent" in record]
    age_s = time.time() - path.stat().st_mtime if path.is_file() else 0.0
    return NodeStatus(node, max(rounds, default=0), max(sent, default=0), age_s)


def _records(path: Path) -> list[Mapping[str, object]]:
    """The last whole lines of a file of JSON lines; none when there is no file yet."""
    if not path.is_file():
        return []
    with path.open("rb") as file:
        start = max(0, path.stat().st_size - TAIL_BYTES)
        file.seek(start)
        lines = file.read().split(b"\n")
    whole = lines[1 if start else 0 : -1]
    return [json.loads(line) for line in whole]


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
