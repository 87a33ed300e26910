"""Gaps as bytes: seven bits in each, lowest first; the eighth says that more follow (LEB128: DWARF 5, section 7.6)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from decentralized.compression.index_set import IndexSet, from_gaps, whole_number
from decentralized.errors import CodecError
from decentralized.types import Scalar

MORE = 0x80


class VariableBytes:
    """Whole bytes: short where the gaps are of a few very different lengths."""

    name = "variable-bytes"

    def plan(self, chosen: IndexSet) -> tuple[int, dict[str, int]]:
        return len(chosen.gaps_n) + sum(chosen.at_least[7::7]), {"count": len(chosen.gaps_n)}

    def encode(self, chosen: IndexSet, parameters: Mapping[str, int]) -> np.ndarray:
        gaps_n = chosen.gaps_n
        lengths_n = np.ones(len(gaps_n), np.int64)
        for k in range(7, len(chosen.at_least), 7):
            lengths_n += gaps_n >= 1 << k
        starts_n = np.cumsum(lengths_n) - lengths_n
        buffer = np.empty(int(starts_n[-1] + lengths_n[-1]), np.uint8)
        for k in range(int(lengths_n.max())):
            longer = np.flatnonzero(lengths_n > k)
            more = np.where(lengths_n[longer] > k + 1, MORE, 0)
            buffer[starts_n[longer] + k] = (gaps_n[longer] >> 7 * k) & (MORE - 1) | more
        return buffer

    def decode(self, buffer: np.ndarray, scalars: Mapping[str, Scalar], total: int) -> np.ndarray:
        count = whole_number(scalars, "count", 1, total)
        ends_n = np.flatnonzero(buffer < MORE)
        if len(ends_n) != count or ends_n[-1] != len(buffer) - 1:
            raise CodecError(f"{count} indices were announced, others came")
        if not buffer[ends_n].all():
            raise CodecError("index coding: a gap of nothing, or a number longer than it need be")
        starts_n = np.concatenate([[0], ends_n[:-1] + 1])
        lengths_n = ends_n - starts_n + 1
        longest = int(lengths_n.max())
        if 7 * (longest - 1) >= total.bit_length():
            raise CodecError(f"an index past the end of {total}")
        gaps_n = np.zeros(len(ends_n), np.int64)
        for k in range(longest):
            longer = np.flatnonzero(lengths_n > k)
            gaps_n[longer] |= (buffer[starts_n[longer] + k] & (MORE - 1)).astype(np.int64) << 7 * k
        return from_gaps(gaps_n, total)
