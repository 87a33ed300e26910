"""Is the run directory still there? Open files can be written after it was removed, and nobody would ever see them."""

from __future__ import annotations

import time
from pathlib import Path

from decentralized.errors import StorageError

EVERY_S = 1.0


class Presence:
    """Looks, at most once in EVERY_S, for a file that is there as long as `directory` is."""

    def __init__(self, directory: Path, file: Path) -> None:
        self._directory, self._file = directory, file
        self._looked = time.monotonic()

    def check(self) -> None:
        """Raises StorageError when it is gone."""
        if time.monotonic() - self._looked < EVERY_S:
            return
        self._looked = time.monotonic()
        try:
            self._file.stat()
        except (FileNotFoundError, NotADirectoryError):
            raise StorageError(
                f"the run directory {self._directory} is gone: it was removed or moved while the run went on",
                "Start the run again; one that was moved can go on with `decentralized resume`.",
            ) from None
        except OSError:  # a disk that does not answer now; writing to it will tell
            pass
