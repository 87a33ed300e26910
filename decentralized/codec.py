"""Message <-> bytes: a small typed header and one payload. Every bound is checked on the way in.

Payload: the buffers one after the other, each starting at a multiple of 8 bytes, so that a received payload can be
viewed as arrays without a copy; nothing follows the last one. Numbers are little-endian.
"""

from __future__ import annotations

import math
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


def encode(message: Message) -> Encoded:
    """Header and payload of a message. Raises CodecError for what cannot travel or would be refused on arrival."""
    buffers: list[_Buffer] = []
    parts: list[memoryview] = []
    offset = indices_bytes = 0
    for name, array in message.payload.buffers.items():
        if array.dtype.str not in DTYPES or array.ndim != 1 or not array.flags.c_contiguous:
            raise CodecError(
                f"buffer {name!r} is {array.dtype} of shape {array.shape}; flat little-endian arrays travel"
            )
        buffers.append(_Buffer(name, array.dtype.str, len(array)))
        padding = -offset % ALIGNMENT
        pieces = (memoryview(bytes(padding)), array.view(np.uint8).data)
        parts += [piece for piece in pieces if piece.nbytes]
        offset += padding + array.nbytes
        indices_bytes += padding + array.nbytes if name == "indices" else 0
    return Encoded(_encode_header(message, buffers), parts, offset, indices_bytes)


def _encode_header(message: Message, buffers: list[_Buffer]) -> bytes:
    scalars = dict(message.payload.scalars)
    try:
        header = _encoder.encode(_Header(message.kind, message.round, message.step, message.sender, scalars, buffers))
        _decoder.decode(header)  # a message that every peer drops would keep them waiting for ever
    except (msgspec.MsgspecError, TypeError, ValueError, OverflowError) as error:
        raise CodecError(f"a {message.kind!r} message cannot travel: {error}") from None
    if len(header) > MAX_HEADER_BYTES:
        raise CodecError(
            f"the header of a {message.kind!r} message has {len(header)} bytes; {MAX_HEADER_BYTES} may travel"
        )
    return header


def check_finite(payload: Payload) -> None:
    """Raises CodecError where a NaN or an infinity is among the values or the scalars."""
    for name, array in payload.buffers.items():
        if array.dtype.kind == "f" and not _finite(array):
            raise CodecError(f"buffer {name!r} holds NaN or infinity")
    for name, value in payload.scalars.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise CodecError(f"{name!r} is {value}")


def _finite(array: np.ndarray) -> bool:
    with np.errstate(all="ignore"):
        if math.isfinite(array.sum()):  # which no NaN and no infinity leaves finite; takes no memory
            return True
    return bool(np.isfinite(array).all())  # finite values, too, can have a sum that is not


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
        start = offset + -offset % ALIGNMENT
        offset = start + spec.count * dtype.itemsize
        if offset > payload.nbytes:
            raise CodecError(f"buffer {spec.name!r} ends at byte {offset} of a payload of {payload.nbytes}")
        buffers[spec.name] = _view(payload, dtype, spec.count, start)
    if offset != payload.nbytes:
        raise CodecError(f"the header describes {offset} bytes, the payload has {payload.nbytes}")
    scalars: dict[str, Scalar] = dict(head.scalars)
    return Message(head.kind, head.round, head.sender, Payload(buffers, scalars), head.step)


def _view(payload: memoryview, dtype: np.dtype[np.generic], count: int, offset: int) -> np.ndarray:
    if count == 0:
        return np.empty(0, dtype)
    array = np.frombuffer(payload, dtype, count, offset)
    return array if array.flags.aligned else array.copy()
