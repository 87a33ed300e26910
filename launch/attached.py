"""An agent that is a launcher's child: orders come on standard input, facts go to standard output.

The first line of the input is the run's key. A later line "stop" counts like one Ctrl-C; the end of the input means
that the launcher is gone, and counts like two. remote_agent.py is the launcher's side.
"""

from __future__ import annotations

import contextlib
import os
import select
import time
from collections.abc import Iterator

from rich.console import Console

from decentralized import control
from decentralized.control import (
    MAX_BACKLOG_BYTES,
    Addresses,
    AnyFact,
    Evaluated,
    Fact,
    Opened,
    RoundDone,
    Said,
    Status,
)
from decentralized.errors import StartError
from decentralized.run_directory import RunDirectory
from launch.key import RunKey
from launch.plan import Plan
from launch.progress import REFRESH_S, View
from launch.state import RunState

STOP = b"stop"
KEY_PATIENCE_S = 60.0
LAST_WORDS_S = 2.0
LONGEST_ORDER = 200  # bytes
NEVER_BLOCKS = select.PIPE_BUF  # so much can be written at once when select says that a pipe takes more


class Orders:
    """What the launcher writes. Nothing here blocks but the wait for the first line, which is bounded."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._rest = b""
        self._ended = False

    def first_line(self, patience_s: float) -> str:
        """Raises StartError when it does not come."""
        until = time.monotonic() + patience_s
        while b"\n" not in self._rest:
            if self._ended or len(self._rest) > LONGEST_ORDER or not self._read(until - time.monotonic()):
                raise StartError(
                    "an attached agent was given no key on its standard input",
                    "--attached is for launchers; leave it out to start a machine by hand.",
                )
        line, self._rest = self._rest.split(b"\n", 1)
        return line.decode("ascii", "replace")

    def stops(self) -> int:
        """How many stops were ordered since the last look. Does not wait."""
        while not self._ended and self._read(0.0):
            pass
        *lines, rest = self._rest.split(b"\n")
        self._rest = rest[:LONGEST_ORDER]
        stops = sum(line.strip() == STOP for line in lines)
        if self._ended and self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
            stops += 2
        return stops

    def _read(self, timeout_s: float) -> bool:
        """Whether something was there: the end counts, too."""
        if not select.select([self._descriptor], [], [], max(timeout_s, 0.0))[0]:
            return False
        data = os.read(self._descriptor, 1 << 16)
        self._ended = not data
        self._rest += data
        return True


class AttachedView(View):
    """Tells the launcher what another view would show to a person, and on machine 0 all that its RunState hears.

    A launcher that does not read must not hold up the run: of rounds and states only the newest are kept for it.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__(Console(stderr=True))
        self._descriptor = descriptor
        self._out = bytearray()
        self._newest: dict[tuple[type[Fact], int], Fact] = {}
        self._leads = False
        self._told = 0.0

    def say(self, line: str) -> None:
        self._tell(Said(line))

    @contextlib.contextmanager
    def showing(self, state: RunState, plan: Plan, directory: RunDirectory) -> Iterator[None]:
        self._leads = plan.machine == 0
        self._tell(Opened(str(directory.path.absolute()), os.getpid()))
        try:
            yield
        finally:
            self._finish()

    def hear(self, fact: AnyFact) -> None:
        if not self._leads:
            return
        if isinstance(fact, (RoundDone, Status)):
            self._newest[type(fact), fact.node] = fact
        elif isinstance(fact, Addresses):
            self._tell(Addresses({}, {}))  # that the run begins is all that a launcher wants to know
        elif not isinstance(fact, Evaluated) or len(self._out) < MAX_BACKLOG_BYTES:
            self._tell(fact)

    def refresh(self) -> None:
        now = time.monotonic()
        if now - self._told > REFRESH_S and not self._out:
            self._told = now
            self._put_newest()
        self._write()

    def _tell(self, fact: Fact) -> None:
        self._put_newest()  # in order: what a node says last is true
        self._out += control.encode(fact)
        self._write()

    def _put_newest(self) -> None:
        if len(self._out) < MAX_BACKLOG_BYTES:
            for fact in self._newest.values():
                self._out += control.encode(fact)
        self._newest.clear()

    def _write(self, timeout_s: float = 0.0) -> None:
        while self._out and select.select([], [self._descriptor], [], timeout_s)[1]:
            try:
                written = os.write(self._descriptor, self._out[:NEVER_BLOCKS])
            except OSError:  # nobody listens any more; the end of the input says so, too
                self._out.clear()
                return
            del self._out[:written]

    def _finish(self) -> None:
        """Give the last facts a moment."""
        self._put_newest()
        until = time.monotonic() + LAST_WORDS_S
        while self._out and time.monotonic() < until:
            self._write(timeout_s=0.1)


def attach() -> tuple[RunKey, AttachedView, Orders]:
    """Take standard input and output for the launcher alone, and read the key. Raises StartError.

    From now on prints go to standard error, and children inherit neither end: the launcher sees at once when the agent
    is gone.
    """
    orders, facts = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    reader = Orders(orders)
    key = RunKey.parse(reader.first_line(KEY_PATIENCE_S), "the first line of standard input")
    return key, AttachedView(facts), reader
