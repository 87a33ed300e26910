"""Adapters: small residual bottleneck modules, inserted after layers of another model.

They are one of the personalization architectures of Pillutla et al., "Federated Learning with Partial Model
Personalization", ICML 2022; Houlsby et al., "Parameter-efficient transfer learning for NLP", ICML 2019, inserted them
into transformers, Rebuffi et al., NeurIPS 2017, as 1x1 convolutions into residual networks. Departures: one place and
one form for all models, directly after a layer and before its activation, without a normalization of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from decentralized.errors import ConfigError
from decentralized.settings import Component, Family

if TYPE_CHECKING:
    from torch import nn


class Adapters:
    """Another model with adapters. They start as the identity, so it starts as that model.

    Its layers get longer names: `conv1.weight` becomes `conv1.layer.weight`, beside `conv1.adapter.down.weight`.
    """

    class Config(Component):
        """Settings of the adapters."""

        base: Annotated[Component, Family("model")]
        """The model into which they are inserted."""
        after: tuple[str, ...] | None = None
        """Patterns of the names of layers (`conv*`); all convolutions and dense layers but the last when not given."""
        width: Annotated[int, Field(ge=1)] = 8
        """Units of the bottleneck."""

    def __init__(self, config: Config) -> None:
        self._config = config

    def wrap(self, make: Callable[[Any], nn.Module]) -> nn.Module:
        """The base model with adapters; raises ConfigError for layers after which none can stand."""
        from decentralized.models.layers.adapter import Adapted, adapter_for  # imports torch

        base = make(self._config.base)
        for name in self._places(base):
            parent, _, own = name.rpartition(".")
            layer = base.get_submodule(name)
            adapter = adapter_for(layer, self._config.width)
            if adapter is None:
                raise ConfigError([f"[model] after: no adapter fits after {name}, a {type(layer).__name__}"])
            setattr(base.get_submodule(parent), own, Adapted(layer, adapter))
        return base

    def _places(self, base: nn.Module) -> list[str]:
        """The layers that the patterns name."""
        from decentralized.models.layers.adapter import adapter_for

        layers = [
            name for name, layer in base.named_modules() if name and next(layer.parameters(False), None) is not None
        ]
        if self._config.after is None:
            return [name for name in layers[:-1] if adapter_for(base.get_submodule(name), 1) is not None]
        for pattern in self._config.after:
            if not any(fnmatchcase(name, pattern) for name in layers):
                raise ConfigError([f"[model] after: no layer is named {pattern!r}; there are {', '.join(layers)}"])
        return [name for name in layers if any(fnmatchcase(name, pattern) for pattern in self._config.after)]
