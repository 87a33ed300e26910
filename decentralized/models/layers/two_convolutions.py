"""The small convolutional network that FedAvg, LEAF and many papers after them share."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn


def two_convolutions(image: tuple[int, int, int], dense: int, classes: int) -> nn.Module:
    """Two 5x5 convolutions (32 and 64 maps, same padding), each with ReLU and 2x2 max pooling, one dense layer, output.

    image: (channels, height, width), each side at least 4. Maps (B, *image) to (B, classes) logits.
    """
    channels, height, width = image
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(channels, 32, 5, padding=2),
            relu1=nn.ReLU(),
            pool1=nn.MaxPool2d(2),
            conv2=nn.Conv2d(32, 64, 5, padding=2),
            relu2=nn.ReLU(),
            pool2=nn.MaxPool2d(2),
            flatten=nn.Flatten(),
            dense=nn.Linear(64 * (height // 4) * (width // 4), dense),
            relu3=nn.ReLU(),
            output=nn.Linear(dense, classes),
        )
    )
