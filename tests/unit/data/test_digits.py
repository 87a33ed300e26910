"""The digits of scikit-learn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from decentralized.data.digits import Digits

NOWHERE = Path("nowhere")  # the digits come with a package


def test_shapes_range_and_split(configured: Callable[..., Any]) -> None:
    data = configured(Digits).load(NOWHERE, seed=1)
    assert data.train.inputs.shape[1:] == data.test.inputs.shape[1:] == data.facts.input_shape == (1, 8, 8)
    assert data.train.inputs.dtype == np.float32
    assert data.train.targets.dtype == np.int64
    assert (data.train.inputs.min(), data.train.inputs.max()) == (0.0, 1.0)
    assert len(data.train) + len(data.test) == 1797
    train_C, test_C = np.bincount(data.train.targets), np.bincount(data.test.targets)
    np.testing.assert_array_equal(test_C, np.rint(0.2 * (train_C + test_C)))


def test_the_seed_decides_the_split(configured: Callable[..., Any]) -> None:
    first, again, other = (configured(Digits, test_fraction=0.5).load(NOWHERE, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.test.inputs, again.test.inputs)
    assert not np.array_equal(first.test.inputs, other.test.inputs)
