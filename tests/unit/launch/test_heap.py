"""The heap gives memory back only where that is cheap. Each case has a process of its own: it changes the allocator."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

from tests.processes.runs import ROOT

CODE = """
from launch.heap import give_memory_back
print(give_memory_back(lambda: bytearray({size})))
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="not glibc")
@pytest.mark.parametrize(("size", "gives_back"), [(1000, True), (8 * 1024 * 1024, False)])
def test_a_round_that_allocates_much_keeps_its_heap(size: int, gives_back: bool) -> None:
    result = subprocess.run(
        [sys.executable, "-c", CODE.format(size=size)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == str(gives_back)
