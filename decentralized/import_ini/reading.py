"""An INI file whose keys are taken one by one, so that none can be forgotten: whatever nobody took becomes a notice."""

from __future__ import annotations

import configparser
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from decentralized.errors import ConfigError
from decentralized.mistakes import shown

T = TypeVar("T")

ABSENT = "not in the INI"
NOTHING = "nothing here corresponds to it"

_SECTION = re.compile(r"\[(.+)\]")
_KEY = re.compile(r"\s*([^\s;#=:][^=:]*?)\s*[=:]")
_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")
_BOOLEANS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


@dataclass(frozen=True)
class Taken(Generic[T]):
    """A value, whether the file gives it, and the comment that says where it comes from."""

    value: T
    given: bool
    origin: str

    def label(self, key: str) -> str:
        """The key and its value, for a comment."""
        return f"{key} = {self.value}" if self.given else f"{key} {self.origin.removeprefix(key).strip()}"


class Ini:
    """A file of sections and keys. Mistakes and notices gather here, each with its FILE:LINE."""

    def __init__(self, content: str, name: str) -> None:
        """Raises ConfigError for text that is not INI."""
        self._name = name
        self._sections = _parse(content, name)
        self._lines = _line_numbers(content)
        self._used: set[tuple[str, str]] = set()
        self._mistakes: list[tuple[int, str]] = []
        self._notices: list[tuple[int, str]] = []

    @property
    def sections(self) -> list[str]:
        return list(self._sections)

    def unused(self, section: str) -> list[str]:
        """The keys of a section that nobody took."""
        return [key for key in self._sections.get(section, {}) if (section, key) not in self._used]

    def has(self, section: str, key: str) -> bool:
        """Whether a key is there and not empty."""
        return bool(self._sections.get(section, {}).get(key))

    def take(self, section: str, key: str, read: Callable[[str], T], default: T) -> Taken[T]:
        """The value of a key. As in decentralizepy, an empty one is as good as none: `default`."""
        found = self._sections.get(section, {}).get(key)
        if found is None:
            return Taken(default, False, ABSENT)
        self._used.add((section, key))
        if not found:
            return Taken(default, False, f"{key} is empty")
        try:
            return Taken(read(found), True, key)
        except ValueError as error:
            self.refuse(section, key, f"should be {error}, not {shown(found)}")
            return Taken(default, False, key)

    def require(self, section: str, key: str) -> str:
        """A key that decentralizepy needs too; without it "" and a mistake."""
        taken = self.take(section, key, text, "")
        if not taken.given:
            self.refuse(section, key, "is missing; every configuration of decentralizepy has it")
        return taken.value

    def package(self, section: str, key: str, expected: str = "decentralizepy") -> str:
        """A comment for the module of a class; with a notice where it is not below `expected`."""
        module = self.take(section, key, text, "")
        if module.given and not f"{module.value}.".startswith(f"{expected}."):
            self.leave(section, key, f"only the class's name counts: it is taken for the one in {expected}")
        return module.label(key) if module.origin != ABSENT else ""

    def leave(self, section: str, key: str, reason: str) -> None:
        """A key that cannot be carried over, where the file has it."""
        found = self._sections.get(section, {}).get(key)
        if found is not None:
            self._used.add((section, key))
            what = f"{key} = {shown(found)}: {reason}" if found else f"{key} is empty, as if it were not there"
            self.say(section, key, what)

    def say(self, section: str, key: str, message: str) -> None:
        """A notice, placed at a key or, where the key is "", at a section."""
        line = self._lines.get((section, key), 0)
        self._notices.append((line, f"{self._place(line)}: [{section}] {message}"))

    def refuse(self, section: str, key: str, what: str) -> None:
        """A mistake in a key."""
        line = self._lines.get((section, key)) or self._lines.get((section, ""), 0)
        self._mistakes.append((line, f"{self._place(line)}: [{section}] {key} {what}"))

    def finish(self) -> tuple[str, ...]:
        """All notices, in the order of the file. Raises ConfigError when there were mistakes."""
        if self._mistakes:
            raise ConfigError(_in_order(self._mistakes))
        return tuple(_in_order(self._notices))

    def _place(self, line: int) -> str:
        return f"{self._name}:{line}" if line else self._name


def text(value: str) -> str:
    """The value itself."""
    return value


def whole(value: str) -> int:
    """ "9"."""
    if not _WHOLE.fullmatch(value):
        raise ValueError("a whole number")
    return int(value)


def number(value: str) -> float:
    """ "0.25" or "1e-3"."""
    try:
        result = float(value)
    except ValueError:
        raise ValueError("a number") from None
    if not math.isfinite(result):
        raise ValueError("a finite number")
    return result


def boolean(value: str) -> bool:
    """True or False, yes or no, on or off, 1 or 0, in any case."""
    if value.lower() not in _BOOLEANS:
        raise ValueError("True or False")
    return _BOOLEANS[value.lower()]


def numbers(value: str) -> list[float]:
    """ "[0.1, 0.2]", "(0.1, 0.2)" or "0.1, 0.2"."""
    inner = value[1:-1] if (value[0], value[-1]) in (("[", "]"), ("(", ")")) else value
    parts = [part.strip() for part in inner.split(",")]
    if len(parts) > 1 and not parts[-1]:  # a comma after the last one
        parts.pop()
    try:
        return [number(part) for part in parts]
    except ValueError:
        raise ValueError("a list of numbers such as [0.1, 0.2]") from None


def literal(value: str) -> object:
    """A whole number, a number, True or False, or a list of numbers; anything else is text."""
    for read in (whole, number, boolean, numbers):
        try:
            return read(value)
        except ValueError:
            continue
    return value


def _parse(content: str, name: str) -> dict[str, Mapping[str, str]]:
    parser = configparser.RawConfigParser(
        default_section="",  # no section of the file is special
        inline_comment_prefixes=(";", "#"),
        empty_lines_in_values=False,
    )
    parser.optionxform = str  # type: ignore[assignment, method-assign]  # keys keep their case
    try:
        parser.read_string(content, name)
    except (configparser.DuplicateSectionError, configparser.DuplicateOptionError) as error:
        what = f"key {error.option}" if isinstance(error, configparser.DuplicateOptionError) else "section"
        raise ConfigError([f"{name}:{error.lineno}: [{error.section}] {what} was given before"]) from None
    except configparser.MissingSectionHeaderError as error:
        expected = "expected a [SECTION] before the first key"
        raise ConfigError([f"{name}:{error.lineno}: not INI: {expected}, not {shown(error.line.strip())}"]) from None
    except configparser.ParsingError as error:
        wrong = [f"{name}:{line}: not INI: neither [SECTION] nor KEY = VALUE" for line, _ in error.errors]
        raise ConfigError(wrong) from None
    return {section: dict(parser[section]) for section in parser.sections()}


def _in_order(messages: list[tuple[int, str]]) -> list[str]:
    """By line; what has none comes first."""
    return [message for _, message in sorted(messages, key=lambda message: message[0])]


def _line_numbers(content: str) -> dict[tuple[str, str], int]:
    """Where each (section, key) begins; a section itself has the key ""."""
    lines: dict[tuple[str, str], int] = {}
    section = ""
    for line_number, line in enumerate(content.split("\n"), 1):
        if header := _SECTION.match(line):
            section = header[1]
            lines.setdefault((section, ""), line_number)
        elif key := _KEY.match(line):
            lines.setdefault((section, key[1]), line_number)
    return lines
