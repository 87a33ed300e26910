"""Chosen entries of a flat vector, copied out and back as the rectangles that slices of networks are made of.

Copying a rectangle of a weight matrix takes a fraction of the time of looking up each of its entries by an index.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from decentralized.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor

    from decentralized.types import Vector

Rectangle = tuple[int, int, int, int]  # first entry, rows, columns, entries from one row to the next

MIN_ENTRIES = 16  # of a rectangle in the mean: smaller ones are better looked up by index


class Entries:
    """The entries of a vector that `indices_K` names, which are increasing."""

    def __init__(self, indices_K: np.ndarray) -> None:
        self._indices_K = torch.from_numpy(indices_K)
        self._rectangles = rectangles(indices_K)
        self._by_index = len(indices_K) < MIN_ENTRIES * len(self._rectangles)

    def __len__(self) -> int:
        return len(self._indices_K)

    def take(self, vector_P: Vector) -> Vector:
        """A copy of the entries, (K,)."""
        if self._by_index:
            return vector_P[self._indices_K]
        values_K: Vector = torch.empty(len(self), dtype=vector_P.dtype)
        for inside, outside in self._pairs(vector_P, values_K):
            outside.copy_(inside)
        return values_K

    def put(self, vector_P: Vector, values_K: Vector) -> None:
        """Write the values into the vector."""
        if self._by_index:
            vector_P[self._indices_K] = values_K
            return
        for inside, outside in self._pairs(vector_P, values_K):
            inside.copy_(outside)

    def _pairs(self, vector_P: Vector, values_K: Vector) -> Iterator[tuple[Tensor, Tensor]]:
        """Each rectangle in the vector and among the values."""
        place = 0
        for first, rows, columns, stride in self._rectangles:
            inside = torch.as_strided(vector_P, (rows, columns), (stride, 1), vector_P.storage_offset() + first)
            yield inside, values_K[place : place + rows * columns].view(rows, columns)
            place += rows * columns


def rectangles(indices_K: np.ndarray) -> list[Rectangle]:
    """The rectangles that hold exactly these increasing indices, row by row in their order."""
    if not len(indices_K):
        return []
    begins = np.flatnonzero(np.diff(indices_K, prepend=indices_K[0] - 2) != 1)
    firsts, lengths = indices_K[begins], np.diff(begins, append=len(indices_K))
    found: list[Rectangle] = []
    for first, length in zip(firsts.tolist(), lengths.tolist(), strict=True):
        if found:
            start, rows, columns, stride = found[-1]
            distance = first - start if rows == 1 else stride
            if columns == length and first == start + rows * distance:
                found[-1] = (start, rows + 1, columns, distance)
                continue
        found.append((first, 1, length, length))
    return found
