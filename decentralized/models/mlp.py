"""A multi-layer perceptron: dense layers with one activation between them."""

from __future__ import annotations

from collections import OrderedDict
from typing import Annotated, Literal

from pydantic import Field

from decentralized.lazy import torch
from decentralized.models.needs import need_features
from decentralized.settings import Component
from decentralized.types import Facts


class Mlp:
    """Flattens each sample, then dense layers; hidden = () is multinomial logistic regression."""

    class Config(Component):
        """Settings of the perceptron."""

        hidden: tuple[Annotated[int, Field(ge=1)], ...] = (64,)
        """Widths of the hidden layers, in units."""
        activation: Literal["relu", "tanh", "sigmoid"] = "relu"
        """What follows each hidden layer."""

    def __init__(self, config: Config) -> None:
        self._config = config

    def build(self, facts: Facts) -> torch.nn.Module:
        """(B, *input_shape) float32 to (B, classes) logits; raises ConfigError for ratings or text."""
        width = need_features(self._config.name, facts)
        activation = {"relu": torch.nn.ReLU, "tanh": torch.nn.Tanh, "sigmoid": torch.nn.Sigmoid}[
            self._config.activation
        ]
        layers: OrderedDict[str, torch.nn.Module] = OrderedDict(flatten=torch.nn.Flatten())
        for number, units in enumerate(self._config.hidden, start=1):
            layers[f"dense{number}"] = torch.nn.Linear(width, units)
            layers[f"activation{number}"] = activation()
            width = units
        layers["output"] = torch.nn.Linear(width, facts.classes)
        return torch.nn.Sequential(layers)
