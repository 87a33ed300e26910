"""One bit for each index: the best there is when about half of them are chosen."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from decentralized.compression.bits import check_end, pack, unpack
from decentralized.compression.index_set import IndexSet
from decentralized.errors import CodecError
from decentralized.types import Scalar


class Bitmap:
    """`total` bits."""

    name = "bitmap"

    def plan(self, chosen: IndexSet) -> tuple[int, dict[str, int]]:
        return bitmap_bytes(chosen.total), {}

    def encode(self, chosen: IndexSet, parameters: Mapping[str, int]) -> np.ndarray:
        bits = np.zeros(chosen.total, np.uint8)
        bits[chosen.indices_n] = 1
        return pack(bits)

    def decode(self, buffer: np.ndarray, scalars: Mapping[str, Scalar], total: int) -> np.ndarray:
        if len(buffer) != bitmap_bytes(total):
            raise CodecError(f"a bitmap of {total} indices in {len(buffer)} bytes")
        bits = unpack(buffer)
        check_end(bits[total:])
        return np.flatnonzero(bits[:total]).astype(np.int64, copy=False)


def bitmap_bytes(total: int) -> int:
    """The length of a bitmap of `total` bits."""
    return -(-total // 8)
