"""MNIST's idx files, whole and broken."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from decentralized.data.mnist import Mnist
from decentralized.errors import DataCorrupt, DataMissing


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


IMAGES = np.arange(3 * 28 * 28).reshape(3, 28, 28) % 251
LABELS = np.array([3, 0, 9])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "mnist").mkdir()
    for part in ("train", "t10k"):
        write(tmp_path, f"{part}-images-idx3-ubyte.gz", gzip.compress(idx(IMAGES)))
        write(tmp_path, f"{part}-labels-idx1-ubyte.gz", gzip.compress(idx(LABELS)))
    return tmp_path


def write(root: Path, name: str, content: bytes) -> None:
    (root / "mnist" / name).write_bytes(content)


def test_a_whole_data_set_is_read(root: Path, configured: Callable[..., Any]) -> None:
    data = configured(Mnist).load(root, seed=0)
    for part in (data.train, data.test):
        np.testing.assert_array_equal(part.inputs, IMAGES[:, None])
        np.testing.assert_array_equal(part.targets, LABELS)
        assert part.inputs.dtype == np.uint8
        assert part.targets.dtype == np.int64
        assert part.inputs.flags.writeable


def test_unpacked_files_are_read_too(root: Path, configured: Callable[..., Any]) -> None:
    for packed in list((root / "mnist").iterdir()):
        packed.with_suffix("").write_bytes(gzip.decompress(packed.read_bytes()))
        packed.unlink()
    np.testing.assert_array_equal(configured(Mnist).load(root, seed=0).train.inputs, IMAGES[:, None])


@pytest.mark.parametrize(
    ("part", "content", "problem"),
    [
        ("images-idx3", idx(IMAGES)[:-1], r"2367 bytes where its header \(3, 28, 28\) asks for 2368"),
        ("images-idx3", idx(IMAGES) + b"x", "2369 bytes"),
        ("images-idx3", idx(IMAGES)[:10], "less than an idx header"),
        ("images-idx3", idx(LABELS), "starts with 00000801 where an idx file has 00000803"),
        ("images-idx3", b"", "starts with"),
        ("images-idx3", idx(IMAGES[:, :27]), "27x28 pixels"),
        ("images-idx3", struct.pack(">BBBB3I", 0, 0, 8, 3, *[2**32 - 1] * 3), "asks for"),
        ("labels-idx1", idx(LABELS[:2]), "3 images and 2 labels"),
        ("labels-idx1", idx(np.array([3, 10, 0])), "label 10 of sample 1"),
    ],
)
def test_broken_files_are_named(
    root: Path, configured: Callable[..., Any], part: str, content: bytes, problem: str
) -> None:
    write(root, f"t10k-{part}-ubyte.gz", gzip.compress(content))
    with pytest.raises(DataCorrupt, match=problem) as caught:
        configured(Mnist).load(root, seed=0)
    assert str(root / "mnist" / "t10k-") in str(caught.value)


@pytest.mark.parametrize("cut", [slice(0, 20), slice(0, -5), slice(3, None)])
def test_broken_compression_is_named(root: Path, configured: Callable[..., Any], cut: slice) -> None:
    write(root, "train-images-idx3-ubyte.gz", gzip.compress(idx(IMAGES))[cut])
    with pytest.raises(DataCorrupt, match=r"train-images-idx3-ubyte\.gz: not a whole gzip file"):
        configured(Mnist).load(root, seed=0)


def test_missing_files_say_what_to_do(root: Path, configured: Callable[..., Any]) -> None:
    (root / "mnist" / "t10k-labels-idx1-ubyte.gz").unlink()
    for where, path in ((root, "t10k-labels-idx1-ubyte"), (root / "empty", "train-images-idx3-ubyte")):
        with pytest.raises(DataMissing) as caught:
            configured(Mnist).load(where, seed=0)
        assert str(where / "mnist" / path) in str(caught.value)
        for hint in ("decentralized data fetch mnist", "--data", "DECENTRALIZED_DATA"):
            assert hint in caught.value.advice


def test_the_real_data(real_data: Path, configured: Callable[..., Any]) -> None:
    data = configured(Mnist).load(real_data, seed=0)
    assert (len(data.train), len(data.test)) == (60_000, 10_000)
    assert data.train.inputs.shape == (60_000, 1, 28, 28)
    assert data.train.targets[:5].tolist() == [5, 0, 4, 1, 9]
    pixels = data.train.inputs / np.float32(255)
    assert pixels.mean(dtype=np.float64) == pytest.approx(data.mean[0], abs=5e-5)
    assert pixels.std(dtype=np.float64) == pytest.approx(data.std[0], abs=5e-5)
