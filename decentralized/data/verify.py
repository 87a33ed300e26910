"""Compare the files on disk with a data set's card."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from decentralized.data.cards import Card, CardFile

CHUNK = 1 << 20  # bytes


def chunks(path: Path, text: bool = False) -> Iterator[bytes]:
    """The file's bytes in pieces; with `text`, CRLF line ends come as LF."""
    with path.open("rb") as file:
        while piece := file.read(CHUNK):
            if text and piece.endswith(b"\r"):  # the LF of this line end may be in the next piece
                piece += file.read(1)
            yield piece.replace(b"\r\n", b"\n") if text else piece


def size_and_checksum(path: Path, algorithm: Literal["sha256", "md5"], text: bool = False) -> tuple[int, str]:
    """The file's size in bytes and its checksum in hexadecimal."""
    digest = hashlib.new(algorithm, usedforsecurity=False)  # against broken copies, not against an attacker
    size = 0
    for piece in chunks(path, text):
        digest.update(piece)
        size += len(piece)
    return size, digest.hexdigest()


def problem_with(file: CardFile, folder: Path) -> str | None:
    """One line that says what is wrong with one file; None if nothing is."""
    path = folder / file.path
    if not path.is_file():
        return f"{path}: missing"
    algorithm, expected = file.checksum
    if not file.text and path.stat().st_size != file.size:  # known without reading the file
        return f"{path}: {path.stat().st_size} bytes, expected {file.size}"
    try:
        size, found = size_and_checksum(path, algorithm, file.text)
    except OSError as error:
        return f"{path}: cannot be read: {error.strerror}"
    if size != file.size:
        return f"{path}: {size} bytes, expected {file.size}"
    return None if found == expected else f"{path}: {algorithm} {found}, expected {expected}"


def verify(card: Card, root: Path) -> list[str]:
    """What is missing or wrong below the data root, one line each; empty when the data set is whole."""
    folder = card.place(root)
    wrong = [line for file in card.known_files if (line := problem_with(file, folder))]
    absent = [f"{folder / pattern}: no such file" for pattern in card.expects if not any(folder.glob(pattern))]
    return wrong + absent
