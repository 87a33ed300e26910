"""Rows that a node does not hold, against the formula of the communication study, entry by entry."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from decentralized.errors import ConfigError
from decentralized.mixing.row_presence import MASK, RowPresence
from decentralized.sharing.full import Full
from decentralized.types import Neighbors, Received, Rows

ROWS, WIDTH = 9, 2
P = ROWS * WIDTH


def context(held: list[bool], sharing: Any = None) -> Any:
    rows = Rows(np.repeat(np.arange(ROWS), WIDTH), np.array(held))
    full = Full(Full.Config(name="full"), np.random.Generator(np.random.PCG64(0)))
    return SimpleNamespace(node=0, sharing=sharing or full, learner=SimpleNamespace(rows=lambda: rows), rows=rows)


def expected(own: np.ndarray, held: list[bool], degree: int, others: list[tuple[np.ndarray, list[bool], int]]) -> Any:
    """One row at a time, as the text says."""
    result = own.copy()
    for row in range(ROWS):
        entries = slice(row * WIDTH, (row + 1) * WIDTH)
        holders = [(vector[entries], d) for vector, mask, d in others if mask[row]]
        if held[row]:
            weights = [1 / (1 + max(degree, d)) for _, d in holders]
            own_weight = 1 - sum(weights)
            result[entries] = own_weight * own[entries] + sum(
                weight * values for weight, (values, _) in zip(weights, holders, strict=True)
            )
        elif holders:
            result[entries] = 0
            for number, (values, d) in enumerate(holders):
                rest = sum(1 / other for index, (_, other) in enumerate(holders) if index != number)
                result[entries] += values / (1 + d * rest)
    return result


masks = st.lists(st.booleans(), min_size=ROWS, max_size=ROWS)


@settings(deadline=None)
@given(masks, st.lists(st.tuples(masks, st.integers(1, 5)), max_size=4), st.integers(0, 99))
def test_it_is_the_formula(held: list[bool], others: list[tuple[list[bool], int]], seed: int) -> None:
    generator = np.random.Generator(np.random.PCG64(seed))
    own = generator.normal(size=P).astype(np.float32)
    vectors = [generator.normal(size=P).astype(np.float32) for _ in others]
    received = [
        Received(i + 1, torch.from_numpy(vector.copy()), {"degree": degree}, {MASK: np.packbits(np.array(mask))})
        for i, (vector, (mask, degree)) in enumerate(zip(vectors, others, strict=True))
    ]
    here = context(held)
    peers = tuple(range(1, len(others) + 1))
    own_P = torch.from_numpy(own.copy())
    mixed = RowPresence(RowPresence.Config(name="row-presence")).mix(
        own_P, own_P, received, Neighbors(peers, peers), here
    )
    triples = [(vector, mask, degree) for vector, (mask, degree) in zip(vectors, others, strict=True)]
    np.testing.assert_allclose(mixed.vector_P.numpy(), expected(own, held, len(others), triples), atol=1e-5)
    seen = np.any([held, *(mask for mask, _ in others)], axis=0)
    assert here.rows.held_R.tolist() == seen.tolist()  # what was received is held from now on


def test_the_mask_travels() -> None:
    held = [True, False, True, False, False, False, False, False, True]
    attached = RowPresence(RowPresence.Config(name="row-presence")).attach(context(held))
    assert np.unpackbits(attached[MASK], count=ROWS).astype(bool).tolist() == held


def test_it_needs_rows_and_full_sharing() -> None:
    mixer = RowPresence(RowPresence.Config(name="row-presence"))
    without_rows = SimpleNamespace(node=0, sharing=None, learner=SimpleNamespace(rows=lambda: None))
    with pytest.raises(ConfigError, match="rows"):
        mixer.attach(without_rows)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="full"):
        mixer.attach(context([True] * ROWS, sharing=object()))
