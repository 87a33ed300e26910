"""Where a setting comes from, for error messages: a line of a TOML file, or the command line."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

Key = tuple[str, ...]

_NAME = r"""(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')"""
_DOTTED = rf"{_NAME}(?:\s*\.\s*{_NAME})*"
_TABLE = re.compile(rf"\s*\[\[?\s*({_DOTTED})\s*\]\]?\s*(?:#.*)?$")
_KEY = re.compile(rf"\s*({_DOTTED})\s*=")
_TOKEN = re.compile(r"""\"{3}|'{3}|"(?:\\.|[^"\\])*"|'[^']*'|\#.*|[\[\]{}]""")


class Places:
    """Line numbers of tables and keys, and the keys that `--set` gave (key to its KEY=VALUE).

    A key inside an inline table is given the line where that table begins.
    """

    def __init__(self, text: str, name: str, overrides: Mapping[Key, str] | None = None) -> None:
        self._name = name
        self._overrides = dict(overrides or {})
        self._lines = _line_numbers(text)

    def of(self, location: Sequence[int | str]) -> str:
        """ "FILE:LINE" or "--set KEY=VALUE" of the key, or of the nearest table around it; "" without a file name."""
        return self._find(location)[1]

    def line(self, location: Sequence[int | str]) -> int:
        """The line number, to sort by; 0 for what is not in the file."""
        return self._find(location)[0]

    def _find(self, location: Sequence[int | str]) -> tuple[int, str]:
        key = tuple(str(part) for part in location)
        around = [key[:end] for end in range(len(key), 0, -1)]
        for part in around:
            if part in self._overrides:
                return 0, f"--set {self._overrides[part]}"
        for part in around:
            if part in self._lines:
                return self._lines[part], f"{self._name}:{self._lines[part]}" if self._name else ""
            for other, override in self._overrides.items():
                if other[: len(part)] == part:  # a table that only the command line has
                    return 0, f"--set {override}"
        return 0, self._name


def split(dotted_key: str) -> Key:
    """The names in a dotted key, without their quotes."""
    return tuple(part.strip("\"'") for part in re.findall(_NAME, dotted_key))


def _line_numbers(text: str) -> dict[Key, int]:
    lines: dict[Key, int] = {}
    table: Key = ()
    nesting = _Nesting()
    for number, line in enumerate(text.splitlines(), 1):
        if nesting.open:  # the rest of a list or of a long string
            nesting.read(line)
        elif header := _TABLE.match(line):
            table = split(header[1])
            _note(lines, (), table, number)
        elif key := _KEY.match(line):
            _note(lines, table, split(key[1]), number)
            nesting.read(line[key.end() :])
    return lines


def _note(lines: dict[Key, int], table: Key, key: Key, number: int) -> None:
    """A dotted key also begins the tables that it names."""
    for end in range(1, len(key) + 1):
        lines.setdefault(table + key[:end], number)


class _Nesting:
    """Whether a value goes on in the next line."""

    def __init__(self) -> None:
        self._depth, self._quote = 0, ""

    @property
    def open(self) -> bool:
        return self._depth > 0 or self._quote != ""

    def read(self, text: str) -> None:
        position = 0
        while position >= 0:
            position = self._after_quote(text, position) if self._quote else self._after_token(text, position)

    def _after_quote(self, text: str, position: int) -> int:
        end = text.find(self._quote, position)
        if end < 0:
            return -1
        self._quote = ""
        return end + 3

    def _after_token(self, text: str, position: int) -> int:
        token = _TOKEN.search(text, position)
        if token is None:
            return -1
        if token[0] in ('"""', "'''"):
            self._quote = token[0]
        self._depth += (token[0] in "[{") - (token[0] in "]}")
        return token.end()
