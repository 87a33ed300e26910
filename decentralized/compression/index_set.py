"""Increasing indices and the gaps between them: what every coding starts from and comes back to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from decentralized.errors import CodecError
from decentralized.types import Scalar


@dataclass(frozen=True)
class IndexSet:
    """Some of the indices 0 .. total - 1: n of them, strictly increasing."""

    indices_n: np.ndarray
    total: int

    @cached_property
    def gaps_n(self) -> np.ndarray:
        """How far each index is from the one before it (the first one from -1)."""
        narrow = np.int32 if self.total < 2**31 else np.int64  # half the memory traffic where it is enough
        return np.diff(self.indices_n.astype(narrow), prepend=narrow(-1))

    @cached_property
    def at_least(self) -> list[int]:
        """For k = 0, 1, ... the number of gaps of 2^k or more, down to the last k that has any."""
        widest = int(self.gaps_n.max(initial=0)).bit_length()
        return [int(np.count_nonzero(self.gaps_n >= 1 << k)) for k in range(widest)]


class Coding(Protocol):
    """One way to write an index set. It never gets an empty one."""

    name: str

    def plan(self, chosen: IndexSet) -> tuple[int, dict[str, int]]:
        """The exact number of bytes that `encode` would make, and the parameters that the reader needs."""

    def encode(self, chosen: IndexSet, parameters: Mapping[str, int]) -> np.ndarray:
        """A flat uint8 array."""

    def decode(self, buffer: np.ndarray, scalars: Mapping[str, Scalar], total: int) -> np.ndarray:
        """The indices, int64; raises CodecError for what `encode` cannot have made. `buffer` is flat uint8."""


def from_gaps(gaps_n: np.ndarray, total: int) -> np.ndarray:
    """The indices, int64, of gaps from 1 to 2^62; raises CodecError for one outside 0 .. total - 1."""
    indices_n = np.cumsum(gaps_n, dtype=np.int64) - 1
    # The maximum, not the last one: a sum that overflows passes through [total, 2^63) before it turns negative.
    if indices_n.max(initial=-1) >= total:
        raise CodecError(f"an index past the end of {total}")
    return indices_n


def whole_number(scalars: Mapping[str, Scalar], name: str, low: int, high: int) -> int:
    """The scalar `name`; raises CodecError when it is not an integer from `low` to `high`."""
    value = scalars.get(name)
    if type(value) is not int or not low <= value <= high:  # a bool is no number here
        raise CodecError(f"index coding: {name} is {value!r:.40}, not a whole number from {low} to {high}")
    return value
