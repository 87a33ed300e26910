"""Mistakes in a configuration as lines for people: the place, what was expected, and the nearest known name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from decentralized.mistakes import nearest, sentence
from decentralized.places import Places
from decentralized.settings import Catalog, Component, Family, Settings


@dataclass(frozen=True)
class Reading:
    """What was read (`document`) into which settings (`root`), by which names, and where it stands."""

    root: type[Settings]
    document: Mapping[str, Any]
    catalog: Catalog
    places: Places


def explain(error: ValidationError, reading: Reading) -> list[str]:
    """One line for each mistake, in the order of the file; those without a line come first."""
    items = sorted(error.errors(), key=lambda item: reading.places.line(item["loc"]))
    return [_line(item, reading) for item in items]


def _line(item: ErrorDetails, reading: Reading) -> str:
    place, text = reading.places.of(item["loc"]), sentence(item)
    if item["type"] == "extra_forbidden":
        text += _known_keys(item["loc"], reading)
    elif item["type"] == "missing":
        text += _what_is_missing(item["loc"], reading)
    return f"{place}: {text}" if place else text


def _known_keys(location: Sequence[int | str], reading: Reading) -> str:
    table = _table_at(location[:-1], reading)
    known = list(table.model.model_fields)
    if known == ["name"] and table.family is not None:
        return f"; {table.family.name} '{table.component}' has no settings"
    return nearest(str(location[-1]), known) if known else ""


def _what_is_missing(location: Sequence[int | str], reading: Reading) -> str:
    """What the key would mean, or the names that it can be given."""
    if isinstance(location[-1], int):
        return "; the list is too short"
    table = _table_at(location[:-1], reading)
    if location[-1] == "name" and table.family is not None:
        return _names(table.family, reading.catalog)
    field = table.model.model_fields.get(location[-1])
    meaning = field.description.splitlines()[0].removesuffix(".") if field is not None and field.description else ""
    family = _family(field)
    names = _names(family, reading.catalog) if family is not None else ""
    return (f" ({meaning[0].lower()}{meaning[1:]})" if meaning else "") + names


def _names(family: Family, catalog: Catalog) -> str:
    return f"; its name can be {', '.join(sorted(catalog.names(family.name)))}"


@dataclass(frozen=True)
class _Table:
    """The settings that a table is read into; its family and component where it has a name to choose by."""

    model: type[Settings]
    family: Family | None = None
    component: object = None


def _table_at(location: Sequence[int | str], reading: Reading) -> _Table:
    found = _Table(reading.root)
    content: Any = reading.document
    for name in map(str, location):
        field = found.model.model_fields.get(name)
        family = _family(field)
        content = content.get(name, {}) if isinstance(content, Mapping) else {}
        if family is not None:
            component = content.get("name", family.default) if isinstance(content, Mapping) else content
            model = reading.catalog.settings_of(family.name, component) if isinstance(component, str) else Component
            found = _Table(model, family, component)
        else:
            found = _Table(_settings_in(field))
    return found


def _settings_in(field: FieldInfo | None) -> type[Settings]:
    kinds = (field.annotation, *get_args(field.annotation)) if field is not None else ()
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Settings)), Settings)


def _family(field: FieldInfo | None) -> Family | None:
    marks = field.metadata if field is not None else []
    return next((mark for mark in marks if isinstance(mark, Family)), None)
