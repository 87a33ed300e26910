"""The agent's side of its fork server: a child process that reads and writes facts."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from decentralized import control
from decentralized.control import AnyFact, Fact, Lines
from decentralized.errors import StartError
from decentralized.storage import storage_error
from launch.loss import how_it_ended, memory_advice
from launch.memory_kills import MemoryKills

READ_BYTES = 1 << 18
END_PATIENCE_S = 5.0
# One thread before the fork: a forked child would wait for ever for threads that it does not have.
ENVIRONMENT = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def python(module: str, *arguments: str) -> list[str]:
    """A command that runs `main()` of a module of ours.

    Unlike `python -m`, it looks in the current folder last: a user's own folder named launch/ must not be in the way,
    while a user's own components are still found there.
    """
    code = f"import sys; sys.path.append(sys.path.pop(0)); from {module} import main; main()"
    return [sys.executable, "-c", code, *arguments]


def _opened(log: Path) -> BinaryIO:
    try:
        return open(log, "ab")
    except OSError as error:
        raise storage_error("write", log, error) from error


class WarmParent:
    """Starts the fork server; its diagnostics go to the file `log`."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._memory_kills = MemoryKills()
        environment = {**os.environ, **ENVIRONMENT}
        with _opened(log) as errors:
            self._process = subprocess.Popen(
                python("launch.fork_server", str(os.getpid())),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment,
                start_new_session=True,  # Ctrl-C reaches the agent alone
            )
        if self._process.stdin is None or self._process.stdout is None:
            raise StartError("the fork server has no standard input or output")
        self._in, self._out = self._process.stdin, self._process.stdout
        self._lines = Lines()

    @property
    def descriptor(self) -> int:
        """Readable when facts have arrived."""
        return self._out.fileno()

    @property
    def pid(self) -> int:
        return self._process.pid

    def tell(self, fact: Fact) -> None:
        """Raises StartError when the fork server is gone."""
        try:
            self._in.write(control.encode(fact))
            self._in.flush()
        except BrokenPipeError:
            raise self._gone() from None

    def hear(self) -> Iterator[AnyFact]:
        """What has arrived; call it when the descriptor is readable. Raises StartError when the fork server is gone."""
        data = os.read(self._out.fileno(), READ_BYTES)
        if not data:
            raise self._gone()
        for line in self._lines.feed(data):
            yield control.decode(line)

    def end(self) -> None:
        """End it and all of its nodes, the hard way if need be."""
        with contextlib.suppress(BrokenPipeError):
            self._in.close()
        until = time.monotonic() + END_PATIENCE_S
        while self._process.poll() is None and time.monotonic() < until:
            time.sleep(0.005)
        if self._process.poll() is None:
            self._process.kill()  # the nodes see the end of their control lines, and on Linux the kernel ends them
            self._process.wait()
        self._out.close()

    def _gone(self) -> StartError:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(END_PATIENCE_S)
        status = self._process.returncode
        if status is None or status >= 0:
            return StartError(f"the fork server has ended (status {status})", f"Its log says why: {self._log}")
        out_of_memory = self._memory_kills.again()
        advice = f"{memory_advice(status, out_of_memory)} Its log: {self._log}".strip()
        return StartError(f"the fork server {how_it_ended(status, out_of_memory)}", advice)
