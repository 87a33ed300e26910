"""Indices of a sparse message <-> bytes, by whichever coding is the shortest for them.

The lengths of all codings are computed exactly before one of them is used. None is longer than a bitmap, so a reader
refuses whatever is: this bounds its memory by the number of parameters it has itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from decentralized.compression.bitmap import Bitmap, bitmap_bytes
from decentralized.compression.elias_gamma import EliasGamma
from decentralized.compression.golomb_rice import GolombRice
from decentralized.compression.index_set import Coding, IndexSet
from decentralized.compression.variable_bytes import VariableBytes
from decentralized.errors import CodecError
from decentralized.types import Scalar

# At a tie the first one is chosen: the simpler ones stand first.
CODINGS: tuple[Coding, ...] = (Bitmap(), VariableBytes(), GolombRice(), EliasGamma())
NONE, ALL = "none", "all"  # nothing travels for these
_BY_NAME = {coding.name: coding for coding in CODINGS}


@dataclass(frozen=True)
class EncodedIndices:
    """`buffer` (flat uint8) travels as the buffer "indices", `scalars` ("coding" and its parameters) in the header."""

    buffer: np.ndarray
    scalars: Mapping[str, Scalar] = field(default_factory=dict)


def encode_indices(indices_n: np.ndarray, total: int) -> EncodedIndices:
    """Write n increasing integers of 0 .. total - 1, each one once. Raises CodecError for anything else."""
    if indices_n.ndim != 1 or indices_n.dtype.kind not in "iu":
        raise CodecError(f"indices are a flat array of integers, not {indices_n.dtype} of shape {indices_n.shape}")
    if not len(indices_n):
        return EncodedIndices(np.empty(0, np.uint8), {"coding": NONE})
    if indices_n[0] < 0 or indices_n[-1] >= total or not (indices_n[1:] > indices_n[:-1]).all():
        raise CodecError(f"indices must increase, from 0 to at most {total - 1}")
    if len(indices_n) == total:
        return EncodedIndices(np.empty(0, np.uint8), {"coding": ALL})
    chosen = IndexSet(indices_n, total)
    plans = [(coding, *coding.plan(chosen)) for coding in CODINGS]
    coding, _, parameters = min(plans, key=lambda plan: plan[1])
    return EncodedIndices(coding.encode(chosen, parameters), {"coding": coding.name, **parameters})


def decode_indices(buffer: np.ndarray, scalars: Mapping[str, Scalar], total: int) -> np.ndarray:
    """The increasing indices, int64, of a message that may be hostile; `total` is the reader's own number.

    Other scalars of the message may be among `scalars`. Takes memory in proportion to `total`. Raises CodecError for
    anything that `encode_indices` cannot have written, except that another coding than the shortest is read too.
    """
    if buffer.ndim != 1 or buffer.dtype != np.uint8 or len(buffer) > bitmap_bytes(total):
        raise CodecError(f"indices come as at most {bitmap_bytes(total)} bytes, not as {len(buffer)} {buffer.dtype}")
    name = scalars.get("coding")
    if name in (NONE, ALL):
        if len(buffer):
            raise CodecError(f"index coding {name!r}: nothing should travel, {len(buffer)} bytes came")
        return np.arange(total if name == ALL else 0, dtype=np.int64)
    coding = _BY_NAME.get(name) if isinstance(name, str) else None
    if coding is None or not len(buffer):
        raise CodecError(f"{len(buffer)} bytes of index coding {name!r:.40}; known are {', '.join(_BY_NAME)}")
    return coding.decode(buffer, scalars, total)
