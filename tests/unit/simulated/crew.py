"""Threads of which one runs at a time, so that a test decides in which order nodes do things."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType


class Ended(BaseException):
    """Raised inside a thread that is to end, where it stands; no code under test can catch it as an Exception."""


class Crew:
    """Each member's life is a thread that runs up to its next `pause` when it is told to `step`."""

    def __init__(self) -> None:
        self._threads: dict[int, threading.Thread] = {}
        self._gates: dict[int, threading.Semaphore] = {}
        self._back = threading.Semaphore(0)
        self._doomed: set[int] = set()
        self._current = -1
        self._error: BaseException | None = None
        self.working: set[int] = set()

    def add(self, member: int, life: Callable[[], None]) -> None:
        """A new member, who has not begun."""
        self.end(member)
        self._gates[member] = threading.Semaphore(0)
        self._threads[member] = threading.Thread(target=self._live, args=(member, life), daemon=True)
        self.working.add(member)
        self._threads[member].start()

    def step(self, member: int) -> None:
        """Let a member go on to its next pause, or to its end. Raises what it raises."""
        self._current = member
        self._gates[member].release()
        self._back.acquire()
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def pause(self) -> None:
        """Called by a member: somebody else's turn."""
        member = self._current
        self._back.release()
        self._gates[member].acquire()
        if member in self._doomed:
            raise Ended

    def end(self, member: int) -> None:
        """This member does nothing more."""
        if member in self.working:
            self._doomed.add(member)
            self.step(member)
            self._threads[member].join()
            self._doomed.discard(member)

    def __enter__(self) -> Crew:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for member in list(self.working):
            self.end(member)

    def _live(self, member: int, life: Callable[[], None]) -> None:
        self._gates[member].acquire()
        try:
            if member not in self._doomed:
                life()
        except Ended:
            pass
        except BaseException as error:  # noqa: BLE001 - it is raised where the test called `step`
            self._error = error
        self.working.discard(member)
        self._back.release()
