"""Signals that a run heeds: at the agent's next look, not in the middle of a write."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

STOP = (signal.SIGINT, signal.SIGTERM)
SAVE = (signal.SIGUSR1,) if hasattr(signal, "SIGUSR1") else ()


class Signals:
    """What has come: how often somebody asked to stop, and whether somebody asked for a check-point."""

    def __init__(self) -> None:
        self.stops = 0
        self.saves = 0

    @contextlib.contextmanager
    def noted(self) -> Iterator[None]:
        """While this lasts, signals are only noted."""
        before = {number: signal.signal(number, self._note) for number in (*STOP, *SAVE)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number in STOP:
            self.stops += 1
        else:
            self.saves += 1
