"""Shakespeare (LEAF, Caldas et al. 2018): the next character after 80, grouped by the role that speaks."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from decentralized.data.dataset import DataSet, DataSettings
from decentralized.data.leaf import Share, read_leaf
from decentralized.types import Facts

VOCABULARY = "\n !\"&'(),-.0123456789:;>?ABCDEFGHIJKLMNOPQRSTUVWXYZ[]abcdefghijklmnopqrstuvwxyz}"
"""LEAF's 80 characters; a character's place is its number. Any other character is read as a space."""
WINDOW = 80  # characters before the one to predict


def _numbers() -> np.ndarray:
    """The number of each ASCII code; the last entry stands for all other characters."""
    table = np.full(129, VOCABULARY.index(" "), dtype=np.int64)
    table[[ord(character) for character in VOCABULARY]] = np.arange(len(VOCABULARY))
    return table


NUMBERS = _numbers()


def encode(texts: list[str]) -> np.ndarray:
    """The characters of all texts together as int64 numbers."""
    codes = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), "<u4")
    numbers: np.ndarray = NUMBERS[np.minimum(codes, 128)]
    return numbers


def decode(share: Share) -> tuple[np.ndarray, np.ndarray]:
    """Windows (n, 80) and next characters (n,)."""
    for texts, length in ((share.x, WINDOW), (share.y, 1)):
        if not all(isinstance(text, str) and len(text) == length for text in texts):
            raise share.corrupt(f"texts that do not have {length} character{'s' if length > 1 else ''} each")
    return encode(share.x).reshape(-1, WINDOW), encode(share.y)


class Shakespeare:
    """Shakespeare as int64 inputs (n, 80) of characters; the target is the number of the next character."""

    class Config(DataSettings):
        """Settings of Shakespeare."""

        folder: str = "shakespeare"
        """Folder below the data root that holds train/*.json and test/*.json."""

    def __init__(self, config: Config) -> None:
        self._config = config

    def load(self, root: Path, seed: int) -> DataSet:
        """Read `<root>/<folder>/{train,test}/*.json`."""
        train, test = read_leaf(root / self._config.folder, "shakespeare", decode)
        characters = len(VOCABULARY)
        facts = Facts(input_shape=(WINDOW,), classes=characters, vocabulary=characters)
        return DataSet("classification", train, test, facts)
