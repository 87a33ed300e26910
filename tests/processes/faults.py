"""Faults made on purpose: full disks, stopped processes, a clock that jumps; and what must hold after each."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from tests.processes.runs import PATIENCE_S, models
from tests.processes.survival import Live, records

VANISH_S = 2.0
PAGE = 4096

# Each look at the wall clock shows another day.
JUMPING_CLOCK = """
import itertools
import time

real, jumps = time.time, itertools.cycle([0, 86400, -86400])
time.time = lambda: real() + next(jumps)
time.time_ns = lambda: int(time.time() * 1e9)
"""


class Disk:
    """A small file system at `place`; where none can be mounted, a limit on the size of files does instead."""

    def __init__(self, place: Path, size: int) -> None:
        self.place = place
        place.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(place)]
        allowed = sys.platform == "linux" and os.geteuid() == 0
        self.mounted = allowed and subprocess.run(mount, capture_output=True, check=False).returncode == 0

    def fill(self, run: Live, leave: int) -> None:
        """Leave so many bytes, or let no file be larger, until the run ends."""
        until = time.monotonic() + PATIENCE_S
        for process in [] if self.mounted else family(run):
            process.rlimit(psutil.RLIMIT_FSIZE, (leave, leave))
        while run.agent.poll() is None:  # room appears when nodes delete what they do not need any more
            assert time.monotonic() < until, "the run goes on with a full disk"
            if self.mounted:
                self._top_up(leave)
            time.sleep(0.01)

    def _top_up(self, leave: int) -> None:
        disk = os.statvfs(self.place)
        with open(self.place / "ballast", "ab", buffering=0) as file:
            for _ in range((disk.f_bavail * disk.f_frsize - leave) // PAGE):
                try:
                    file.write(b"x" * PAGE)
                except OSError:
                    return

    def make_room(self) -> None:
        (self.place / "ballast").unlink(missing_ok=True)

    def close(self) -> None:
        if self.mounted:
            subprocess.run(["umount", "-l", str(self.place)], check=True)


def family(run: Live) -> list[psutil.Process]:
    """The agent, its fork server and its nodes."""
    agent = psutil.Process(run.agent.pid)
    return [agent, *agent.children(recursive=True)]


def node(run: Live, number: int) -> psutil.Process:
    return psutil.Process(run.events("run")[-1]["pids"][number])


@contextmanager
def stopped(processes: Sequence[psutil.Process], seconds: float = 0.0) -> Iterator[None]:
    """They stand still meanwhile, and for so long at least."""
    for process in processes:
        process.send_signal(signal.SIGSTOP)
    try:
        yield
        time.sleep(seconds)
    finally:
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGCONT)


def assert_gone(processes: Sequence[psutil.Process], patience_s: float = VANISH_S) -> None:
    until = time.monotonic() + patience_s
    while any(map(_lives, processes)):
        assert time.monotonic() < until, [process for process in processes if _lives(process)]
        time.sleep(0.02)


def _lives(process: psutil.Process) -> bool:
    """An orphan stays a zombie until the system's first process looks."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def assert_same(directory: Path, undisturbed: Path) -> None:
    assert models(directory) == models(undisturbed)
    assert records(directory) == records(undisturbed)


def torn_files(directory: Path) -> list[Path]:
    """What was begun under a temporary name."""
    return [path for path in directory.rglob(".*") if path.is_file()]
