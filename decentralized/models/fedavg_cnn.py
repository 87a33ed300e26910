"""The convolutional network of the FedAvg paper.

McMahan, Moore, Ramage, Hampson, Aguera y Arcas, "Communication-efficient learning of deep networks from decentralized
data", AISTATS 2017, section 3: 1,663,370 parameters on MNIST.
"""

from __future__ import annotations

from decentralized.lazy import torch
from decentralized.models.needs import need_images
from decentralized.settings import Component
from decentralized.types import Facts


class FedAvgCnn:
    """Two 5x5 convolutions (32 and 64 maps), each with 2x2 max pooling, a dense layer of 512 units and the output."""

    class Config(Component):
        """The network has no settings."""

    def __init__(self, config: Config) -> None:
        self._config = config

    def build(self, facts: Facts) -> torch.nn.Module:
        """(B, channels, height, width) float32 to (B, classes) logits; ConfigError for data other than images."""
        from decentralized.models.layers.two_convolutions import two_convolutions  # imports torch

        return two_convolutions(need_images(self._config.name, facts, smallest=4), 512, facts.classes)
