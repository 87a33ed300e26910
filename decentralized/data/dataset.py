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

from decentralized.settings import Component, Family, Settings
from decentralized.types import Facts, NodeId

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
    halves: np.ndarray | None = None
    """(classes, 2, n) uint8, where vectors are to be completed: what is given of each class, and what it lacks."""


@dataclass(frozen=True)
class NodeParts:
    """The samples of one node: indices into the train part (train, validation) and into the test part (test)."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


class PartitionSettings(Component):
    """Settings that every partition has."""


class Relabelling(Settings):
    """Other class numbers for some nodes."""

    nodes: tuple[Annotated[NodeId, Field(ge=0)], ...]
    """The nodes for which the classes are permuted, in their training and their test samples."""
    cycles: tuple[tuple[Annotated[int, Field(ge=0)], ...], ...]
    """The permutation: [[8, 9]] exchanges two classes, [[7, 8, 9]] makes 7 to 8, 8 to 9 and 9 to 7."""


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
    test_samples: Annotated[int, Field(ge=1)] | None = None
    """Use only the first so many test samples; all of them when not given."""
    permute_labels: tuple[Relabelling, ...] = ()
    """Class numbers that differ between nodes: tables of `nodes` and `cycles`, where [[8, 9]] exchanges two classes."""


class Loader(Protocol):
    """A data set that can be loaded: the class that `build.py` names. Its `Config` is a DataSettings."""

    def load(self, root: Path, seed: int) -> DataSet:
        """Read the data set below the data root; raises DataMissing or DataCorrupt."""


class Partition(Protocol):
    """A rule that divides samples; a pure function of (samples, nodes, generator)."""

    def assign(self, samples: Samples, nodes: int, generator: np.random.Generator) -> Sequence[np.ndarray]:
        """For each node the sorted int64 indices of its samples; disjoint."""
