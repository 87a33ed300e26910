"""A whole model of the node's own besides the one that is shared."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from decentralized.lazy import torch
from decentralized.learners.descent import Descent
from decentralized.learners.personal import PersonalOptimizer
from decentralized.parameters import FlatParameters
from decentralized.state_checks import need_entries, need_like
from decentralized.types import State

if TYPE_CHECKING:
    from torch import nn

    from decentralized.types import Vector


class SecondModel:
    """Starts as a copy of `template`. It never leaves the node, and its batch-norm statistics do not either."""

    def __init__(self, config: PersonalOptimizer, template: nn.Module) -> None:
        self.parameters = FlatParameters(template)
        self.model = self.parameters.model
        self.descent = Descent(config, config.second_optimizer, self.model.parameters())

    @property
    def vector(self) -> Vector:
        """All parameters, without buffers, in the order of the model."""
        return self.parameters.vector

    def pulled_to(self, anchor_P: Vector, strength: float) -> Callable[[], None]:
        """Adds the gradient of strength/2 ||v - anchor||^2 to the gradients that are there."""

        def pull() -> None:
            for parameter, slot in zip(self.model.parameters(), self.parameters.slots, strict=True):
                if parameter.grad is not None:
                    anchor = anchor_P[slot.offset : slot.offset + slot.size].view(slot.shape)
                    parameter.grad.add_(parameter.detach() - anchor, alpha=strength)

        return pull

    def state(self) -> State:
        return {"vector": self.vector, "buffers": dict(self.model.named_buffers()), "descent": self.descent.state()}

    def restore(self, state: State) -> None:
        parts = need_entries(state, ("vector", "buffers", "descent"), "second model")
        buffers = dict(self.model.named_buffers())
        kept = need_entries(parts["buffers"], buffers, "second model's buffers")
        with torch.no_grad():
            self.vector.copy_(need_like(parts["vector"], self.vector, "second model"))
            for name, buffer in buffers.items():
                buffer.copy_(need_like(kept[name], buffer, f"second model's buffer {name}"))
        self.descent.restore(parts["descent"])
