"""Mixing that takes its time while a file is there, so that a test can look at a run as long as it likes."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from decentralized.interfaces import Context
from decentralized.mixing.metropolis_hastings import MetropolisHastings
from decentralized.settings import Component
from decentralized.types import Mixed, Neighbors, Received

if TYPE_CHECKING:
    from decentralized.types import Vector

PAUSE_S = 0.2


class Gated(MetropolisHastings):
    """Metropolis-Hastings, with a pause in each round while the gate is closed."""

    class Config(Component):
        gate: str
        """The file."""

    def __init__(self, config: Config) -> None:
        self._gate = Path(config.gate)

    def mix(
        self, start_P: Vector, own_P: Vector, received: Iterable[Received], neighbors: Neighbors, context: Context
    ) -> Mixed:
        if self._gate.exists():
            time.sleep(PAUSE_S)
        return super().mix(start_P, own_P, received, neighbors, context)
