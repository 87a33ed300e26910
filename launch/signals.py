"""Signals and a launcher's orders, heeded at the agent's next look and not in the middle of a write."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType
from typing import Protocol

STOP = (signal.SIGINT, signal.SIGTERM)
SAVE = (signal.SIGUSR1,) if hasattr(signal, "SIGUSR1") else ()


class Stops(Protocol):
    """Another way to be asked to stop."""

    def stops(self) -> int:
        """How often since the last look. Does not wait."""


class Signals:
    """What has come: how often somebody asked to stop, and whether somebody asked for a check-point."""

    def __init__(self, orders: Stops | None = None) -> None:
        self._orders = orders
        self._signaled = self._ordered = 0  # apart: a signal can come in the middle of an addition
        self.saves = 0

    @property
    def stops(self) -> int:
        """By signals, and by a launcher's orders."""
        if self._orders is not None:
            self._ordered += self._orders.stops()
        return self._signaled + self._ordered

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
            self._signaled += 1
        else:
            self.saves += 1
