"""The digits of scikit-learn: 1,797 images of 8x8 pixels, ten classes.

They come with that package, so that nothing is downloaded.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from decentralized.data.dataset import DataSet, DataSettings, Samples
from decentralized.seeding import numpy_generator
from decentralized.types import Facts


def stratified(labels: np.ndarray, fraction: float, generator: np.random.Generator) -> np.ndarray:
    """A mask (n,) that is true for `fraction` of the samples of each class, rounded, but for at least one."""
    mask = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        members = generator.permutation(np.flatnonzero(labels == label))
        mask[members[: max(1, round(fraction * len(members)))]] = True
    return mask


class Digits:
    """Digits as float32 inputs (n, 1, 8, 8) between 0 and 1."""

    class Config(DataSettings):
        """Settings of the digits."""

        test_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2
        """Fraction of each class that becomes the test part; which samples, the seed decides."""

    def __init__(self, config: Config) -> None:
        self._config = config

    def load(self, root: Path, seed: int) -> DataSet:
        """The digits, split by the seed. `root` is not used."""
        from sklearn.datasets import load_digits  # here, because it takes a second to import

        inputs, labels = load_digits(return_X_y=True)
        inputs = (inputs / 16).astype(np.float32).reshape(-1, 1, 8, 8)
        labels = labels.astype(np.int64)
        test = stratified(labels, self._config.test_fraction, numpy_generator(seed, "digits/test"))
        return DataSet(
            task="classification",
            train=Samples(inputs[~test], labels[~test]),
            test=Samples(inputs[test], labels[test]),
            facts=Facts(input_shape=(1, 8, 8), classes=10),
        )
