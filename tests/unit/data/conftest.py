"""What the tests of the data sets share: settings without `build.py`, and the folder of the real data."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from decentralized.data import partition
from decentralized.settings import Component

PARTITIONS: dict[str, type[Any]] = {
    "iid": partition.Iid,
    "by-user": partition.ByUser,
    "shards": partition.Shards,
    "dirichlet": partition.Dirichlet,
    "by-class": partition.ByClass,
}


class Partitions:
    """The catalog of partitions alone."""

    def settings_of(self, family: str, name: str) -> type[Component]:
        config: type[Component] = PARTITIONS[name].Config
        return config


def _settings_for(component: type[Any], **values: Any) -> Any:
    return component.Config.model_validate({"name": "any", **values}, context=Partitions())


@pytest.fixture(scope="session")
def settings_for() -> Callable[..., Any]:
    """`settings_for(Class, key=value)`: the settings of a component."""
    return _settings_for


@pytest.fixture(scope="session")
def configured() -> Callable[..., Any]:
    """`configured(Class, key=value)`: the component with these settings."""
    return lambda component, **values: component(_settings_for(component, **values))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The root of the real data sets; skips where there is none."""
    root = os.environ.get("DECENTRALIZED_DATA")
    if not root:
        pytest.skip("DECENTRALIZED_DATA does not name a folder with data sets")
    return Path(root)
