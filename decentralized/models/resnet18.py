"""A residual network with 18 layers.

He, Zhang, Ren, Sun, "Deep residual learning for image recognition", CVPR 2016, table 1. Departures: group normalization
by default (Wu & He, ECCV 2018), because batch statistics differ between nodes with different data (Hsieh et al., ICML
2020); and for images below 64 pixels a 3x3 first convolution without pooling.
"""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal

from pydantic import Field, field_validator

from decentralized.lazy import torch
from decentralized.models.needs import need_images
from decentralized.settings import Component
from decentralized.types import Facts

_LARGE = 64  # pixels a side from which on the paper's 7x7 stem is used
_NARROWEST = 64  # maps of the first stage; the others are multiples of it


class ResNet18:
    """Residual blocks of two 3x3 convolutions; 11,173,962 parameters on 32x32 colour images with 10 classes."""

    class Config(Component):
        """Settings of the network."""

        norm: Literal["group", "batch"] = "group"
        """Normalization; "batch" has running statistics, which are buffers."""
        groups: Annotated[int, Field(ge=1)] = 2
        """Groups of channels per group normalization; a divisor of 64."""

        @field_validator("groups")
        @classmethod
        def _divides(cls, groups: int) -> int:
            if _NARROWEST % groups:
                raise ValueError(f"{_NARROWEST} channels do not split into {groups} equal groups; use 1, 2, 4, ... 64")
            return groups

    def __init__(self, config: Config) -> None:
        self._config = config

    def build(self, facts: Facts) -> torch.nn.Module:
        """(B, channels, height, width) float32 to (B, classes) logits; ConfigError for data other than images."""
        from decentralized.models.layers import resnet  # imports torch

        channels, height, width = need_images(self._config.name, facts, smallest=8)
        norm: resnet.Norm = torch.nn.BatchNorm2d
        if self._config.norm == "group":
            norm = partial(torch.nn.GroupNorm, self._config.groups)
        stem = resnet.large_stem if min(height, width) >= _LARGE else resnet.small_stem
        return resnet.resnet18(stem(channels, norm), facts.classes, norm)
