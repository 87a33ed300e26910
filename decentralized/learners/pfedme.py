"""pFedMe: personalization by Moreau envelopes.

C. T. Dinh, N. Tran, J. Nguyen, "Personalized federated learning with Moreau envelopes", NeurIPS 2020, Algorithm 1:

    theta ~ argmin F_i(theta) + lambda/2 ||theta - u||^2        by `inner_steps` steps on one mini-batch
    u <- u - eta lambda (u - theta)                             eta: the learning rate of `optimizer`

for each mini-batch. theta starts at u in each round and goes on from one mini-batch to the next. Departures: the server
mixes as the algorithm of the run says (beta = 1), and theta's batch-norm statistics are its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from decentralized.data.dataset import DataSet, NodeParts
from decentralized.learners.personal import PersonalOptimizer
from decentralized.learners.second_model import SecondModel
from decentralized.learners.sgd import SGD, Progress, arrays_of
from decentralized.state_checks import need_entries
from decentralized.types import State

if TYPE_CHECKING:
    from torch import nn


class PFedMe(SGD):
    """The shared model follows the personal one, which is found near it anew in each round and is evaluated."""

    class Config(PersonalOptimizer):
        regularization: Annotated[float, Field(gt=0)] = 15.0
        """lambda: weight of lambda/2 ||theta - u||^2."""
        inner_steps: Annotated[int, Field(ge=1)] = 5
        """Steps of the personal model on each mini-batch."""

    def __init__(
        self, config: Config, template: nn.Module, data: DataSet, parts: NodeParts, generator: np.random.Generator
    ) -> None:
        super().__init__(config, template, data, parts, generator)
        self._settings = config
        self._second = SecondModel(config, template)

    def fit(self, round: int, progress: Progress) -> Mapping[str, float]:
        """Train both models for one round; `train_loss` is the personal one's, before its last step on each batch."""
        second = self._second
        second.vector.copy_(self.vector()[: len(second.vector)])  # behind them are batch-norm statistics
        second.descent.begin_round()
        second.model.train()
        metrics = super().fit(round, progress)
        second.descent.end_round()
        return metrics

    def evaluate(self, split: str, progress: Progress) -> Mapping[str, float]:
        """`loss`, and `accuracy` or `rmse`, of the personal model as it was at the end of this node's training."""
        return self._evaluator.measure(self._second.model, split, progress)

    def arrays(self) -> Mapping[str, np.ndarray]:
        """The personal model's, and the shared one's as `shared.<name>`."""
        shared = {f"shared.{name}": array for name, array in super().arrays().items()}
        return {**arrays_of(self._second.model), **shared}

    def optimizer_bytes(self) -> int:
        return super().optimizer_bytes() + self._second.descent.bytes()

    def state(self) -> State:
        return {"model": super().state(), "second": self._second.state()}

    def restore(self, state: State) -> None:
        parts = need_entries(state, ("model", "second"), "pFedMe")
        super().restore(parts["model"])
        self._second.restore(parts["second"])

    def _step(self, indices_B: np.ndarray) -> float:
        second, strength = self._second, self._settings.regularization
        loss_of = self._loss_of(second.model, indices_B)
        pull = second.pulled_to(self.vector(), strength)
        loss = 0.0
        for _ in range(self._settings.inner_steps):
            loss = second.descent.step(loss_of, pull)
        for shared, own in zip(self._model.parameters(), second.model.parameters(), strict=True):
            shared.grad = strength * (shared.detach() - own.detach()) if shared.requires_grad else None
        self._descent.optimizer.step()
        return loss
