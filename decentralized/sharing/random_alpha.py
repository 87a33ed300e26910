"""Share a fraction that is drawn anew each round (communication study, EPFL 2022, section 3.3.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from decentralized.sharing.changes import Changes, ChangeSettings, Fraction, largest
from decentralized.sharing.sparse import indices_of, pack_entries, unpack_entries, unpack_full
from decentralized.state_checks import need_entries, restore_generator
from decentralized.types import NodeId, Payload, State

if TYPE_CHECKING:
    from decentralized.types import Vector


class RandomAlpha:
    """Like top-k, with alpha drawn from a list in each round; above the cap the full model goes."""

    class Config(ChangeSettings):
        alphas: Annotated[tuple[Fraction, ...], Field(min_length=1)]
        """Fractions from which one is drawn uniformly in each round."""
        metadata_cap: Annotated[float, Field(ge=0, le=1)] = 0.5
        """Above this fraction the full model is sent, without indices."""

    def __init__(self, config: Config, generator: np.random.Generator) -> None:
        self._alphas, self._cap, self._generator = config.alphas, config.metadata_cap, generator
        self._changes = Changes(config)

    def begin(self, own_P: Vector) -> None:
        self._changes.begin(own_P)

    def pack(self, own_P: Vector, peer: NodeId | None, round: int) -> Payload:
        alpha = self._alphas[int(self._generator.integers(len(self._alphas)))]
        residual_P = self._changes.trained(own_P)
        if alpha > self._cap:
            self._changes.shared(None)
            return Payload({"values": own_P.detach().numpy()})
        indices_K = largest(residual_P, alpha)
        self._changes.shared(indices_K)
        return pack_entries(own_P, indices_K)

    def unpack(self, peer: NodeId, payload: Payload, own_P: Vector) -> Vector:
        return (
            unpack_entries(peer, payload, own_P) if "indices" in payload.buffers else unpack_full(peer, payload, own_P)
        )

    def indices(self, payload: Payload, total: int) -> np.ndarray | None:
        return indices_of(payload, total)

    def commit(self, own_P: Vector, mixed_P: Vector) -> None:
        self._changes.mixed(own_P, mixed_P)

    def state(self) -> State:
        return {"changes": self._changes.state(), "generator": self._generator.bit_generator.state}

    def restore(self, state: State) -> None:
        parts = need_entries(state, ("changes", "generator"), "[sharing]")
        self._changes.restore(parts["changes"])
        restore_generator(self._generator, parts["generator"], "[sharing]")
