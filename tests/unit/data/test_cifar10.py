"""CIFAR-10's binary records, whole and broken."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from decentralized.data.cifar10 import Cifar10
from decentralized.errors import DataCorrupt, DataMissing


def records(labels: list[int], seed: int = 0) -> np.ndarray:
    pixels = np.random.default_rng(seed).integers(256, size=(len(labels), 3072))
    return np.concatenate([np.array(labels)[:, None], pixels], axis=1).astype(np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    (folder / "data_batch_1.bin").write_bytes(records([0, 9], seed=1).tobytes())
    (folder / "data_batch_3.bin").write_bytes(records([5], seed=3).tobytes())
    (folder / "test_batch.bin").write_bytes(records([7, 1, 1]).tobytes())
    return folder


def test_all_batches_that_are_there_are_read(folder: Path, configured: Callable[..., Any]) -> None:
    data = configured(Cifar10).load(folder.parent, seed=0)
    assert data.train.targets.tolist() == [0, 9, 5]
    assert data.test.targets.tolist() == [7, 1, 1]
    assert data.train.inputs.shape == (3, 3, 32, 32)
    assert data.train.inputs.dtype == np.uint8
    assert data.train.inputs.flags.c_contiguous
    third = records([5], seed=3)[0]
    assert data.train.inputs[2, 1, 4, 7] == third[1 + 1024 + 4 * 32 + 7]  # green plane, row 4, column 7


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (records([1, 2]).tobytes()[:-1], "6145 bytes are not a whole number of 3073-byte records"),
        (b"", "0 bytes"),
        (records([1, 10]).tobytes(), "label 10 of record 1"),
    ],
)
@pytest.mark.parametrize("name", ["data_batch_3.bin", "test_batch.bin"])
def test_broken_files_are_named(
    folder: Path, configured: Callable[..., Any], name: str, content: bytes, problem: str
) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(DataCorrupt, match=problem) as caught:
        configured(Cifar10).load(folder.parent, seed=0)
    assert str(folder / name) in str(caught.value)


def test_missing_files_say_what_to_do(folder: Path, configured: Callable[..., Any]) -> None:
    (folder / "test_batch.bin").unlink()
    with pytest.raises(DataMissing, match=r"test_batch\.bin") as caught:
        configured(Cifar10).load(folder.parent, seed=0)
    assert "decentralized data fetch cifar10" in caught.value.advice
    with pytest.raises(DataMissing, match="data_batch_"):
        configured(Cifar10).load(folder, seed=0)


def test_the_real_data(real_data: Path, configured: Callable[..., Any]) -> None:
    data = configured(Cifar10).load(real_data, seed=0)
    assert (len(data.train), len(data.test)) == (20_000, 1_000)
    assert np.bincount(data.train.targets).min() > 1900
    some = data.train.inputs[::10].astype(np.float64) / 255
    np.testing.assert_allclose(some.mean(axis=(0, 2, 3)), data.mean, atol=0.01)
    np.testing.assert_allclose(some.std(axis=(0, 2, 3)), data.std, atol=0.01)
