"""Short commands, many at once: one for each machine."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import IO

from decentralized.errors import StartError

AT_ONCE = 16  # more new connections at a time are refused by a jump host with common settings
TICK_S = 0.02
TIMED_OUT = -100  # as a status; no signal has that number


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def reason(self) -> str:
        """The last of what it said."""
        return "; ".join(line.strip() for line in self.err.strip().splitlines()[-3:]) or f"status {self.status}"


def run_all(
    commands: Mapping[int, Sequence[str]], timeout_s: float, heed: Callable[[], None] = lambda: None
) -> dict[int, Done]:
    """Run all and wait for all; those that take longer are killed, and all when `heed`, called often, raises."""
    done: dict[int, Done] = {}
    waiting = list(commands.items())
    running: dict[int, _Command] = {}
    with ExitStack() as stack:
        while waiting or running:
            while waiting and len(running) < AT_ONCE:
                name, command = waiting.pop(0)
                files = (stack.enter_context(tempfile.TemporaryFile()), stack.enter_context(tempfile.TemporaryFile()))
                running[name] = _Command(command, files, timeout_s)
                stack.callback(running[name].kill)
            for name in [name for name, command in running.items() if command.over]:
                done[name] = running.pop(name).done()
            heed()
            time.sleep(TICK_S)
    return done


class _Command:
    """One of them; what it says goes to files, which never fill up."""

    def __init__(self, command: Sequence[str], files: tuple[IO[bytes], IO[bytes]], timeout_s: float) -> None:
        self._out, self._err = files
        self._until = time.monotonic() + timeout_s
        self._late = ""
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=self._out,
                stderr=self._err,
                start_new_session=True,
            )
        except OSError as error:
            raise StartError(f"{command[0]} cannot be started: {error.strerror}") from None

    @property
    def over(self) -> bool:
        if self._process.poll() is None and time.monotonic() > self._until:
            self._late = "no answer in time"
            self.kill()
        return self._process.poll() is not None

    def done(self) -> Done:
        out, err = (self._text(file) for file in (self._out, self._err))
        return Done(TIMED_OUT if self._late else self._process.returncode, out, self._late or err)

    def kill(self) -> None:
        if self._process.poll() is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    @staticmethod
    def _text(file: IO[bytes]) -> str:
        with file:
            file.seek(0)
            return file.read().decode(errors="replace")
