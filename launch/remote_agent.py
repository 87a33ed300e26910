"""The launcher's side of an attached agent: starts it, by ssh or any other command, and listens to it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from decentralized import control
from decentralized.control import AnyFact, Lines, Said
from decentralized.errors import StartError
from launch.key import RunKey

READ_BYTES = 1 << 16
READ_AT_ONCE = 64 * READ_BYTES
KEPT_ERRORS = 1 << 16  # bytes of standard error: the last ones say why
LONGEST_SAID = 2000  # characters of a line that is no fact
TICK_S = 0.02
LEAVE_S = 15.0  # how long an agent may take to end everything


class AttachedAgent:
    """One agent and the command that carries it. Used as a context manager, it leaves no process behind."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        if process.stdin is None or process.stdout is None or process.stderr is None:
            raise StartError("an attached agent needs pipes for its input and outputs")
        self._process = process
        self._in, self._out, self._err = process.stdin, process.stdout, process.stderr
        for stream in (self._in, self._out, self._err):
            os.set_blocking(stream.fileno(), False)
        self._lines = Lines()
        self._heard: list[AnyFact] = []
        self._errors = bytearray()

    @classmethod
    def start(
        cls,
        command: Sequence[str],
        key: RunKey,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> AttachedAgent:
        """Start the command and give it the key. Raises StartError when there is no such program."""
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment,
                cwd=folder,
                bufsize=0,
                start_new_session=True,  # Ctrl-C reaches the launcher alone, which then decides
            )
        except OSError as error:
            raise StartError(f"{command[0]} cannot be started: {error.strerror}") from None
        agent = cls(process)
        agent._order(key.text())
        return agent

    @property
    def pid(self) -> int:
        """Of the local process: the agent itself, or ssh."""
        return self._process.pid

    @property
    def status(self) -> int | None:
        """The exit code once the command has ended; minus the signal that killed it."""
        return self._process.poll()

    @property
    def errors(self) -> str:
        """The end of what came on standard error."""
        return self._errors.decode(errors="replace").strip()

    def poll(self) -> list[AnyFact]:
        """The facts that have arrived; a line that is none becomes a Said. Does not wait."""
        self._read()
        heard, self._heard = self._heard, []
        return heard

    def stop(self) -> None:
        """Like one Ctrl-C."""
        self._order("stop")

    def leave(self) -> None:
        """End the input: the agent ends everything at once."""
        with contextlib.suppress(OSError):
            self._in.close()

    def wait(self, timeout_s: float) -> int | None:
        """The exit code; None when it has not ended by then. What it says meanwhile is kept for `poll`."""
        until = time.monotonic() + timeout_s
        while True:
            status = self._process.poll()
            self._read()
            if status is not None or time.monotonic() >= until:
                return status
            time.sleep(TICK_S)

    def kill(self) -> None:
        """End the local command and its process group, the hard way."""
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.kill()
            self._process.wait()
        self._read()

    def close(self, patience_s: float = LEAVE_S) -> int:
        """End the input, wait, and kill what is still there; the exit code."""
        self.leave()
        if self.wait(patience_s) is None:
            self.kill()
        for stream in (self._out, self._err):
            stream.close()
        return self._process.wait()

    def __enter__(self) -> AttachedAgent:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _order(self, line: str) -> None:
        """Orders are short and few: a pipe takes them all, unless nobody reads any more."""
        if not self._in.closed:
            with contextlib.suppress(OSError):
                self._in.write(line.encode() + b"\n")

    def _read(self) -> None:
        if not self._out.closed:
            self._heard += [_fact(line) for line in self._lines.feed(_what_is_there(self._out.fileno()))]
            self._errors += _what_is_there(self._err.fileno())
            del self._errors[:-KEPT_ERRORS]


def _fact(line: bytes) -> AnyFact:
    """Start-up files of a shell also print."""
    try:
        return control.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Said(line.decode(errors="replace").rstrip()[:LONGEST_SAID])


def _what_is_there(descriptor: int) -> bytes:
    """Without waiting, and not so much that the caller would do nothing else."""
    data = bytearray()
    with contextlib.suppress(BlockingIOError):
        while len(data) < READ_AT_ONCE and (piece := os.read(descriptor, READ_BYTES)):
            data += piece
    return bytes(data)
