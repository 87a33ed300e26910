"""LeNet-5 in its modern dress.

LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to document recognition", Proc. IEEE 86 (1998), fig. 2.
Departures: ReLU instead of tanh, max pooling instead of trained sub-sampling, every map of the second convolution sees
all six maps of the first, a linear output instead of radial basis functions.
"""

from __future__ import annotations

from collections import OrderedDict

from decentralized.lazy import torch
from decentralized.models.needs import mismatch, need_images
from decentralized.settings import Component
from decentralized.types import Facts

# The paper pads 28x28 digits to 32x32; after that both sizes give 16 maps of 5x5.
_PADDING = {(28, 28): 2, (32, 32): 0}


class LeNet:
    """Two 5x5 convolutions (6 and 16 maps), each with 2x2 max pooling, then dense layers of 120, 84 and the classes."""

    class Config(Component):
        """LeNet has no settings."""

    def __init__(self, config: Config) -> None:
        self._config = config

    def build(self, facts: Facts) -> torch.nn.Module:
        """(B, channels, side, side) float32 to (B, classes) logits; raises ConfigError unless side is 28 or 32."""
        channels, *size = need_images(self._config.name, facts)
        padding = _PADDING.get((size[0], size[1]))
        if padding is None:
            raise mismatch(self._config.name, "images of 28x28 or 32x32 pixels with class labels", facts)
        return torch.nn.Sequential(
            OrderedDict(
                conv1=torch.nn.Conv2d(channels, 6, 5, padding=padding),
                relu1=torch.nn.ReLU(),
                pool1=torch.nn.MaxPool2d(2),
                conv2=torch.nn.Conv2d(6, 16, 5),
                relu2=torch.nn.ReLU(),
                pool2=torch.nn.MaxPool2d(2),
                flatten=torch.nn.Flatten(),
                dense1=torch.nn.Linear(16 * 5 * 5, 120),
                relu3=torch.nn.ReLU(),
                dense2=torch.nn.Linear(120, 84),
                relu4=torch.nn.ReLU(),
                output=torch.nn.Linear(84, facts.classes),
            )
        )
