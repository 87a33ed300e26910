"""Message <-> bytes: a small typed header and one payload. Every bound is checked on the way in.

Payload: the buffers one after the other, each starting at a multiple of 8 bytes, so that a received payload can be
viewed as arrays without a copy. Numbers are little-endian.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import msgspec
import numpy as np

from decentralized.errors import CodecError
from decentralized.types import Message, Payload, Scalar

ALIGNMENT = 8
MAX_HEADER_BYTES = 64 * 1024
DTYPES = frozenset({"<f4", "<f8", "<f2", "<i8", "<i4", "<u8", "<u4", "<u2", "|u1"})

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
Count = Annotated[int, msgspec.Meta(ge=0, lt=2**48)]


class _Buffer(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    name: Name
    dtype: Name
    count: Count


class _Header(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    kind: Name
    round: Count
    step: Count
    sender: Annotated[int, msgspec.Meta(ge=0, lt=2**31)]
    scalars: Annotated[dict[Name, bool | int | float | str], msgspec.Meta(max_length=64)]
    buffers: Annotated[list[_Buffer], msgspec.Meta(max_length=64)]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Header)


@dataclass(frozen=True)
class Encoded:
    """A message ready to be cut into chunks. `parts` together are `payload_bytes` long and may view live memory."""

    header: bytes
    parts: Sequence[memoryview]
    payload_bytes: int
    indices_bytes: int

    @property
    def values_bytes(self) -> int:
        return self.payload_bytes - self.indices_bytes


def _padding(size: int) -> int:
    return -size % ALIGNMENT


def encode(message: Message) -> Encoded:
    """Header and payload of a message. Raises CodecError for an array that cannot travel."""
    buffers: list[_Buffer] = []
    parts: list[memoryview] = []
    indices_bytes = 0
    for name, array in message.payload.buffers.items():
        if array.dtype.str not in DTYPES or array.ndim != 1 or not array.flags.c_contiguous:
            raise CodecError(
                f"buffer {name!r} is {array.dtype} of shape {array.shape}; flat little-endian arrays travel"
            )
        buffers.append(_Buffer(name, array.dtype.str, len(array)))
        size = array.nbytes + _padding(array.nbytes)
        indices_bytes += size if name == "indices" else 0
        if array.nbytes:
            parts.append(array.data.cast("B"))
        if size > array.nbytes:
            parts.append(memoryview(bytes(size - array.nbytes)))
    scalars = dict(message.payload.scalars)
    header = _encoder.encode(_Header(message.kind, message.round, message.step, message.sender, scalars, buffers))
    if len(header) > MAX_HEADER_BYTES:
        raise CodecError(
            f"the header of a {message.kind!r} message has {len(header)} bytes; {MAX_HEADER_BYTES} may travel"
        )
    return Encoded(header, parts, sum(part.nbytes for part in parts), indices_bytes)


def decode(header: memoryview | bytes, payload: memoryview) -> Message:
    """The message; its arrays view `payload` where alignment allows. Raises CodecError for anything unexpected."""
    if len(header) > MAX_HEADER_BYTES:
        raise CodecError(f"header of {len(header)} bytes")
    try:
        head = _decoder.decode(header)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CodecError(f"unreadable header: {error}") from None
    buffers: dict[str, np.ndarray] = {}
    offset = 0
    for spec in head.buffers:
        if spec.dtype not in DTYPES or spec.name in buffers:
            raise CodecError(f"buffer {spec.name!r} of unknown type {spec.dtype!r} or given twice")
        dtype = np.dtype(spec.dtype)
        size = spec.count * dtype.itemsize
        if offset + size > payload.nbytes:
            raise CodecError(f"buffer {spec.name!r} ends at byte {offset + size} of a payload of {payload.nbytes}")
        buffers[spec.name] = _view(payload, dtype, spec.count, offset)
        offset += size + _padding(size)
    if offset != payload.nbytes:
        raise CodecError(f"the header describes {offset} bytes, the payload has {payload.nbytes}")
    scalars: dict[str, Scalar] = dict(head.scalars)
    return Message(head.kind, head.round, head.sender, Payload(buffers, scalars), head.step)


def _view(payload: memoryview, dtype: np.dtype[np.generic], count: int, offset: int) -> np.ndarray:
    if count == 0:
        return np.empty(0, dtype)
    array = np.frombuffer(payload, dtype, count, offset)
    return array if array.flags.aligned else array.copy()
