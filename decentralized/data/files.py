"""Reading the files of a data set: the same words for everything that can be missing or unreadable."""

from __future__ import annotations

from pathlib import Path

from decentralized.errors import DataCorrupt, DataMissing


def missing(path: Path, data_set: str) -> DataMissing:
    """The error for a file or folder of `data_set` that is not at `path`."""
    return DataMissing(
        f"{data_set}: nothing at {path}",
        f"Run `decentralized data fetch {data_set}`, or name the folder that holds the data sets with --data or "
        "the environment variable DECENTRALIZED_DATA.",
    )


def read(path: Path, data_set: str) -> bytes:
    """The whole content of one file; raises DataMissing, or DataCorrupt where the file exists but cannot be read."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise missing(path, data_set) from None
    except OSError as error:
        raise DataCorrupt(f"{path}: cannot be read: {error.strerror}") from error


def listing(folder: Path, pattern: str, data_set: str) -> list[Path]:
    """The files of `folder` that match `pattern`, sorted by name; raises DataMissing where there is none."""
    found = sorted(folder.glob(pattern))
    if not found:
        raise missing(folder / pattern, data_set)
    return found
