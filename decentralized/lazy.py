"""Heavy libraries, imported when they are first used.

Every component file holds its own settings, and the agent, `--help` and the first half of `check` read those settings.
They must answer at once and in little memory, so a component never imports torch or networkx at its top: it takes them
from here and uses them inside its functions (not as base classes, decorators or default values).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any


class LazyModule:
    """Stands for the module `name`; the first attribute that is read imports it."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("__"):  # inspection must not trigger the import
            raise AttributeError(attribute)
        value = getattr(importlib.import_module(self._name), attribute)
        self.__dict__[attribute] = value  # the next read finds it without coming here
        return value


if TYPE_CHECKING:
    import networkx
    import torch
else:
    networkx = LazyModule("networkx")
    torch = LazyModule("torch")

__all__ = ["networkx", "torch"]
