"""MovieLens latest-small (Harper, Konstan 2015): ratings of 0.5 to 5 stars that 610 users gave to 9,724 movies."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from decentralized.data.dataset import DataSet, DataSettings, Samples
from decentralized.data.files import read
from decentralized.errors import DataCorrupt
from decentralized.seeding import numpy_generator
from decentralized.types import Facts

HEADER = "userId,movieId,rating,timestamp"


def read_ratings(path: Path) -> np.ndarray:
    """The rows of ratings.csv, float64 (n, 3): user id, movie id, stars. Line ends are LF or CRLF."""
    content = read(path, "movielens")
    try:
        header, *lines = content.decode("ascii").splitlines()
    except ValueError:  # not ASCII, or no first line
        raise DataCorrupt(f"{path}: not a text file that starts with {HEADER!r}") from None
    if header != HEADER:
        raise DataCorrupt(f"{path}: the first line is {header[:80]!r}, expected {HEADER!r}")
    if not any(lines):
        raise DataCorrupt(f"{path}: no ratings after the first line")
    try:
        rows = np.loadtxt(lines, delimiter=",", comments=None, ndmin=2)
    except ValueError as error:
        raise DataCorrupt(f"{path}: after the first line: {error}") from error
    _check(rows, path)
    return rows[:, :3]


def _check(rows: np.ndarray, path: Path) -> None:
    if rows.shape[1] != 4:
        raise DataCorrupt(f"{path}: {rows.shape[1]} columns, expected 4")
    ids, stars = rows[:, :2], rows[:, 2]
    good = ((ids >= 1) & (ids == np.floor(ids))).all(axis=1) & (stars >= 0.5) & (stars <= 5)
    if not good.all():
        row = int(np.argmin(good))
        raise DataCorrupt(f"{path}: rating {row + 1} is {rows[row, :3].tolist()}, expected two ids and 0.5 to 5 stars")


def split_each_user(users: np.ndarray, fraction: float, generator: np.random.Generator) -> np.ndarray:
    """A mask (n,) that is true for `fraction` of each user's samples, rounded, but for at least one.

    Vectorized over users: the samples are shuffled, then sorted by user, so that a sample's place among its user's
    samples is random.
    """
    shuffled = generator.permutation(len(users))
    order = shuffled[np.argsort(users[shuffled], kind="stable")]
    counts = np.bincount(users)
    place = np.arange(len(users)) - np.repeat(np.cumsum(counts) - counts, counts)
    chosen = np.maximum(1, np.rint(fraction * counts))
    mask = np.zeros(len(users), dtype=bool)
    mask[order] = place < np.repeat(chosen, counts)
    return mask


class MovieLens:
    """Ratings: inputs (n, 2) int64 rows of (user, item), targets float32 stars.

    Users and items are numbered from 0 in the order of their ids, over the whole file, so that a movie which only
    the test part names has its row too.
    """

    class Config(DataSettings):
        """Settings of MovieLens."""

        train_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.7
        """Fraction of each user's ratings that is used for training; which ones, the seed decides."""

    def __init__(self, config: Config) -> None:
        self._config = config

    def load(self, root: Path, seed: int) -> DataSet:
        """Read `<root>/ml-latest-small/ratings.csv`."""
        rows = read_ratings(root / "ml-latest-small" / "ratings.csv")
        user_ids, users = np.unique(rows[:, 0], return_inverse=True)
        item_ids, items = np.unique(rows[:, 1], return_inverse=True)
        inputs = np.stack([users, items], axis=1).astype(np.int64)
        stars = rows[:, 2].astype(np.float32)
        train = split_each_user(users, self._config.train_fraction, numpy_generator(seed, "movielens/train"))

        def part(mask: np.ndarray) -> Samples:
            return Samples(inputs[mask], stars[mask], inputs[mask, 0])

        return DataSet(
            task="rating",
            train=part(train),
            test=part(~train),
            facts=Facts(input_shape=(2,), users=len(user_ids), items=len(item_ids)),
        )
