"""Share a random subset of the parameters (communication study, EPFL 2022, section 3.3.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from decentralized.compression.subset import seeded_indices
from decentralized.errors import CodecError
from decentralized.lazy import torch
from decentralized.sharing.changes import Fraction
from decentralized.sharing.settings import SharingSettings
from decentralized.sharing.sparse import fill
from decentralized.state_checks import need_entries, restore_generator
from decentralized.types import NodeId, Payload, State

if TYPE_CHECKING:
    from decentralized.types import Vector

SEED_BITS = 48


class SubSampling:
    """Each parameter with probability alpha, whatever it did; only the seed of the draw travels, not the indices."""

    class Config(SharingSettings):
        alpha: Fraction
        """Probability with which each parameter is shared in a round."""

    def __init__(self, config: Config, generator: np.random.Generator) -> None:
        self._alpha, self._generator = config.alpha, generator

    def begin(self, own_P: Vector) -> None:
        """Nothing is remembered."""

    def pack(self, own_P: Vector, peer: NodeId | None, round: int) -> Payload:
        seed = int(self._generator.integers(2**SEED_BITS))
        indices_K = seeded_indices(seed, self._alpha, len(own_P))
        values_K = own_P[torch.from_numpy(indices_K)].numpy()
        return Payload({"values": values_K}, {"seed": seed, "alpha": self._alpha})

    def unpack(self, peer: NodeId, payload: Payload, own_P: Vector) -> Vector:
        return fill(peer, payload, self.indices(payload, len(own_P)), own_P)

    def indices(self, payload: Payload, total: int) -> np.ndarray:
        """The draw that the payload's seed stands for."""
        seed, alpha = payload.scalars.get("seed"), payload.scalars.get("alpha")
        if not isinstance(seed, int) or alpha != self._alpha:
            raise CodecError(f"a draw with seed {seed!r:.40} and alpha {alpha!r}; alpha is {self._alpha} here")
        return seeded_indices(seed, self._alpha, total)

    def commit(self, own_P: Vector, mixed_P: Vector) -> None:
        """Nothing is remembered."""

    def state(self) -> State:
        return {"generator": self._generator.bit_generator.state}

    def restore(self, state: State) -> None:
        parts = need_entries(state, ("generator",), "[sharing]")
        restore_generator(self._generator, parts["generator"], "[sharing]")
