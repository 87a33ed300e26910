"""Bits in bytes, lowest bit first, and numbers in unary: zeros, then a one."""

from __future__ import annotations

import numpy as np

from decentralized.errors import CodecError


def pack(bits: np.ndarray) -> np.ndarray:
    """Eight bits (uint8, 0 or 1) a byte; the last byte is filled with zeros."""
    return np.packbits(bits, bitorder="little")


def unpack(buffer: np.ndarray) -> np.ndarray:
    """All bits of the bytes, as bool."""
    return np.unpackbits(buffer, bitorder="little").view(np.bool_)


def unary_stops(numbers_n: np.ndarray) -> np.ndarray:
    """Where the ones stand when these numbers are written in unary, one after the other."""
    stops_n = np.cumsum(numbers_n + 1)
    stops_n -= 1
    return stops_n


def check_end(rest: np.ndarray) -> None:
    """Raises CodecError unless `rest`, the bits after the last one that means something, only fill up its byte."""
    if len(rest) >= 8 or rest.any():
        raise CodecError("index coding: something follows the last index")
