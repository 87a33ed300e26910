"""A problem whose gradients are known in closed form: squared error of a linear model in two parts, x.u + x.v."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from decentralized import build
from decentralized.data.dataset import DataSet, NodeParts, Samples
from decentralized.types import Facts

SAMPLES, WIDTH = 12, 3


class TwoParts(nn.Module):
    """(B, WIDTH) to (B,). v is registered first, so that shared-first order is not an accident."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(5)
        self.v = nn.Parameter(torch.randn(WIDTH, generator=generator))
        self.u = nn.Parameter(torch.randn(WIDTH, generator=generator))

    def forward(self, x_BD: torch.Tensor) -> torch.Tensor:
        return x_BD @ self.u + x_BD @ self.v


class OnePart(nn.Module):
    """(B, WIDTH) to (B,)."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(WIDTH, generator=torch.Generator().manual_seed(6)))

    def forward(self, x_BD: torch.Tensor) -> torch.Tensor:
        return x_BD @ self.w


class Problem:
    """One node's data; every mini-batch is all of it."""

    def __init__(self, seed: int = 1) -> None:
        generator = np.random.default_rng(seed)
        self.x = generator.normal(size=(SAMPLES, WIDTH))
        self.y = generator.normal(size=SAMPLES)
        self.hessian = 2 / SAMPLES * self.x.T @ self.x

    def gradient(self, w: np.ndarray) -> np.ndarray:
        """Of F(w) = 1/n ||x w - y||^2."""
        gradient: np.ndarray = 2 / SAMPLES * self.x.T @ (self.x @ w - self.y)
        return gradient

    def learner(self, template: nn.Module, name: str, **training: Any) -> Any:
        samples = Samples(self.x.astype(np.float32), self.y.astype(np.float32))
        data = DataSet("rating", samples, samples, Facts((WIDTH,)))
        everything = np.arange(SAMPLES)
        settings = {
            "name": name,
            "batch_size": SAMPLES,
            "loss": "MSELoss",
            "local_steps": 1,
            "optimizer": {"name": "SGD", "lr": 0.1},
            **training,
        }
        config = build.find("learner", name).Config.model_validate(settings)
        generator = np.random.Generator(np.random.PCG64(3))
        return build.create(
            "learner", config, template, data, NodeParts(everything, everything[:0], everything), generator
        )


def value(tensor: torch.Tensor) -> np.ndarray:
    return np.array(tensor.detach().tolist())


def nothing() -> None:
    """No progress to report."""
