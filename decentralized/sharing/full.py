"""Send every parameter (communication study, section 3.3.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from decentralized.sharing.settings import SharingSettings
from decentralized.sharing.sparse import unpack_full
from decentralized.types import NodeId, Payload

if TYPE_CHECKING:
    from decentralized.types import Vector


class Full:
    """The whole vector, as float32."""

    class Config(SharingSettings):
        """Full sharing has no settings."""

    def __init__(self, config: Config, generator: np.random.Generator) -> None:
        del config, generator  # nothing to choose, nothing to draw

    def begin(self, own_P: Vector) -> None:
        """Nothing is remembered."""

    def pack(self, own_P: Vector, peer: NodeId | None, round: int) -> Payload:
        return Payload({"values": own_P.detach().numpy()})

    def unpack(self, peer: NodeId, payload: Payload, own_P: Vector) -> Vector:
        return unpack_full(peer, payload, own_P)

    def indices(self, payload: Payload, total: int) -> np.ndarray | None:
        return None

    def commit(self, own_P: Vector, mixed_P: Vector) -> None:
        """Nothing is remembered."""
