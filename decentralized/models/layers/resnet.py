"""The parts of a residual network with 18 layers (He et al. 2016, table 1).

Legend: B samples, C channels, H height, W width.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import torch
from torch import nn

Norm = Callable[[int], nn.Module]  # channels to a normalization layer


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut, which is a strided 1x1 convolution where the shape changes."""

    def __init__(self, channels: int, maps: int, stride: int, norm: Norm) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, maps, 3, stride=stride, padding=1, bias=False)
        self.norm1 = norm(maps)
        self.conv2 = nn.Conv2d(maps, maps, 3, padding=1, bias=False)
        self.norm2 = norm(maps)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels != maps:
            self.shortcut = nn.Sequential(nn.Conv2d(channels, maps, 1, stride=stride, bias=False), norm(maps))

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        inner_BCHW = torch.relu(self.norm1(self.conv1(x_BCHW)))
        inner_BCHW = self.norm2(self.conv2(inner_BCHW))
        return torch.relu(inner_BCHW + self.shortcut(x_BCHW))


def small_stem(channels: int, norm: Norm) -> nn.Module:
    """The first layer for small images: one 3x3 convolution that keeps the size."""
    return nn.Sequential(nn.Conv2d(channels, 64, 3, padding=1, bias=False), norm(64), nn.ReLU())


def large_stem(channels: int, norm: Norm) -> nn.Module:
    """The first layers of the paper: a 7x7 convolution and a pooling that leave a quarter of each side."""
    return nn.Sequential(
        nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False),
        norm(64),
        nn.ReLU(),
        nn.MaxPool2d(3, stride=2, padding=1),
    )


def resnet18(stem: nn.Module, classes: int, norm: Norm) -> nn.Module:
    """Four stages of two blocks with 64, 128, 256, 512 maps, the mean over the image, and a linear output."""

    def stage(channels: int, maps: int, stride: int) -> nn.Module:
        return nn.Sequential(BasicBlock(channels, maps, stride, norm), BasicBlock(maps, maps, 1, norm))

    return nn.Sequential(
        OrderedDict(
            stem=stem,
            stage1=stage(64, 64, 1),
            stage2=stage(64, 128, 2),
            stage3=stage(128, 256, 2),
            stage4=stage(256, 512, 2),
            pool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            output=nn.Linear(512, classes),
        )
    )
