"""Entries as rectangles, and as indices."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from decentralized.partial_models.entries import MIN_ENTRIES, Entries, rectangles


@given(st.sets(st.integers(0, 200)), st.integers(0, 3))
def test_take_and_put(chosen: set[int], offset: int) -> None:
    indices_K = np.array(sorted(chosen), np.int64)
    entries, whole = Entries(indices_K), torch.arange(210.0)
    vector_P = whole[offset:]  # a view that does not begin at its storage
    assert len(entries) == len(chosen)
    assert entries.take(vector_P).tolist() == [float(index + offset) for index in indices_K]
    entries.put(vector_P, -torch.ones(len(chosen)))
    expected = torch.arange(210.0)
    expected[torch.from_numpy(indices_K) + offset] = -1
    assert torch.equal(whole, expected)


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 40)), max_size=4), st.booleans())
def test_rectangles_hold_the_indices_in_order(sizes: list[tuple[int, int]], cut: bool) -> None:
    """Slices of a chain of matrices; with `cut`, all but the last column."""
    indices, offset = [], 0
    for rows, columns in sizes:
        kept = columns - cut
        indices += [offset + row * columns + column for row in range(rows) for column in range(kept)]
        offset += rows * columns
    found = rectangles(np.array(indices, np.int64))
    assert indices == [
        first + row * stride + column
        for first, rows, columns, stride in found
        for row in range(rows)
        for column in range(columns)
    ]
    assert len(found) <= 2 * len(sizes)


def test_a_copy_is_taken_either_way() -> None:
    for indices in (np.arange(0, 90, 7), np.arange(5, 5 + 2 * MIN_ENTRIES)):
        vector = torch.arange(100.0)
        taken = Entries(indices).take(vector)
        taken.zero_()
        assert torch.equal(vector, torch.arange(100.0))
