"""The plain mean over a node and its neighbors."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from decentralized.interfaces import Context
from decentralized.mixing.linear import weighted_sum
from decentralized.settings import Component
from decentralized.types import Mixed, Neighbors, Received

if TYPE_CHECKING:
    from decentralized.types import Vector


class Uniform:
    """The same weight for a node and each of its neighbors.

    w_i = w_k = 1 / (1 + d_k). Doubly stochastic only on regular graphs; elsewhere the mean over nodes drifts."""

    needs_start = False

    class Config(Component):
        """Uniform mixing has no settings."""

    def __init__(self, config: Config) -> None:
        del config

    def mix(
        self, start_P: Vector, own_P: Vector, received: Iterable[Received], neighbors: Neighbors, context: Context
    ) -> Mixed:
        weight = 1.0 / (1.0 + len(neighbors.receive_from))
        return weighted_sum(context.node, own_P, received, lambda item: weight)
