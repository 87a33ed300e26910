"""What every data set becomes: arrays in shared memory pages, and for each node the numbers of its samples.

Arrays are numpy and are loaded once per machine, before the nodes are forked; a node only ever holds indices into them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Protocol

import numpy as np
from pydantic import Field

from decentralized.settings import Component, Family
from decentralized.types import Facts

Split = Literal["train", "validation", "test"]


@dataclass(frozen=True)
class Samples:
    """n samples.

    inputs (n, ...): uint8 images (n, channels, height, width), float32 features, or int64 characters or (user, item).
    targets (n,): int64 class numbers or float32 ratings.
    users (n,): int64 number of the user who owns each sample, or None where samples have no owner.
    """

    inputs: np.ndarray
    targets: np.ndarray
    users: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.targets)


@dataclass(frozen=True)
class DataSet:
    """A data set with its global train and test parts.

    mean, std: one value per channel; uint8 inputs become (input / 255 - mean) / std in float32, batch by batch.
    """

    task: Literal["classification", "rating"]
    train: Samples
    test: Samples
    facts: Facts
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)


@dataclass(frozen=True)
class NodeParts:
    """The samples of one node: indices into the train part (train, validation) and into the test part (test)."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


class PartitionSettings(Component):
    """Settings that every partition has."""


class DataSettings(Component):
    """Settings that every data set has."""

    partition: Annotated[Component, Family("partition")] = Field(default={"name": "iid"}, validate_default=True)
    """How the training samples are divided over the nodes."""
    validation: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Fraction of each node's training samples that is kept for validation."""
    test: Literal["global", "local"] = "global"
    """Evaluate on the whole test part, or on the node's own share of it."""
    samples: Annotated[int, Field(ge=1)] | None = None
    """Use only so many training samples, drawn by the seed; all of them when not given."""


class Loader(Protocol):
    """A data set that can be loaded: the class that `build.py` names. Its `Config` is a DataSettings."""

    def load(self, root: Path, seed: int) -> DataSet:
        """Read the data set below the data root; raises DataMissing or DataCorrupt."""


class Partition(Protocol):
    """A rule that divides samples; a pure function of (samples, nodes, generator)."""

    def assign(self, samples: Samples, nodes: int, generator: np.random.Generator) -> Sequence[np.ndarray]:
        """For each node the sorted int64 indices of its samples; disjoint."""
