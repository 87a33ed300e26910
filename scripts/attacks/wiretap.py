"""Everything that passes on this machine's loopback interface, as tcpdump writes it down, and what is found in it."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

WINDOW_BYTES = 16
PATIENCE_S = 20.0
FLUSH_S = 1.2  # the kernel hands packets over once in a second


def missing() -> str:
    """Why nothing can be captured here, if so."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "only root of a Linux machine may capture packets in a network of its own"
    gone = [program for program in ("tcpdump", "unshare", "ip") if shutil.which(program) is None]
    return f"these programs are not here: {', '.join(gone)}" if gone else ""


@contextlib.contextmanager
def capture(file: Path) -> Iterator[None]:
    """Raises RuntimeError when packets passed that were not written down."""
    errors = file.with_suffix(".errors")
    words = ["tcpdump", "-i", "lo", "-s", "0", "-B", "65536", "-Z", "root", "-U", "-w", str(file), "tcp"]
    with open(errors, "wb") as log:
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=log)
    try:
        until = time.monotonic() + PATIENCE_S
        while b"listening" not in errors.read_bytes():
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"tcpdump does not start: {errors.read_text()}")
            time.sleep(0.02)
        yield
        time.sleep(FLUSH_S)
    finally:
        process.terminate()
        process.wait(PATIENCE_S)
    if "\n0 packets dropped by kernel" not in errors.read_text():
        raise RuntimeError(f"the capture is not complete: {errors.read_text()}")


def found(haystack: bytes, secret: bytes) -> tuple[int, int]:
    """How many of the stretches of 16 bytes of `secret`, one after the other, are in `haystack`; and of how many.

    Stretches that repeat a word, such as zeros, are no secret.
    """
    stretches = np.frombuffer(secret[: len(secret) // WINDOW_BYTES * WINDOW_BYTES], "<u4").reshape(-1, 4)
    distinct = np.sort(stretches, axis=1)
    stretches = stretches[(np.diff(distinct, axis=1) != 0).all(axis=1)]
    wanted = {stretch.tobytes() for stretch in stretches}
    hashes = np.unique(_hash(np.frombuffer(b"".join(sorted(wanted)), "<u8")))
    seen: set[bytes] = set()
    for offset in range(WINDOW_BYTES):
        length = (len(haystack) - offset) // WINDOW_BYTES * WINDOW_BYTES
        if length <= 0:
            break
        windows = np.frombuffer(haystack, "<u8", length // 8, offset)
        for hit in np.flatnonzero(np.isin(_hash(windows), hashes)).tolist():
            start = offset + hit * WINDOW_BYTES
            seen.add(haystack[start : start + WINDOW_BYTES])
    return len(seen & wanted), len(wanted)


def _hash(words: np.ndarray) -> np.ndarray:
    """One number for each two words."""
    pairs = words.reshape(-1, 2)
    mixed: np.ndarray = pairs[:, 0] * np.uint64(0x9E3779B97F4A7C15) + pairs[:, 1]
    return mixed
