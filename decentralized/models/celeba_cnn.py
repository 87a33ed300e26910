"""The convolutional network for CelebA: four blocks of 32 maps on 84x84 images.

Plain, it is the network of the communication study (Dresevic, EPFL 2022, section 4.2): 28,640 parameters in the
convolutions, close to the 28 000 that the study prints, and 1,602 in the output. With batch normalization it is LEAF's
own (Caldas et al. 2018), whose pooling also keeps the last odd row and column: 31,202 parameters.
"""

from __future__ import annotations

from collections import OrderedDict

from decentralized.lazy import torch
from decentralized.models.needs import need_images
from decentralized.settings import Component
from decentralized.types import Facts

_BLOCKS = 4
_MAPS = 32


class CelebaCnn:
    """Four 3x3 convolutions with same padding, each with 2x2 max pooling and ReLU, then a linear output."""

    class Config(Component):
        """Settings of the network."""

        batch_norm: bool = False
        """Normalize after each convolution, as LEAF does; its running statistics are buffers."""

    def __init__(self, config: Config) -> None:
        self._config = config

    def build(self, facts: Facts) -> torch.nn.Module:
        """(B, channels, height, width) float32 to (B, classes) logits; ConfigError for data other than images."""
        channels, *size = need_images(self._config.name, facts, smallest=2**_BLOCKS)
        layers: OrderedDict[str, torch.nn.Module] = OrderedDict()
        for block in range(1, _BLOCKS + 1):
            layers[f"conv{block}"] = torch.nn.Conv2d(channels, _MAPS, 3, padding=1)
            if self._config.batch_norm:
                layers[f"norm{block}"] = torch.nn.BatchNorm2d(_MAPS)
            layers[f"pool{block}"] = torch.nn.MaxPool2d(2, ceil_mode=self._config.batch_norm)
            layers[f"relu{block}"] = torch.nn.ReLU()
            channels = _MAPS
            size = [(side + 1) // 2 if self._config.batch_norm else side // 2 for side in size]
        layers["flatten"] = torch.nn.Flatten()
        layers["output"] = torch.nn.Linear(_MAPS * size[0] * size[1], facts.classes)
        return torch.nn.Sequential(layers)
