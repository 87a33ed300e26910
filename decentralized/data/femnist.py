"""FEMNIST (LEAF, Caldas et al. 2018): handwritten digits and letters, grouped by writer. 1.0 is white paper."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from decentralized.data.dataset import DataSet, DataSettings
from decentralized.data.leaf import Share, labels, read_leaf
from decentralized.types import Facts

PIXELS = 28 * 28


def pixels(share: Share) -> np.ndarray:
    """The x of a share as float32 images (n, 1, 28, 28)."""
    try:
        x = np.array(share.x)
    except ValueError:  # rows of different lengths
        raise share.corrupt(f"images that do not all have {PIXELS} pixels") from None
    if x.ndim != 2 or x.shape[1] != PIXELS or x.dtype.kind not in "fi":
        raise share.corrupt(f"images that are not {PIXELS} numbers each")
    if not (x.min() >= 0 and x.max() <= 1):  # written so that NaN fails too
        raise share.corrupt("pixels outside 0 to 1")
    return x.astype(np.float32).reshape(-1, 1, 28, 28)


class Femnist:
    """FEMNIST as float32 inputs (n, 1, 28, 28) between 0 and 1; each sample's user is its writer."""

    class Config(DataSettings):
        """Settings of FEMNIST."""

        folder: str = "femnist"
        """Folder below the data root that holds train/*.json and test/*.json."""
        classes: Annotated[int, Field(ge=2)] = 62
        """Number of classes: 10 digits, 26 upper-case and 26 lower-case letters."""

    def __init__(self, config: Config) -> None:
        self._config = config

    def load(self, root: Path, seed: int) -> DataSet:
        """Read `<root>/<folder>/{train,test}/*.json`."""
        classes = self._config.classes
        train, test = read_leaf(
            root / self._config.folder, "femnist", lambda share: (pixels(share), labels(share, classes))
        )
        return DataSet("classification", train, test, Facts(input_shape=(1, 28, 28), classes=classes))
