"""Settings from the command line: `--set KEY=VALUE`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from decentralized.places import Key

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def apply(document: dict[str, Any], overrides: Sequence[str]) -> tuple[dict[Key, str], list[str]]:
    """Change the document by KEY=VALUE; returns which override gave each key, and the overrides that cannot be."""
    applied: dict[Key, str] = {}
    mistakes = []
    for override in overrides:
        dotted_key, separator, value = override.partition("=")
        key = tuple(name.strip() for name in dotted_key.split("."))
        if not separator or not all(key):
            mistakes.append(f"--set {override}: expected KEY=VALUE, for example sharing.alpha=0.3")
            continue
        *tables, last = key
        table = _inner_table(document, tables)
        if table is None:
            mistakes.append(f"--set {override}: '{'.'.join(tables)}' is not a table")
        elif value.strip():
            table[last] = _value(value)
            applied[key] = override
        else:
            table.pop(last, None)
    return applied, mistakes


def _inner_table(document: dict[str, Any], names: Sequence[str]) -> dict[str, Any] | None:
    """The table of that name, made where there is none; None where something else has the name."""
    table = document
    for name in names:
        if isinstance(table.get(name), str):  # partition = "iid" is short for a table
            table[name] = {"name": table[name]}
        table = table.setdefault(name, {})
        if not isinstance(table, dict):
            return None
    return table


def _value(text: str) -> Any:
    try:
        values = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text.strip()  # a bare word is a string
    return values["value"] if len(values) == 1 else text.strip()
