"""MovieLens' ratings.csv, whole and broken."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from decentralized.data.movielens import MovieLens, split_each_user
from decentralized.errors import DataCorrupt, DataMissing

HEADER = "userId,movieId,rating,timestamp"
ROWS = ["1,30,4.0,964982703", "1,10,0.5,964982703", "7,20,3.5,964982703", "7,30,5.0,964982703"]


def write(root: Path, *lines: str, end: str = "\n") -> Path:
    path = root / "ml-latest-small" / "ratings.csv"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes("".join(line + end for line in lines).encode())
    return path


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_users_and_items_are_numbered_by_their_ids(tmp_path: Path, configured: Callable[..., Any], end: str) -> None:
    write(tmp_path, HEADER, *ROWS, end=end)
    data = configured(MovieLens, train_fraction=0.5).load(tmp_path, seed=0)
    rated = {
        (*row, stars)
        for part in (data.train, data.test)
        for row, stars in zip(part.inputs.tolist(), part.targets.tolist(), strict=True)
    }
    assert rated == {(0, 2, 4.0), (0, 0, 0.5), (1, 1, 3.5), (1, 2, 5.0)}
    assert (data.facts.users, data.facts.items) == (2, 3)
    assert data.train.inputs.dtype == np.int64
    assert data.train.targets.dtype == np.float32
    for part in (data.train, data.test):
        np.testing.assert_array_equal(part.users, part.inputs[:, 0])
        np.testing.assert_array_equal(np.sort(part.users), [0, 1])


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ([], "starts with"),
        (["user,movie,rating,timestamp", *ROWS], "first line is 'user,movie"),
        ([HEADER], "no ratings"),
        ([HEADER, *ROWS, "7,40"], "columns"),
        ([HEADER, "1,2,3"], "3 columns"),
        ([HEADER, *ROWS, "7,forty,1.0,0"], "forty"),
        ([HEADER, *ROWS, "7,4.5,1.0,0"], r"rating 5 is \[7.0, 4.5, 1.0\]"),
        ([HEADER, *ROWS, "0,4,1.0,0"], "rating 5"),
        ([HEADER, *ROWS, "7,4,5.5,0"], "rating 5"),
        ([HEADER, *ROWS, "7,4,nan,0"], "rating 5"),
        ([HEADER, "é,4,1.0,0"], "not a text file"),
    ],
)
def test_broken_files_are_named(tmp_path: Path, configured: Callable[..., Any], lines: list[str], problem: str) -> None:
    path = write(tmp_path, *lines)
    with pytest.raises(DataCorrupt, match=problem) as caught:
        configured(MovieLens).load(tmp_path, seed=0)
    assert str(path) in str(caught.value)


def test_a_missing_file_says_what_to_do(tmp_path: Path, configured: Callable[..., Any]) -> None:
    with pytest.raises(DataMissing) as caught:
        configured(MovieLens).load(tmp_path, seed=0)
    assert str(tmp_path / "ml-latest-small" / "ratings.csv") in str(caught.value)
    assert "decentralized data fetch movielens" in caught.value.advice


def test_every_user_is_split_alone() -> None:
    users = np.random.default_rng(0).permutation(np.repeat([0, 1, 2, 3], [1, 2, 10, 55]))
    first, again, other = (split_each_user(users, 0.7, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.bincount(users, weights=first).tolist() == [1, 1, 7, 38]
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_every_rating_is_equally_likely_to_be_drawn() -> None:
    users = np.repeat([0, 1], [4, 6])
    drawn = sum(split_each_user(users, 0.5, np.random.default_rng(seed)).astype(int) for seed in range(2000))
    np.testing.assert_allclose(np.asarray(drawn) / 2000, 0.5, atol=0.05)


def test_the_real_data(real_data: Path, configured: Callable[..., Any]) -> None:
    start = time.process_time()
    data = configured(MovieLens).load(real_data, seed=0)
    assert time.process_time() - start < 1.5  # about 0.1 on an idle core
    assert len(data.train) + len(data.test) == 100_836
    assert (data.facts.users, data.facts.items) == (610, 9724)
    assert len(np.unique(data.train.users)) == len(np.unique(data.test.users)) == 610
    assert len(data.train) / 100_836 == pytest.approx(0.7, abs=0.001)
    items = np.concatenate([data.train.inputs[:, 1], data.test.inputs[:, 1]])
    np.testing.assert_array_equal(np.unique(items), np.arange(9724))
