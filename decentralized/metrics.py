"""The metrics of one node: a file that only grows, one JSON object a line.

Each line leaves in one write, so that a process that is killed tears at most the last line; readers skip that one.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from io import FileIO
from pathlib import Path
from types import TracebackType

import msgspec
import numpy as np

from decentralized.errors import RunDirectoryError, StorageError
from decentralized.storage import storage_error

TAIL = 4096  # bytes read at a time when looking for the last whole line
LOST = "Resume from an older check-point, or start the run again."


class MetricsFile:
    """Appends records to `path`. Line numbers, rounds and times are the caller's; nothing is ever re-written.

    length: on a resume, the bytes that count (from the check-point); what was written after them is dropped.
    Raises StorageError when the disk does not take a record.
    """

    def __init__(self, path: Path, length: int | None = None) -> None:
        self._path = path
        self._encoder = msgspec.json.Encoder(enc_hook=_plain)
        try:
            self._file = _open_at(path, length)
        except OSError as error:
            raise storage_error("write", self._path, error) from error

    def append(self, record: Mapping[str, object]) -> None:
        """Write one record; the operating system has it when this returns. NaN and infinities are written as null."""
        line = memoryview(self._encoder.encode(record) + b"\n")
        start = self.length()
        try:
            while line:  # one write, unless the disk took only a part; the second one then raises why
                line = line[self._file.write(line) :]
        except OSError as error:
            with contextlib.suppress(OSError):  # no torn line in the middle, should the caller go on
                self._file.truncate(start)
            raise storage_error("write", self._path, error) from error

    def length(self) -> int:
        """Bytes written so far, for the check-point."""
        return os.fstat(self._file.fileno()).st_size

    def sync(self) -> None:
        """Force what was written onto the disk; raises StorageError."""
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise storage_error("write", self._path, error) from error

    def close(self) -> None:
        try:
            self._file.close()
        except OSError as error:
            raise storage_error("write", self._path, error) from error

    def __enter__(self) -> MetricsFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def read_metrics(path: Path) -> list[dict[str, object]]:
    """All whole records, with null read back as NaN; none when there is no file (yet).

    A torn last line is skipped. Raises RunDirectoryError for a broken line before the last and for an unreadable file.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RunDirectoryError(f"could not read {path}: {error.strerror or error}") from error
    lines.pop()  # what follows the last line end: nothing, or a torn line
    decoder = msgspec.json.Decoder(dict[str, object])
    records = []
    for number, line in enumerate(lines, start=1):
        try:
            record = decoder.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            if number == len(lines):  # a power cut can leave a line end without the line
                break
            raise RunDirectoryError(
                f"{path}, line {number}: not a record: {error}",
                advice="Delete that line; the other ones can still be read.",
            ) from error
        records.append({key: float("nan") if value is None else value for key, value in record.items()})
    return records


def _plain(value: object) -> object:
    """numpy scalars as Python numbers."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"a metric cannot hold a {type(value).__name__}")


def _open_at(path: Path, length: int | None) -> FileIO:
    """The file, cut to `length` bytes, or to its whole lines: a new record is never glued to a torn one."""
    end = _end_of_last_line(path) if path.exists() else 0
    if length is not None and length > end:
        raise StorageError(f"{path} has {end} whole bytes, but the check-point counted {length}", LOST)
    file = FileIO(path, "ab")
    try:
        file.truncate(end if length is None else length)
    except OSError:
        file.close()
        raise
    return file


def _end_of_last_line(path: Path) -> int:
    """Bytes up to and with the last line end."""
    with open(path, "rb") as file:
        end = file.seek(0, os.SEEK_END)
        while end > 0:
            start = max(0, end - TAIL)
            file.seek(start)
            at = file.read(end - start).rfind(b"\n")
            if at >= 0:
                return start + at + 1
            end = start
    return 0
