"""`decentralized status`."""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from decentralized.errors import RunDirectoryError
from decentralized.run_directory import RunDirectory
from decentralized.types import NodeId
from launch.commands.output import plain_table, say, show
from launch.live import LiveNode, read_live
from launch.liveness import is_alive, living_agents, local_agents
from launch.progress import duration, size
from launch.stalls import cycle_in, root_of

if TYPE_CHECKING:
    from rich.table import Table

TAIL_BYTES = 1 << 14  # the last lines of a metrics file
SHOWN = 12  # nodes in the table
WATCH_S = 2.0
STALL_S = 5.0  # of waiting: worth a word
STACK_PATIENCE_S = 1.0
STACK_LINES = 40


@dataclass(frozen=True)
class NodeStatus:
    """What is known of one node. `doing` is for people; `wrote_s`: how long ago it wrote its metrics."""

    node: NodeId
    round: int
    bytes_sent: int
    wrote_s: float
    doing: str = ""
    age: int | None = None
    memory: int = 0


def status(path: Path, watch: bool = False, stacks: bool = False) -> None:
    """How far a run is, live or dead: the slowest nodes first, and who waits for whom."""
    directory = RunDirectory.open(path)
    if stacks:
        _dump_stacks(directory)
        return
    _show(directory)
    while watch and living_agents(directory):
        time.sleep(WATCH_S)
        _show(directory)


def _show(directory: RunDirectory) -> None:
    live = _live(directory)
    nodes = [_from_files(directory, node) for node in directory.nodes()]
    nodes = sorted(
        (_with_live(node, live.get(node.node)) for node in nodes), key=lambda node: (node.round, -node.wrote_s)
    )
    say(f"{directory.path}: {_outcome(directory)}")
    if not nodes:
        say("no node has written anything yet")
        return
    total = sum(node.bytes_sent for node in nodes)
    say(f"{len(nodes)} nodes, rounds {nodes[0].round} to {nodes[-1].round}, {size(total)} sent", *_stall(live))
    show(
        "the slowest nodes" if len(nodes) > SHOWN else "all nodes, the slowest first", _table(nodes[:SHOWN], bool(live))
    )


def _table(nodes: list[NodeStatus], live: bool) -> Table:
    if not live:
        table = plain_table(("node", "round", "sent", "last wrote"), 0)
        for node in nodes:
            table.add_row(str(node.node), str(node.round), size(node.bytes_sent), f"{duration(node.wrote_s)} ago")
        return table
    ages = any(node.age is not None for node in nodes)
    table = plain_table(("node", "round", *(["age"] if ages else []), "doing", "sent", "own memory"), 0)
    for node in nodes:
        age = [str(node.age)] if ages else []
        memory = size(node.memory) if node.memory else ""
        table.add_row(str(node.node), str(node.round), *age, node.doing, size(node.bytes_sent), memory)
    return table


def _stall(live: Mapping[NodeId, LiveNode]) -> list[str]:
    """Who keeps the others waiting, if anybody does."""
    waits = {
        node.node: node.waits_for for node in live.values() if node.waits_for is not None and node.since_s > STALL_S
    }
    cycle = cycle_in(waits)
    if cycle:
        return ["nodes wait for each other in a circle: " + " for ".join(map(str, [*cycle, cycle[0]]))]
    roots = Counter(root_of(node, waits) for node in waits)
    return [
        f"{count} nodes wait for node {root} in the end, which is {_doing(live[root]) if root in live else 'unknown'}"
        for root, count in roots.most_common(3)
        if root is not None
    ]


def _live(directory: RunDirectory) -> dict[NodeId, LiveNode]:
    """The newest state of each node of a run that goes on; nothing for one that has ended."""
    found: dict[NodeId, LiveNode] = {}
    if not living_agents(directory):
        return found
    for machine in reversed(directory.agents()):  # machine 0 hears of all nodes: it has the last word
        live = read_live(directory.agent(machine).live)
        for node in live.nodes if live else []:
            node.since_s += max(0.0, time.time() - live.time) if live else 0.0  # that clock can be set back
            found[node.node] = node
    return found


def _doing(live: LiveNode) -> str:
    if live.activity == "waiting":
        peer = "a model" if live.waits_for is None else f"node {live.waits_for}"
        return f"waiting for {peer} since {duration(max(0.0, live.since_s))}"
    return f"silent since {duration(live.since_s)}" if live.activity == "silent" else live.activity


def _with_live(node: NodeStatus, live: LiveNode | None) -> NodeStatus:
    if live is None:
        return node
    round, sent = max(node.round, live.round), max(node.bytes_sent, live.bytes_sent)
    return NodeStatus(node.node, round, sent, node.wrote_s, _doing(live), live.age, _private_bytes(live.pid))


def _private_bytes(pid: int) -> int:
    """Memory that only this process has (Linux, own processes); 0 if nobody says."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
            return sum(int(line.split()[1]) * 1024 for line in file if line.startswith("Private_"))
    except OSError:
        return 0


def _dump_stacks(directory: RunDirectory) -> None:
    """Every local node writes the stacks of its threads into its log; they are shown here."""
    pids = {node.node: node.pid for node in _live(directory).values() if node.pid and is_alive(node.pid)}
    if not pids or not hasattr(signal, "SIGUSR2"):
        raise RunDirectoryError(f"{directory.path}: no living nodes on this machine")
    lengths = {node: _length(directory.node(node).log) for node in pids}
    for pid in pids.values():
        os.kill(pid, signal.SIGUSR2)
    time.sleep(STACK_PATIENCE_S)
    for node in sorted(pids):
        with directory.node(node).log.open("rb") as file:
            file.seek(lengths[node])
            lines = file.read().decode("utf-8", "replace").splitlines()[:STACK_LINES]
        say(
            f"node {node} (process {pids[node]})", *(lines or ["  no answer: stopped, or in the middle of a long call"])
        )


def _length(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _outcome(directory: RunDirectory) -> str:
    """Finished, failed, running or dead."""
    if directory.summary.is_file():
        summary = json.loads(directory.summary.read_text())
        message = str(summary.get("message", "")).partition("\n")[0]
        return str(summary["outcome"]) + (f": {message}" if message else "")
    if not local_agents(directory):
        return "no summary yet, and no agent of this machine"
    if living_agents(directory):
        return "running"
    return f"dead: its agent is gone and left no summary; go on with: decentralized resume {directory.path}"


def _from_files(directory: RunDirectory, node: NodeId) -> NodeStatus:
    path = directory.node(node).metrics
    records = _records(path)
    rounds = [int(str(record.get("round", 0))) for record in records]
    sent = [int(str(record["bytes_sent"])) for record in records if "bytes_sent" in record]
    wrote_s = max(0.0, time.time() - path.stat().st_mtime) if path.is_file() else 0.0
    return NodeStatus(node, max(rounds, default=0), max(sent, default=0), wrote_s)


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
