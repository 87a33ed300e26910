"""How a node trains: the [training] table."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from decentralized.settings import Component, Named


class TrainingSettings(Component):
    """Settings that every gradient-based learner has."""

    optimizer: Named = Named.model_validate({"name": "SGD", "lr": 0.01})
    """Any class of torch.optim, with its arguments."""
    loss: Named = Named(name="CrossEntropyLoss")
    """Any class of torch.nn that ends in Loss, with its arguments."""
    batch_size: Annotated[int, Field(ge=1)] = 32
    """Samples in a mini-batch."""
    local_steps: Annotated[int, Field(ge=0)] | None = None
    """Mini-batches in a round; they go on through the epoch where the last round stopped."""
    local_epochs: Annotated[int, Field(ge=0)] | None = None
    """Passes over the node's data in a round; 1 when local_steps is not given either."""
    schedule: Named | None = None
    """Any class of torch.optim.lr_scheduler, with its arguments; stepped once a round."""
    reset_optimizer: bool = False
    """Forget the optimizer's state (momentum, moments) at the start of each round."""
    same_start: bool = True
    """All nodes start from the same parameters, or each from its own."""
    buffers: Literal["averaged", "local"] = "averaged"
    """Batch-norm statistics are shared and mixed like parameters, or stay on their node."""
    threads: Annotated[int, Field(ge=1)] = 1
    """Processor threads of each node."""

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if self.local_steps is not None and self.local_epochs is not None:
            raise ValueError("give local_steps or local_epochs, not both")
        return self
