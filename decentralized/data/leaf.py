"""The JSON layout of LEAF (Caldas et al. 2018), which FEMNIST, CelebA and Shakespeare share.

    <folder>/train/*.json, <folder>/test/*.json:
    {"users": [name], "num_samples": [count], "user_data": {name: {"x": [...], "y": [...]}}}

A name may stand in several files; its samples are put together.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from decentralized.data.dataset import Samples
from decentralized.data.files import listing, read
from decentralized.errors import DataCorrupt


@dataclass(frozen=True)
class Share:
    """One user's samples in one file, x and y of equal length; their content is not checked yet."""

    file: Path
    user: str
    x: list[Any]
    y: list[Any]

    def corrupt(self, problem: str) -> DataCorrupt:
        return DataCorrupt(f"{self.file}: user {self.user!r}: {problem}")


Decode = Callable[[Share], "tuple[np.ndarray, np.ndarray]"]
"""Checks one share and turns it into inputs (n, ...) and targets (n,); raises DataCorrupt."""


def labels(share: Share, classes: int) -> np.ndarray:
    """The y of a share as int64 class numbers (n,); raises DataCorrupt where they are not."""
    try:
        y = np.array(share.y)
    except ValueError:  # lists of different lengths
        raise share.corrupt("labels that are not whole numbers") from None
    if y.ndim != 1 or y.dtype.kind != "i":
        raise share.corrupt("labels that are not whole numbers")
    if y.min() < 0 or y.max() >= classes:
        raise share.corrupt(f"labels from {y.min()} to {y.max()}, expected 0 to {classes - 1}")
    return y.astype(np.int64)


def _share(file: Path, user: object, count: object, user_data: dict[str, Any]) -> Share:
    content = user_data.get(user) if isinstance(user, str) else None
    if not isinstance(content, dict):
        raise DataCorrupt(f"{file}: user {user!r}: not in user_data")
    x, y = content.get("x"), content.get("y")
    if not isinstance(x, list) or not isinstance(y, list):
        raise DataCorrupt(f"{file}: user {user!r}: x and y are not two lists")
    if not len(x) == len(y) == count:
        raise DataCorrupt(f"{file}: user {user!r}: {len(x)} x and {len(y)} y where num_samples says {count}")
    return Share(file, str(user), x, y)


def _shares(file: Path, data_set: str) -> Iterator[Share]:
    try:
        content = json.loads(read(file, data_set))
    except ValueError as error:  # not JSON, or not UTF-8
        raise DataCorrupt(f"{file}: not a whole JSON file: {error}") from error
    if not isinstance(content, dict):
        raise DataCorrupt(f"{file}: not a JSON object")
    users, counts, user_data = (content.get(key) for key in ("users", "num_samples", "user_data"))
    if not (isinstance(users, list) and isinstance(counts, list) and isinstance(user_data, dict)):
        raise DataCorrupt(f"{file}: users, num_samples and user_data are not two lists and an object")
    if len(users) != len(counts) or len(users) != len({str(user) for user in users}):
        raise DataCorrupt(f"{file}: {len(users)} users and {len(counts)} num_samples, or a user named twice")
    return (_share(file, user, count, user_data) for user, count in zip(users, counts, strict=True))


def _read_part(folder: Path, data_set: str, decode: Decode, numbers: dict[str, int]) -> Samples:
    """All files of train or test. `numbers` maps a user's name to its number, and grows by the names that are new."""
    inputs, targets, users = [], [], []
    for file in listing(folder, "*.json", data_set):
        for share in _shares(file, data_set):
            if not share.y:
                continue
            x, y = decode(share)
            inputs.append(x)
            targets.append(y)
            users.append(np.full(len(y), numbers.setdefault(share.user, len(numbers)), dtype=np.int64))
    if not inputs:
        raise DataCorrupt(f"{folder}: its JSON files hold no samples")
    return Samples(np.concatenate(inputs), np.concatenate(targets), np.concatenate(users))


def read_leaf(folder: Path, data_set: str, decode: Decode) -> tuple[Samples, Samples]:
    """The train and the test part of a LEAF data set.

    Users are numbered from 0 in the order in which they are met, train first: a user who is only in the test part
    has a number above all others. Raises DataMissing, or DataCorrupt with the file and the user.
    """
    numbers: dict[str, int] = {}
    train = _read_part(folder / "train", data_set, decode, numbers)
    return train, _read_part(folder / "test", data_set, decode, numbers)
