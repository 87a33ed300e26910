"""Is a run still going on? What its events and this machine's processes say."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping

from decentralized.metrics import read_metrics
from decentralized.run_directory import RunDirectory


def events(directory: RunDirectory, only: int | None = None) -> list[Mapping[str, object]]:
    """What happened on all machines of which there are files here, or on machine `only`."""
    machines = directory.agents() if only is None else [only]
    return [record for machine in machines for record in read_metrics(directory.agent(machine).events)]


def local_agents(directory: RunDirectory, only: int | None = None) -> list[int]:
    """The process ids of the agents that were started on this machine, the newest first."""
    started = [event for event in events(directory, only) if event.get("event") == "start"]
    return [int(str(event["pid"])) for event in reversed(started) if event.get("host") == platform.node()]


def living_agents(directory: RunDirectory, only: int | None = None) -> list[int]:
    """Those of them that are still there."""
    return [pid for pid in local_agents(directory, only) if pid != os.getpid() and is_alive(pid)]


def committed_checkpoints(directory: RunDirectory) -> set[int]:
    """The check-points that all nodes had at some time, as agent 0 noted."""
    return {int(str(event["checkpoint"])) for event in events(directory) if event.get("event") == "committed"}


def is_alive(pid: int) -> bool:
    """Whether there is such a process."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return not _is_zombie(pid)


def _is_zombie(pid: int) -> bool:
    """Killed, and not yet collected by its parent (Linux)."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[:1] == ["Z"]
    except OSError:
        return False
