"""TOML text with a comment behind each value: a library that writes TOML keeps no comments."""

from __future__ import annotations

import re
from collections.abc import Mapping

import tomli_w

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_WIDEST = 60  # a longer line does not push the comments of its table to the right


class Table:
    """Lines of one table; the table without a name is the top of the file."""

    def __init__(self, name: str = "", comment: str = "") -> None:
        self._lines: list[tuple[str, str]] = [(f"[{name}]", comment)] if name else []

    def add(self, key: str, value: object, comment: str = "") -> None:
        """One key: numbers, booleans, text, lists and dictionaries of these. No comment only repeats the key."""
        self._lines.append((f"{_key(key)} = {toml(value)}", "" if comment == key else comment))

    def remark(self, comment: str) -> None:
        """A line that is only a comment."""
        self._lines.append(("", comment))

    def text(self) -> str:
        """The lines, their comments below each other."""
        widths = [len(line) for line, comment in self._lines if comment and len(line) <= _WIDEST]
        width = max(widths, default=0)
        return "".join(_line(line, comment, width) for line, comment in self._lines)


def toml(value: object) -> str:
    """A value as TOML writes it, on one line."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(toml, value))}]"
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{_key(key)} = {toml(item)}' for key, item in value.items())} }}"
    return tomli_w.dumps({"v": str(value)}).removeprefix("v = ").rstrip("\n")


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else toml(key)


def _line(line: str, comment: str, width: int) -> str:
    if not comment:
        return f"{line}\n"
    comment = _CONTROL.sub(" ", comment)  # TOML allows none in a comment
    return f"{line.ljust(width)}  # {comment}\n" if line else f"# {comment}\n"
