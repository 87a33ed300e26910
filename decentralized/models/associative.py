"""The weights of an associative network: a visible and a hidden layer, each connected with the whole other one.

Bouchra Pilet, Frey, Taiani 2019, section IV.2. The learner "hebbian" computes with it and trains it.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Annotated

from pydantic import Field, field_validator

from decentralized.lazy import torch
from decentralized.models.needs import need_features
from decentralized.settings import Component
from decentralized.types import Facts


class Associative:
    """Two weight matrices, hidden.weight (hidden, visible) and visible.weight (visible, hidden), in [-1, 1]."""

    class Config(Component):
        """Settings of the network."""

        hidden: Annotated[int, Field(ge=1)] = 400
        """Hidden neurons; there are as many visible ones as an input has numbers."""
        initial: tuple[float, float] = (-0.25, 0.25)
        """First weights, uniform between these two; the paper does not say which."""

        @field_validator("initial")
        @classmethod
        def _inside(cls, initial: tuple[float, float]) -> tuple[float, float]:
            if not -1 <= initial[0] <= initial[1] <= 1:
                raise ValueError("two numbers in increasing order, from -1 to 1")
            return initial

    def __init__(self, config: Config) -> None:
        self._config = config

    def build(self, facts: Facts) -> torch.nn.Module:
        """The two matrices, as dense layers without biases; raises ConfigError for data without classes."""
        visible, hidden = need_features(self._config.name, facts), self._config.hidden
        layers = OrderedDict(
            hidden=torch.nn.Linear(visible, hidden, bias=False), visible=torch.nn.Linear(hidden, visible, bias=False)
        )
        for layer in layers.values():
            torch.nn.init.uniform_(layer.weight, *self._config.initial)
        return torch.nn.ModuleDict(layers)
