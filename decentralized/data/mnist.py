"""MNIST (LeCun, Cortes, Burges): 60,000 + 10,000 handwritten digits of 28x28 pixels, in four idx files."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import Literal

import numpy as np

from decentralized.data.dataset import DataSet, DataSettings, Samples
from decentralized.data.files import read
from decentralized.errors import DataCorrupt
from decentralized.types import Facts

CLASSES = 10


def _content(path: Path) -> tuple[Path, bytes]:
    """The file `path`.gz unpacked, or `path` as it is where only that exists; with the path that was read."""
    packed = path.with_name(path.name + ".gz")
    if path.is_file() and not packed.is_file():
        return path, read(path, "mnist")
    content = read(packed, "mnist")
    try:
        return packed, gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise DataCorrupt(f"{packed}: not a whole gzip file: {error}") from error


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    """A uint8 array of so many dimensions from an idx file, compressed (`path`.gz) or not.

    The header is big-endian: two zero bytes, 8 for unsigned bytes, the number of dimensions, then each size in 4 bytes.
    """
    found, content = _content(path)
    magic = bytes((0, 0, 8, dimensions))
    if content[:4] != magic:
        raise DataCorrupt(f"{found}: starts with {content[:4].hex()} where an idx file has {magic.hex()}")
    start = 4 + 4 * dimensions
    if len(content) < start:
        raise DataCorrupt(f"{found}: {len(content)} bytes are less than an idx header")
    shape = tuple(int(size) for size in np.frombuffer(content, ">u4", dimensions, offset=4))
    expected = start + int(np.prod(shape, dtype=object))  # object: sizes of a broken header cannot overflow
    if len(content) != expected:
        raise DataCorrupt(f"{found}: {len(content)} bytes where its header {shape} asks for {expected}")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def _read_part(folder: Path, part: str) -> Samples:
    images = read_idx(folder / f"{part}-images-idx3-ubyte", 3)
    labels = read_idx(folder / f"{part}-labels-idx1-ubyte", 1)
    where = folder / f"{part}-*"
    if images.shape[1:] != (28, 28):
        raise DataCorrupt(f"{where}: images of {images.shape[1]}x{images.shape[2]} pixels, expected 28x28")
    if len(images) != len(labels) or len(labels) == 0:
        raise DataCorrupt(f"{where}: {len(images)} images and {len(labels)} labels")
    if labels.max() >= CLASSES:
        raise DataCorrupt(f"{where}: label {labels.max()} of sample {labels.argmax()} is not below {CLASSES}")
    return Samples(images[:, None].copy(), labels.astype(np.int64))  # a copy, because torch warns of read-only arrays


class Mnist:
    """MNIST as uint8 inputs (n, 1, 28, 28)."""

    class Config(DataSettings):
        """Settings of MNIST."""

        pixels: Literal["standardized", "unit"] = "standardized"
        """Mean 0 and variance 1 over all training pixels, or between 0 and 1."""

    def __init__(self, config: Config) -> None:
        self._pixels = config.pixels

    def load(self, root: Path, seed: int) -> DataSet:
        """Read `<root>/mnist/{train,t10k}-{images-idx3,labels-idx1}-ubyte[.gz]`."""
        folder, standardized = root / "mnist", self._pixels == "standardized"
        return DataSet(
            task="classification",
            train=_read_part(folder, "train"),
            test=_read_part(folder, "t10k"),
            facts=Facts(input_shape=(1, 28, 28), classes=CLASSES),
            mean=(0.1307 if standardized else 0.0,),  # of the training pixels
            std=(0.3081 if standardized else 1.0,),
        )
