"""Some entries of the vector: how they travel, and how the receiver fills the rest.

Entries that a peer did not send are taken from the receiver's own model (the communication study says no more than that
a fraction is shared), so a message becomes a dense vector and is mixed by the one dense kernel.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from decentralized.compression.indices import decode_indices, encode_indices
from decentralized.errors import CodecError
from decentralized.lazy import torch
from decentralized.types import NodeId, Payload, Scalar

if TYPE_CHECKING:
    from decentralized.types import Vector


def pack_entries(own_P: Vector, indices_K: np.ndarray) -> Payload:
    """The entries of `own_P` at `indices_K` (sorted, unique), with the indices in their smallest coding."""
    encoded = encode_indices(indices_K, len(own_P))
    values_K = own_P[torch.from_numpy(indices_K)].numpy()
    return Payload({"values": values_K, "indices": encoded.buffer}, encoded.scalars)


def unpack_entries(peer: NodeId, payload: Payload, own_P: Vector) -> Vector:
    """`own_P` with the entries that the peer sent; raises CodecError for a payload that does not fit."""
    indices_K = indices_of(payload, len(own_P))
    if indices_K is None:
        raise CodecError(f"node {peer} sent values without indices")
    return fill(peer, payload, indices_K, own_P)


def indices_of(payload: Payload, total: int) -> np.ndarray | None:
    """The indices that travel with the values; None when all values do. Raises CodecError."""
    buffer = payload.buffers.get("indices")
    return None if buffer is None else decode_indices(buffer, payload.scalars, total)


def fill(peer: NodeId, payload: Payload, indices_K: np.ndarray, own_P: Vector) -> Vector:
    """A copy of `own_P` with the payload's values at `indices_K`."""
    values_K = payload.buffers.get("values")
    if values_K is None or values_K.dtype.str != "<f4" or len(values_K) != len(indices_K):
        raise CodecError(f"node {peer} sent values that do not fit its {len(indices_K)} indices")
    dense_P = own_P.clone()
    dense_P[torch.from_numpy(indices_K)] = torch.from_numpy(values_K)
    return dense_P


def unpack_full(peer: NodeId, payload: Payload, own_P: Vector) -> Vector:
    """The whole vector; raises CodecError for a payload that does not fit."""
    values_P = payload.buffers.get("values")
    if values_P is None or values_P.dtype.str != "<f4" or len(values_P) != len(own_P):
        raise CodecError(f"node {peer} sent parameters that do not fit: expected {len(own_P)} float32 values")
    return torch.from_numpy(values_P)


def whole_number(peer: NodeId, scalars: Mapping[str, Scalar], name: str) -> int:
    """A scalar of the header that must be a whole number; raises CodecError."""
    value = scalars.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise CodecError(f"node {peer} sent no {name}")
    return value
