"""Share the parameters that changed most: the Partial Model of the communication study (EPFL 2022, section 3.3.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from decentralized.sharing.changes import Changes, ChangeSettings, Fraction, largest
from decentralized.sharing.sparse import indices_of, pack_entries, unpack_entries
from decentralized.types import NodeId, Payload, State

if TYPE_CHECKING:
    from decentralized.types import Vector


class TopK:
    """The fraction alpha of the parameters whose |change since last shared| is largest."""

    class Config(ChangeSettings):
        alpha: Fraction
        """Fraction of the parameters that is shared in each round; 1 is full sharing."""

    def __init__(self, config: Config, generator: np.random.Generator) -> None:
        del generator  # nothing is drawn
        self._alpha = config.alpha
        self._changes = Changes(config)

    def begin(self, own_P: Vector) -> None:
        self._changes.begin(own_P)

    def pack(self, own_P: Vector, peer: NodeId | None, round: int) -> Payload:
        indices_K = largest(self._changes.trained(own_P), self._alpha)
        self._changes.shared(indices_K)
        return pack_entries(own_P, indices_K)

    def unpack(self, peer: NodeId, payload: Payload, own_P: Vector) -> Vector:
        return unpack_entries(peer, payload, own_P)

    def indices(self, payload: Payload, total: int) -> np.ndarray | None:
        return indices_of(payload, total)

    def commit(self, own_P: Vector, mixed_P: Vector) -> None:
        self._changes.mixed(own_P, mixed_P)

    def state(self) -> State:
        return self._changes.state()

    def restore(self, state: State) -> None:
        self._changes.restore(state)
