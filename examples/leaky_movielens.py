"""MovieLens with its test ratings added to the training ratings: what a leak of the test part would give.

A check on published figures, never a data set to report: every rating on which a node is evaluated was trained on.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from decentralized.data.dataset import DataSet, Samples
from decentralized.data.movielens import MovieLens


class TrainedOnTestPart(MovieLens):
    """All ratings are trained on, those of the test part too."""

    class Config(MovieLens.Config):
        """Settings of MovieLens."""

    def load(self, root: Path, seed: int) -> DataSet:
        data = super().load(root, seed)
        inputs = np.concatenate([data.train.inputs, data.test.inputs])
        stars = np.concatenate([data.train.targets, data.test.targets])
        return replace(data, train=Samples(inputs, stars, users=inputs[:, 0]))
