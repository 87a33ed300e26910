"""A network as parts of neurons, and where the parameters of neurons and of their connections stand in the flat vector.

Bouchra Pilet, Frey, Taiani, "Simple, Efficient and Convenient Decentralized Multi-Task Learning for Neural Networks",
2019, section II.1: the neurons of a part (a dense layer; the sibling channels of a convolution) can be permuted.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from decentralized.errors import ConfigError
from decentralized.lazy import torch
from decentralized.parameters import Slot

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Biases:
    """One parameter for each neuron of a part, from `offset` on: the paper's activation parameters q."""

    part: int
    offset: int


@dataclass(frozen=True)
class Weights:
    """The connections from one part to another: the paper's input weights w.

    Those from neuron s into neuron t are the `width` entries from offset + (t * neurons of source + s) * width on;
    there is one in dense layers, and as many as a kernel has entries between two channels.
    """

    source: int
    target: int
    offset: int
    width: int = 1


@dataclass(frozen=True)
class Layout:
    """The neurons of each part, the input first, and all parameters, in the order of the flat vector."""

    sizes: tuple[int, ...]
    parameters: tuple[Biases | Weights, ...]

    def structure(self) -> str:
        """A hash, equal exactly when slices of as many neurons have as many parameters, in the same order."""
        kinds = [
            ("b", item.part) if isinstance(item, Biases) else ("w", item.source, item.target, item.width)
            for item in self.parameters
        ]
        return hashlib.blake2b(repr((len(self.sizes), kinds)).encode(), digest_size=8).hexdigest()


@runtime_checkable
class Layered(Protocol):
    """A learner whose network is made of parts."""

    def layout(self) -> Layout:
        """How `vector()` is made up; raises ConfigError for a model that cannot be seen so."""


def chain_layout(model: nn.Module, slots: Sequence[Slot]) -> Layout:
    """The layout of dense layers and convolutions that follow one another; raises ConfigError for other models.

    A matrix or a kernel begins the next part, and the vectors after it hold one parameter for each of its neurons.
    """
    if not isinstance(model, torch.nn.Sequential) or any(len(list(child.children())) for child in model):
        raise ConfigError([f"[model] {type(model).__name__}: partial models need layers that follow one another"])
    sizes: list[int] = []
    parameters: list[Biases | Weights] = []
    for slot in slots:
        neurons, inputs = slot.shape[0], math.prod(slot.shape[1:])
        if len(slot.shape) == 1:
            if not sizes or neurons != sizes[-1]:
                raise ConfigError([f"[model] {slot.name}: not one parameter for each neuron of a layer"])
            parameters.append(Biases(len(sizes) - 1, slot.offset))
            continue
        sizes = sizes or [slot.shape[1]]
        if inputs % sizes[-1]:
            raise ConfigError([f"[model] {slot.name}: {inputs} inputs from {sizes[-1]} neurons"])
        parameters.append(Weights(len(sizes) - 1, len(sizes), slot.offset, inputs // sizes[-1]))
        sizes.append(neurons)
    return Layout(tuple(sizes), tuple(parameters))
