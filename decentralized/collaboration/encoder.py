"""A model's parameters as a short list of numbers: the encoder of meta-L2C (Li et al., CVPR 2022, equations 7 and 8).

Each layer of the model has a network of two dense layers of its own. It turns the weights of each filter or output
channel of that layer into `outputs` numbers, and all numbers of all layers together represent the model:

    phi_l = [E_l(theta_(l,1)), ..., E_l(theta_(l,C))]        E(theta) = [phi_1, ..., phi_L]

A channel is a row of the weight tensor, reshaped to (C, -1), with its bias behind it. The paper says neither whether
the bias belongs to it, nor what comes between the two dense layers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from decentralized.errors import ConfigError
from decentralized.lazy import torch
from decentralized.parameters import Slot
from decentralized.seeding import numpy_generator

if TYPE_CHECKING:
    from torch import Tensor

    from decentralized.types import Vector

TINY = 1e-12  # the length of a representation of zeros, which stays one
PARTS = ("first.weight", "first.bias", "second.weight", "second.bias")


@runtime_checkable
class Slotted(Protocol):
    """A learner that knows where its tensors lie in its vector."""

    def slots(self) -> Sequence[Slot]:
        """Those of the trained parameters in `Learner.vector`, in order; statistics are none."""


@dataclass(frozen=True)
class Layer:
    """Tensors of the model with the same number of channels, which are encoded together."""

    name: str
    slots: tuple[Slot, ...]

    @property
    def channels(self) -> int:
        return _channels(self.slots[0])

    @property
    def width(self) -> int:
        """Numbers that belong to one channel."""
        return sum(slot.size for slot in self.slots) // self.channels

    def rows(self, vectors: Sequence[Vector]) -> Tensor:
        """The channels of some models, (models, channels, width)."""
        parts = [
            torch.stack([vector_P[slot.offset : slot.offset + slot.size] for vector_P in vectors])
            for slot in self.slots
        ]
        return torch.cat([part.view(len(vectors), self.channels, -1) for part in parts], dim=2)


def layers_of(slots: Sequence[Slot]) -> list[Layer]:
    """The parameters of one module are a layer if they have the same number of channels; else each is one."""
    layers = []
    for module, group in groupby(slots, lambda slot: slot.name.rpartition(".")[0]):
        members = tuple(group)
        if len({_channels(slot) for slot in members}) == 1:
            layers.append(Layer(module or "model", members))
        else:
            layers += [Layer(slot.name, (slot,)) for slot in members]
    return layers


def _channels(slot: Slot) -> int:
    return slot.shape[0] if slot.shape else 1


class Encoder:
    """The networks of all layers. Their parameters (E,) are one flat vector, which the caller keeps.

    `activation` is the name of a function of torch. All representations are scaled to `length`, if there is one.
    """

    def __init__(
        self, layers: Sequence[Layer], hidden: int, outputs: int, activation: str, length: float | None = None
    ) -> None:
        self._layers, self._activation, self._length = list(layers), activation, length
        self.shapes: dict[str, tuple[int, ...]] = {}
        for layer in self._layers:
            shapes = ((hidden, layer.width), (hidden,), (outputs, hidden), (outputs,))
            self.shapes |= {f"{layer.name}.{part}": shape for part, shape in zip(PARTS, shapes, strict=True)}
        self.numbers = outputs * sum(layer.channels for layer in self._layers)

    def initial(self, seed: int) -> Tensor:
        """Fresh parameters (E,) float32, the same on all nodes, as torch's dense layers: within +-1/sqrt(inputs)."""
        generator = numpy_generator(seed, "encoder")
        inputs = 1
        parts = []
        for name, shape in self.shapes.items():
            inputs = shape[1] if name.endswith("weight") else inputs  # a bias follows its weight
            parts.append(generator.uniform(-(inputs**-0.5), inputs**-0.5, int(np.prod(shape))))
        return torch.from_numpy(np.concatenate(parts).astype(np.float32))

    def encode(self, parameters_E: Tensor, vectors: Sequence[Vector]) -> Tensor:
        """The representations of some models, (models, numbers)."""
        tensors = self._tensors(parameters_E)
        activation = getattr(torch, self._activation)
        codes = []
        for layer in self._layers:
            first, first_bias, second, second_bias = (tensors[f"{layer.name}.{part}"] for part in PARTS)
            hidden = activation(layer.rows(vectors).to(first.dtype) @ first.T + first_bias)
            codes.append((hidden @ second.T + second_bias).flatten(start_dim=1))
        codes_nD = torch.cat(codes, dim=1)
        if self._length is None:
            return codes_nD
        lengths_n1: Tensor = codes_nD.norm(dim=1, keepdim=True).clamp_min(TINY)
        return codes_nD * (self._length / lengths_n1)

    def arrays(self, parameters_E: Tensor) -> dict[str, np.ndarray]:
        """The parameters by name."""
        return {name: tensor.detach().numpy() for name, tensor in self._tensors(parameters_E).items()}

    def flat(self, arrays: Mapping[str, np.ndarray]) -> Tensor:
        """The parameters (E,) float32 that `arrays` gave; raises ConfigError for those of another encoder."""
        wrong = [f"{name} is missing" for name in self.shapes if name not in arrays]
        wrong += [f"{name} is not of this model" for name in arrays if name not in self.shapes]
        wrong += [
            f"{name} is {arrays[name].shape}, here {shape}"
            for name, shape in self.shapes.items()
            if name in arrays and arrays[name].shape != shape
        ]
        if wrong:
            raise ConfigError([f"[algorithm] transfer: this encoder is of other layers: {'; '.join(wrong)}"])
        flat: np.ndarray = np.concatenate([arrays[name].reshape(-1) for name in self.shapes])
        return torch.from_numpy(flat.astype(np.float32))

    def _tensors(self, parameters_E: Tensor) -> dict[str, Tensor]:
        return dict(self._split(parameters_E))

    def _split(self, parameters_E: Tensor) -> Iterator[tuple[str, Tensor]]:
        sizes = [int(np.prod(shape)) for shape in self.shapes.values()]
        for (name, shape), part in zip(self.shapes.items(), torch.split(parameters_E, sizes), strict=True):
            yield name, part.view(shape)
