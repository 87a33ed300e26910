"""Weights that come with the graph: a topology that knows better than a rule of degrees says them for each round."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar

from decentralized.errors import TopologyError
from decentralized.interfaces import Context
from decentralized.mixing.linear import weighted_sum
from decentralized.settings import Component
from decentralized.types import Mixed, Neighbors, Received

if TYPE_CHECKING:
    from decentralized.types import Vector


class FromTopology:
    """The weights that the topology brings: those of MATCHA, or of a topology of your own.

    A message that cannot be used leaves its weight with the receiver.
    """

    needs_start = False

    class Config(Component):
        """Weights from the topology have no settings; they need a topology that brings them."""

        needs_weights: ClassVar[bool] = True
        """The topology must bring weights."""

    def __init__(self, config: Config) -> None:
        del config

    def mix(
        self, start_P: Vector, own_P: Vector, received: Iterable[Received], neighbors: Neighbors, context: Context
    ) -> Mixed:
        """Raises TopologyError where the topology brings no weights."""
        weights = neighbors.weights
        if weights is None:
            raise TopologyError("[mixing] from-topology: the topology brings no weights")
        return weighted_sum(context.node, own_P, received, lambda item: weights[item.sender])
