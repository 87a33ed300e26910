"""APFL: adaptive personalized federated learning.

Y. Deng, M. M. Kamani, M. Mahdavi, "Adaptive personalized federated learning", 2020, Algorithm 1. With the
personal model w_i = alpha v_i + (1 - alpha) u, each mini-batch gives one step of both:

    u <- u - eta grad F_i(u)        v_i <- v_i - eta grad_v F_i(w_i) = v_i - eta alpha grad F_i(w_i)

and alpha may be learned: with the first mini-batch of a round, alpha <- alpha - eta_alpha <v_i - u, grad F_i(w_i)>,
kept in [0, 1]. Departure: batch-norm statistics of w_i are its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from decentralized.data.dataset import DataSet, NodeParts
from decentralized.errors import StateError
from decentralized.lazy import torch
from decentralized.learners.descent import Descent
from decentralized.learners.personal import PersonalOptimizer
from decentralized.learners.second_model import SecondModel
from decentralized.learners.sgd import SGD, Progress, arrays_of
from decentralized.state_checks import need_entries, need_like
from decentralized.types import State

if TYPE_CHECKING:
    from torch import nn

    from decentralized.types import Vector


class APFL(SGD):
    """The shared model and one of the node's own; a mixture of both is evaluated."""

    class Config(PersonalOptimizer):
        alpha: Annotated[float, Field(ge=0, le=1)] = 0.5
        """Weight of the node's own model in the mixture; of the first round if it is learned."""
        alpha_lr: Annotated[float, Field(ge=0)] = 0.0
        """eta_alpha: learning rate of alpha; 0 keeps it as it is."""

    def __init__(
        self, config: Config, template: nn.Module, data: DataSet, parts: NodeParts, generator: np.random.Generator
    ) -> None:
        super().__init__(config, template, data, parts, generator)
        self._settings = config
        self._mixture = SecondModel(config, template)
        self._own = torch.nn.Parameter(self._mixture.vector.clone())
        self._own_descent = Descent(config, config.second_optimizer, [self._own])
        self._alpha = config.alpha
        self._adapts = False

    def fit(self, round: int, progress: Progress) -> Mapping[str, float]:
        """Train both models for one round: `train_loss` is the shared one's. `alpha` as it is then."""
        self._own_descent.begin_round()
        self._mixture.model.train()
        self._adapts = self._settings.alpha_lr > 0
        metrics = super().fit(round, progress)
        self._own_descent.end_round()
        return {**metrics, "alpha": self._alpha}

    def evaluate(self, split: str, progress: Progress) -> Mapping[str, float]:
        """`loss`, and `accuracy` or `rmse`, of the mixture."""
        self._mix()
        return self._evaluator.measure(self._mixture.model, split, progress)

    def arrays(self) -> Mapping[str, np.ndarray]:
        """The mixture's, and the shared model's as `shared.<name>`."""
        self._mix()
        shared = {f"shared.{name}": array for name, array in super().arrays().items()}
        return {**arrays_of(self._mixture.model), **shared}

    def optimizer_bytes(self) -> int:
        return super().optimizer_bytes() + self._own_descent.bytes()

    def state(self) -> State:
        return {
            "model": super().state(),
            "mixture": self._mixture.state(),
            "own": self._own.detach(),
            "descent": self._own_descent.state(),
            "alpha": self._alpha,
        }

    def restore(self, state: State) -> None:
        parts = need_entries(state, ("model", "mixture", "own", "descent", "alpha"), "APFL")
        own_P, alpha = self._own.detach(), parts["alpha"]
        if not isinstance(alpha, float):
            raise StateError("APFL: the state does not say alpha")
        super().restore(parts["model"])
        self._mixture.restore(parts["mixture"])
        own_P.copy_(need_like(parts["own"], own_P, "APFL's own model"))
        self._own_descent.restore(parts["descent"])
        self._alpha = alpha

    def _step(self, indices_B: np.ndarray) -> float:
        """The node's own model first: both steps are from the values before this batch."""
        self._mix()
        gradient_P = self._gradient(indices_B)
        self._own.grad = self._alpha * gradient_P
        if self._adapts:
            slope = float((self._own.detach() - self._shared_P()) @ gradient_P)
            self._alpha = min(1.0, max(0.0, self._alpha - self._settings.alpha_lr * slope))
            self._adapts = False
        self._own_descent.optimizer.step()
        return super()._step(indices_B)

    def _gradient(self, indices_B: np.ndarray) -> Vector:
        """Of the mixture's loss, flat."""
        parameters = list(self._mixture.model.parameters())
        self._mixture.model.zero_grad()
        self._loss_of(self._mixture.model, indices_B)().backward()  # type: ignore[no-untyped-call]
        flat = [torch.zeros_like(part) if part.grad is None else part.grad.to_dense() for part in parameters]
        return torch.cat([part.reshape(-1) for part in flat])

    def _mix(self) -> None:
        """Makes the mixture from both models as they are."""
        torch.lerp(self._shared_P(), self._own.detach(), self._alpha, out=self._mixture.vector)

    def _shared_P(self) -> Vector:
        """The shared parameters, without the batch-norm statistics that may follow them."""
        return self.vector()[: len(self._mixture.vector)]
