"""Whether the system has killed processes for want of memory: it counts them, for each control group and in all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

GROUPS, OWN_GROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
WHOLE_SYSTEM = Path("/proc/vmstat")
COUNTER = "oom_kill"


class MemoryKills:
    """Counts from its making on. Of this process's control group where it has one, else of the whole system."""

    def __init__(self, groups: Path = GROUPS, own: Path = OWN_GROUPS, system: Path = WHOLE_SYSTEM) -> None:
        files = [*_files_of_groups(groups, own), system]
        self._file = next((file for file in files if _read(file) is not None), None)
        self._seen = self._count()

    def again(self) -> bool:
        """Whether there were some since the last look."""
        before, self._seen = self._seen, self._count()
        return self._seen > before

    def _count(self) -> int:
        return (_read(self._file) or 0) if self._file is not None else 0


def _files_of_groups(groups: Path, own: Path) -> Iterator[Path]:
    """Where this process's group may keep its counter; in a container, what is seen may begin with the own group."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        for below in (path.lstrip("/"), ""):
            if not controllers:
                yield groups / below / "memory.events"
            elif controllers == "memory":  # version 1 of control groups
                yield groups / "memory" / below / "memory.oom_control"


def _read(file: Path) -> int | None:
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return None
    counts = [line.split()[1] for line in lines if line.startswith(f"{COUNTER} ")]
    return int(counts[0]) if counts else None
