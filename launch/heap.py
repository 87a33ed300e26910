"""Keeping the nodes' heaps small, where the C library lets us (glibc).

glibc keeps large buffers that were freed, here models and messages, for the next allocation of that size: a third of
a small node's memory. Told to take such buffers from the system and give them back at once, it costs page faults:
cheap for a few messages a round, expensive for a network that allocates activations in each step. So it is tried out,
in the fork server, whose setting all nodes inherit.
"""

from __future__ import annotations

import ctypes
import resource
from collections.abc import Callable

M_MMAP_THRESHOLD = -3
GIVE_BACK = 128 * 1024  # buffers from this size on go back to the system when they are freed
KEEP = 32 * 1024 * 1024
MAX_FAULTS = 256  # in a round: as many as one megabyte of fresh memory costs


def give_memory_back(step: Callable[[], object]) -> bool:
    """Set the heap to give memory back, unless that makes `step` (a round) slow. Returns whether it does."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    mallopt(M_MMAP_THRESHOLD, GIVE_BACK)
    step()
    before = _page_faults()
    step()
    if _page_faults() - before <= MAX_FAULTS:
        return True
    mallopt(M_MMAP_THRESHOLD, KEEP)
    return False


def _page_faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
