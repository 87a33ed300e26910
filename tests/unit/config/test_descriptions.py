"""Every setting that a user can write is documented where it is defined."""

from __future__ import annotations

from typing import get_args

import pytest

from decentralized import config
from decentralized.build import TABLES, BuiltIn
from decentralized.settings import Component, Named, Settings


def all_settings() -> list[type[Settings]]:
    tables = [BuiltIn().settings_of(family, name) for family in TABLES for name in TABLES[family]]
    found: dict[type[Settings], None] = dict.fromkeys([config.Experiment, Component, Named, *tables])
    waiting = list(found)
    while waiting:  # also the settings inside settings
        for field in waiting.pop().model_fields.values():
            for kind in (field.annotation, *get_args(field.annotation)):
                if isinstance(kind, type) and issubclass(kind, Settings) and kind not in found:
                    found[kind] = None
                    waiting.append(kind)
    return list(found)


@pytest.mark.parametrize(
    "settings", all_settings(), ids=lambda settings: f"{settings.__module__}.{settings.__qualname__}"
)
def test_every_field_has_a_line_of_documentation(settings: type[Settings]) -> None:
    for name, field in settings.model_fields.items():
        assert field.description, f"{settings.__qualname__}.{name} has no docstring below it"
        first = field.description.splitlines()[0]
        assert 10 <= len(first) <= 120, f"{settings.__qualname__}.{name}: {first}"
        assert first.endswith("."), f"{settings.__qualname__}.{name}: {first}"


def test_the_tables_of_the_configuration_are_among_them() -> None:
    assert {config.Evaluation, config.Network, config.Processes} <= set(all_settings())


@pytest.mark.parametrize(
    "settings", all_settings(), ids=lambda settings: f"{settings.__module__}.{settings.__qualname__}"
)
def test_settings_are_frozen_strict_and_closed(settings: type[Settings]) -> None:
    assert settings.model_config.get("frozen") and settings.model_config.get("strict")
    assert settings.model_config.get("extra") == ("allow" if settings is Named else "forbid")
