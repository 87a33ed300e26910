"""A small residual module that can be inserted after any layer without changing what the model computes.

Legend: B samples, C channels or features, W units of the bottleneck.
"""

from __future__ import annotations

import torch
from torch import nn


class Adapter(nn.Module):
    """x + up(relu(down(x))), with `up` zero at first: it starts as the identity.

    down and up are dense layers, or 1x1 convolutions after a convolution.
    """

    def __init__(self, channels: int, width: int, images: bool) -> None:
        super().__init__()
        self.down: nn.Module = nn.Conv2d(channels, width, 1) if images else nn.Linear(channels, width)
        self.up: nn.Module = nn.Conv2d(width, channels, 1) if images else nn.Linear(width, channels)
        for parameter in self.up.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x_BC: torch.Tensor) -> torch.Tensor:
        change_BC: torch.Tensor = self.up(torch.relu(self.down(x_BC)))
        return x_BC + change_BC


class Adapted(nn.Module):
    """A layer and the adapter after it."""

    def __init__(self, layer: nn.Module, adapter: Adapter) -> None:
        super().__init__()
        self.layer, self.adapter = layer, adapter

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        outputs: torch.Tensor = self.adapter(self.layer(inputs))
        return outputs


def adapter_for(layer: nn.Module, width: int) -> Adapter | None:
    """An adapter of `width` units that fits the layer's output; None after other layers than these."""
    if isinstance(layer, nn.Conv2d):
        return Adapter(layer.out_channels, width, images=True)
    if isinstance(layer, nn.Linear):
        return Adapter(layer.out_features, width, images=False)
    return Adapter(layer.embedding_dim, width, images=False) if isinstance(layer, nn.Embedding) else None
