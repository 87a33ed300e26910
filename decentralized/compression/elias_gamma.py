"""Elias gamma coding of the gaps: short for runs of neighboring indices with wide gaps between the runs.

Elias, "Universal codeword sets and representations of the integers", IEEE Trans. Information Theory 21, 1975: a number
g >= 1 becomes floor(log2 g) in unary and that many low bits of g. The two parts are kept apart here (first all unary
numbers, then the low bits, one bit plane after the other), which changes no length.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from decentralized.compression.bits import check_end, pack, unary_stops, unpack
from decentralized.compression.index_set import IndexSet, from_gaps, whole_number
from decentralized.errors import CodecError
from decentralized.types import Scalar


class EliasGamma:
    """The numbers g are the gaps."""

    name = "elias-gamma"

    def plan(self, chosen: IndexSet) -> tuple[int, dict[str, int]]:
        bits = len(chosen.gaps_n) + 2 * sum(chosen.at_least[1:])
        return -(-bits // 8), {"count": len(chosen.gaps_n)}

    def encode(self, chosen: IndexSet, parameters: Mapping[str, int]) -> np.ndarray:
        wide = np.flatnonzero(chosen.gaps_n > 1)  # only these have low bits; real sets have mostly gaps of 1
        values = chosen.gaps_n[wide]
        widths_n = np.zeros(len(chosen.gaps_n), np.int64)
        widths_n[wide] = _floor_log2(values)
        stops_n = unary_stops(widths_n)
        bits = np.zeros(2 * int(stops_n[-1]) + 2 - len(stops_n), np.uint8)
        bits[stops_n] = 1
        start = int(stops_n[-1]) + 1
        for k in range(len(chosen.at_least) - 1):
            values = values[values >= 2 << k]  # the others have no bit k below their highest one
            bits[start : start + len(values)] = (values >> k) & 1
            start += len(values)
        return pack(bits)

    def decode(self, buffer: np.ndarray, scalars: Mapping[str, Scalar], total: int) -> np.ndarray:
        count = whole_number(scalars, "count", 1, total)
        bits = unpack(buffer)
        if np.count_nonzero(bits) < count:
            raise CodecError(f"{count} indices were announced, fewer came")
        stops_n = np.flatnonzero(bits)[:count]
        widths_n = np.diff(stops_n, prepend=-1) - 1
        if widths_n.max() >= total.bit_length():
            raise CodecError(f"an index past the end of {total}")
        low = bits[int(stops_n[-1]) + 1 :]
        low_bits = int(stops_n[-1]) + 1 - count
        if len(low) < low_bits:
            raise CodecError("index coding: it ends within a number")
        check_end(low[low_bits:])
        return from_gaps(_gaps(widths_n, low), total)


def _floor_log2(values: np.ndarray) -> np.ndarray:
    """Of integers from 1 to 2^53: the exponent that stands in the upper 12 bits of a float64."""
    exponents: np.ndarray = (values.astype(np.float64).view(np.int64) >> 52) - 1023
    return exponents


def _gaps(widths_n: np.ndarray, low: np.ndarray) -> np.ndarray:
    """2^width and the low bits of each number."""
    wide = np.flatnonzero(widths_n)
    widths = widths_n[wide]
    values = np.left_shift(1, widths)
    reading = np.arange(len(wide))
    start = k = 0
    while len(reading):
        values[reading] |= low[start : start + len(reading)].astype(np.int64) << k
        start += len(reading)
        k += 1
        reading = reading[widths[reading] > k]
    gaps_n = np.ones(len(widths_n), np.int64)
    gaps_n[wide] = values
    return gaps_n
