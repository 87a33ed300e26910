"""Send every parameter (communication study, section 3.3.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from decentralized.errors import CodecError
from decentralized.lazy import torch
from decentralized.settings import Component
from decentralized.types import NodeId, Payload

if TYPE_CHECKING:
    from decentralized.types import Vector


class Full:
    """The whole vector, as float32."""

    class Config(Component):
        """Full sharing has no settings."""

    def __init__(self, config: Config) -> None:
        del config

    def pack(self, own_P: Vector, peer: NodeId | None, round: int) -> Payload:
        return Payload({"values": own_P.detach().numpy()})

    def unpack(self, peer: NodeId, payload: Payload, own_P: Vector) -> Vector:
        values = payload.buffers.get("values")
        if values is None or values.dtype.str != "<f4" or len(values) != len(own_P):
            raise CodecError(f"node {peer} sent parameters that do not fit: expected {len(own_P)} float32 values")
        return torch.from_numpy(values)

    def commit(self, own_P: Vector, mixed_P: Vector) -> None:
        """Nothing is remembered."""
