"""Two models whose outputs are added."""

from __future__ import annotations

import torch
from torch import nn


class CombinedNetwork(nn.Module):
    """`shared`(x) + `local`(x)."""

    def __init__(self, shared: nn.Module, local: nn.Module) -> None:
        super().__init__()
        self.shared, self.local = shared, local

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        outputs: torch.Tensor = self.shared(inputs) + self.local(inputs)
        return outputs

    def personal_parts(self) -> dict[str, tuple[str, ...]]:
        return {"local-model": ("local.*",)}

    def penalty(self) -> torch.Tensor | None:
        """The sum of both models' own."""
        penalties = [getattr(model, "penalty", lambda: None)() for model in (self.shared, self.local)]
        given: list[torch.Tensor] = [penalty for penalty in penalties if penalty is not None]
        return torch.stack(given).sum() if given else None
