"""The convolutional network for FEMNIST.

Caldas et al., "LEAF: a benchmark for federated settings" (2018), uses a dense layer of 2048 units: 6,603,710 parameters
with 62 classes. The communication study (Dresevic, EPFL 2022, section 4.2) has 1.6 million parameters, which is 512
units: 1,690,046.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from decentralized.lazy import torch
from decentralized.models.needs import need_images
from decentralized.settings import Component
from decentralized.types import Facts


class FemnistCnn:
    """Two 5x5 convolutions (32 and 64 maps), each with 2x2 max pooling, a dense layer and the output."""

    class Config(Component):
        """Settings of the network."""

        dense: Annotated[int, Field(ge=1)] = 512
        """Width of the dense layer, in units; 2048 is LEAF's own."""

    def __init__(self, config: Config) -> None:
        self._config = config

    def build(self, facts: Facts) -> torch.nn.Module:
        """(B, channels, height, width) float32 to (B, classes) logits; ConfigError for data other than images."""
        from decentralized.models.layers.two_convolutions import two_convolutions  # imports torch

        image = need_images(self._config.name, facts, smallest=4)
        return two_convolutions(image, self._config.dense, facts.classes)
