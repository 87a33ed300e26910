"""A random generator for each (seed, node, purpose).

Two purposes never share a stream, so that adding a random draw in one place changes nothing elsewhere.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from decentralized.types import NodeId


def derive(seed: int, purpose: str, node: NodeId | None = None) -> int:
    """A 63-bit seed for one purpose, of one node or (node None) of the whole run."""
    text = f"{seed}/{'run' if node is None else node}/{purpose}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def beside(generator: np.random.Generator) -> np.random.Generator:
    """Another stream, far from that of the generator, which itself stays where it is."""
    bits: Any = generator.bit_generator  # numpy's types do not know `jumped`, which PCG64 has
    return np.random.Generator(bits.jumped())


def numpy_generator(seed: int, purpose: str, node: NodeId | None = None) -> np.random.Generator:
    """A numpy generator; PCG64, whose stream is the same on every platform."""
    return np.random.Generator(np.random.PCG64(derive(seed, purpose, node)))
