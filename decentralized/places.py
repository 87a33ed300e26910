"""Where a key stands in a TOML file, for error messages."""

from __future__ import annotations

import re
from collections.abc import Sequence

_TABLE = re.compile(r"^\s*\[\s*([A-Za-z0-9_.\- ]+?)\s*\]")
_KEY = re.compile(r"^\s*([A-Za-z0-9_.\-]+)\s*=")


class Places:
    """Line numbers of tables and keys. A key inside an inline table is given the line where that table begins."""

    def __init__(self, text: str, name: str) -> None:
        self._name = name
        self._lines: dict[tuple[str, ...], int] = {}
        table: tuple[str, ...] = ()
        for number, line in enumerate(text.splitlines(), 1):
            if header := _TABLE.match(line):
                table = _split(header[1])
                self._lines.setdefault(table, number)
            elif key := _KEY.match(line):
                self._lines.setdefault(table + _split(key[1]), number)

    def of(self, location: Sequence[str]) -> str:
        """ "FILE:LINE" of the key, or of the nearest table around it."""
        for end in range(len(location), 0, -1):
            line = self._lines.get(tuple(location[:end]))
            if line is not None:
                return f"{self._name}:{line}"
        return self._name


def _split(dotted: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in dotted.split("."))
