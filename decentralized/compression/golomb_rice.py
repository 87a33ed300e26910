"""Golomb-Rice coding of the gaps: within a few percent of the entropy when the indices are chosen at random.

Rice, "Some practical universal noiseless coding techniques", JPL 79-22, 1979: a number v becomes v >> b in unary and
the low b bits of v. The two parts are kept apart here (first all low bits, one bit plane after the other, then all
unary numbers), which changes no length and lets whole arrays be coded at once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from decentralized.compression.bits import check_end, pack, unary_stops, unpack
from decentralized.compression.index_set import IndexSet, whole_number
from decentralized.errors import CodecError
from decentralized.types import Scalar


class GolombRice:
    """The numbers v are the gaps less one."""

    name = "golomb-rice"

    def plan(self, chosen: IndexSet) -> tuple[int, dict[str, int]]:
        low_bits, bits = _best(chosen.gaps_n - 1)
        return -(-bits // 8), {"count": len(chosen.gaps_n), "low_bits": low_bits}

    def encode(self, chosen: IndexSet, parameters: Mapping[str, int]) -> np.ndarray:
        values_n, low_bits = chosen.gaps_n - 1, parameters["low_bits"]
        count = len(values_n)
        stops_n = unary_stops(values_n >> low_bits)
        bits = np.zeros(low_bits * count + int(stops_n[-1]) + 1, np.uint8)
        for k in range(low_bits):
            bits[k * count : (k + 1) * count] = (values_n >> k) & 1
        bits[low_bits * count :][stops_n] = 1
        return pack(bits)

    def decode(self, buffer: np.ndarray, scalars: Mapping[str, Scalar], total: int) -> np.ndarray:
        count = whole_number(scalars, "count", 1, total)
        low_bits = whole_number(scalars, "low_bits", 0, (total // count).bit_length())
        bits = unpack(buffer)
        planes, unary = bits[: low_bits * count], bits[low_bits * count :]
        if np.count_nonzero(unary) != count:
            raise CodecError(f"{count} indices were announced, others came")
        stops_n = np.flatnonzero(unary).astype(np.int64, copy=False)
        check_end(unary[stops_n[-1] + 1 :])
        before_n = np.arange(count)
        stops_n -= before_n  # now the sums of v >> low_bits
        if int(stops_n[-1]) << low_bits >= total:  # before it can overflow
            raise CodecError(f"an index past the end of {total}")
        indices_n = (stops_n << low_bits) + before_n
        if low_bits:
            indices_n += np.cumsum(_from_planes(planes.reshape(low_bits, count)), dtype=np.int64)
        if indices_n[-1] >= total:
            raise CodecError(f"an index past the end of {total}")
        return indices_n


def _from_planes(planes_bn: np.ndarray) -> np.ndarray:
    """Numbers from their bits, the lowest first."""
    numbers_n: np.ndarray = planes_bn[0].astype(np.int64)
    for k in range(1, len(planes_bn)):
        numbers_n |= planes_bn[k].astype(np.int64) << k
    return numbers_n


def _best(values_n: np.ndarray) -> tuple[int, int]:
    """The number of low bits that makes the code shortest, and its length in bits.

    The length is convex in the number of low bits (one more costs n bits and saves the sum of ceil((v >> b) / 2), which
    falls as b grows), so it is enough to walk downhill from a good guess.
    """

    def length(low_bits: int) -> int:
        # The sum of all v is less than `total`, which the type of v holds.
        return len(values_n) * (low_bits + 1) + int(np.add.reduce(values_n >> low_bits, dtype=values_n.dtype))

    # Random indices are coded best with 2^b near ln 2 times the mean of v (Golomb, 1966).
    mean = int(np.add.reduce(values_n, dtype=values_n.dtype)) / len(values_n)
    best = max(0, int(mean * math.log(2)).bit_length() - 1)
    shortest = length(best)
    for step in (-1, 1):
        while best + step >= 0 and (candidate := length(best + step)) < shortest:
            best, shortest = best + step, candidate
    return best, shortest
