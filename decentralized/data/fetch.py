"""Fetch a data set: download, check, unpack, and move into place, as its card says."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from decentralized.data.cards import Card, Download
from decentralized.data.download import Patience, discard, download, writing
from decentralized.data.unpack import unpack
from decentralized.data.verify import problem_with, verify
from decentralized.errors import DataCorrupt, DataMissing, DownloadError, StorageError

__all__ = ["FetchProgress", "Patience", "fetch", "verify"]


@dataclass(frozen=True)
class FetchProgress:
    """How far a fetch has come. `done_bytes` never falls, and is `total_bytes` in the end."""

    file: str
    done_bytes: int
    total_bytes: int


class _Meter:
    """Adds up the files of one fetch. A download that starts over is not shown as going backwards."""

    def __init__(self, total_bytes: int, report: Callable[[FetchProgress], None]) -> None:
        self._total_bytes = total_bytes
        self._report = report
        self._finished_bytes = 0
        self._shown_bytes = 0

    def show(self, file: str, file_bytes: int) -> None:
        self._shown_bytes = max(self._shown_bytes, self._finished_bytes + file_bytes)
        self._report(FetchProgress(file, self._shown_bytes, self._total_bytes))

    def finish(self, file: str, file_bytes: int) -> None:
        self.show(file, file_bytes)
        self._finished_bytes += file_bytes


def _ignore(progress: FetchProgress) -> None:
    """Shows nothing."""


def fetch(
    card: Card,
    root: Path,
    progress: Callable[[FetchProgress], None] = _ignore,
    patience: Patience | None = None,
) -> Path:
    """Make the data set complete below the data root and return its folder; does nothing when it already is.

    Raises DataMissing, with the steps to take as advice, for a data set that no program can download; DownloadError;
    StorageError when the disk is full or soon would be; DataCorrupt when the unpacked files are not the card's.
    """
    problems = verify(card, root)
    if not problems:
        return card.place(root)
    if card.source != "download":
        raise DataMissing(f"{card.name} is not complete:\n" + "\n".join(problems), advice=card.manual.strip())
    store = root / ".downloads"
    with writing(store):
        store.mkdir(parents=True, exist_ok=True)
    with _alone(store / f"{card.name}.lock"):
        missing = [source for source in card.downloads if _is_needed(source, card, root)]
        _check_space(card, missing, store)
        meter = _Meter(sum(source.size for source in missing), progress)
        for source in missing:
            _fetch_one(source, card.place(root), store, meter, patience or Patience())
    problems = verify(card, root)
    if problems:
        raise DataCorrupt(f"{card.name} was fetched, but:\n" + "\n".join(problems))
    return card.place(root)


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Keep a second fetch of the same data set out. The lock ends with the process, however that ends."""
    with writing(lock):
        file = lock.open("w")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DownloadError(f"{lock}: this data set is being fetched already", "Wait for that fetch.") from error
        yield


def _is_needed(source: Download, card: Card, root: Path) -> bool:
    if source.unpack == "none":
        return problem_with(source.as_file, card.place(root)) is not None
    return bool(verify(card, root))


def _part(source: Download, store: Path) -> Path:
    return store / f"{source.checksum[1][:16]}-{source.file_name}.part"


def _check_space(card: Card, missing: list[Download], store: Path) -> None:
    parts = [part for source in missing if (part := _part(source, store)).exists()]
    there = sum(part.stat().st_size for part in parts)
    needed = sum(source.size + source.unpacks_to for source in missing) - there
    free = shutil.disk_usage(store).free
    if free < needed:
        raise StorageError(
            f"{store}: {card.name} needs {needed / 1e6:.1f} MB, {free / 1e6:.1f} MB are free",
            "Free space on that disk, or choose another data root.",
        )


def _fetch_one(source: Download, folder: Path, store: Path, meter: _Meter, patience: Patience) -> None:
    part = _part(source, store)
    download(source, part, lambda done_bytes: meter.show(source.file_name, done_bytes), patience)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    if source.unpack == "none":
        _move(part, folder / source.file_name)
    else:
        _unpack_into(source, part, folder, store)
    discard(part)
    meter.finish(source.file_name, source.size)


def _unpack_into(source: Download, archive: Path, folder: Path, store: Path) -> None:
    """Unpack beside the folder first, so that a broken archive or a full disk leaves no half-written file in it."""
    with writing(store), tempfile.TemporaryDirectory(dir=store) as name:
        fresh = Path(name)
        unpack(source, archive, fresh)
        for path in sorted(fresh.rglob("*")):
            if path.is_file():
                _move(path, folder / path.relative_to(fresh))


def _move(path: Path, target: Path) -> None:
    """Put a finished file into place: flushed, then renamed, so that a power cut leaves a whole file or none."""
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        _flush(path)
        os.replace(path, target)
        _flush(target.parent)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
