"""Per-FedAvg: the shared model is trained to be good after one step on a node's own data (MAML).

A. Fallah, A. Mokhtari, A. Ozdaglar, "Personalized federated learning: a meta-learning approach", NeurIPS 2020,
Algorithm 1; C. Finn, P. Abbeel, S. Levine, "Model-agnostic meta-learning", ICML 2017. Each step takes two mini-batches
D and D', so `local_epochs` passes take twice that many:

    w = u - alpha grad F_i(u; D)        u <- u - beta (I - alpha H_i(u; D)) grad F_i(w; D')

`gradient = "first-order"` leaves the Hessian H_i out (their FO variant); "exact" differentiates through the first step.
Departures: the Hessian is that of the first batch, not of a third one; a model's own penalty belongs to the second
loss only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import Field

from decentralized.data.dataset import DataSet, NodeParts
from decentralized.lazy import torch
from decentralized.learners.settings import TrainingSettings
from decentralized.learners.sgd import Progress
from decentralized.learners.trial import TrialSGD
from decentralized.parameters import FlatParameters
from decentralized.settings import Named

if TYPE_CHECKING:
    from torch import Tensor, nn


class Maml(TrialSGD):
    """Trains for the model after one step of adaptation; evaluates a copy that has taken some."""

    class Config(TrainingSettings):
        adaptation_lr: Annotated[float, Field(gt=0)] = 0.01
        """alpha: learning rate of the adaptation, which is plain SGD."""
        adaptation_steps: Annotated[int, Field(ge=0)] = 1
        """Mini-batches on which a copy is adapted before it is evaluated."""
        gradient: Literal["first-order", "exact"] = "first-order"
        """Without or with the second derivatives."""

    def __init__(
        self, config: Config, template: nn.Module, data: DataSet, parts: NodeParts, generator: np.random.Generator
    ) -> None:
        super().__init__(config, template, data, parts, generator)
        self._settings = config

    def evaluate(self, split: str, progress: Progress) -> Mapping[str, float]:
        """`loss`, and `accuracy` or `rmse`, of the adapted copy."""
        if not self._evaluator.has(split):
            return {}
        model = FlatParameters(self._model).model
        optimizer = Named.model_validate({"name": "SGD", "lr": self._settings.adaptation_lr})
        self._try(model, model.parameters(), optimizer, self._settings.adaptation_steps, progress)
        return self._evaluator.measure(model, split, progress)

    def _step(self, indices_B: np.ndarray) -> float:
        (second_B,) = self._sampler.steps(1)
        return self._descent.step(lambda: self._loss_when_adapted(indices_B, second_B))

    def _loss_when_adapted(self, first_B: np.ndarray, second_B: np.ndarray) -> Tensor:
        """On the second batch, of the model after a step on the first one; its gradient reaches the model itself."""
        own = {name: value for name, value in self._model.named_parameters() if value.requires_grad}
        exact = self._settings.gradient == "exact"
        gradients = torch.autograd.grad(
            self._loss_with(own, first_B), list(own.values()), create_graph=exact, allow_unused=True
        )
        adapted = {
            name: value if gradient is None else value - self._settings.adaptation_lr * gradient
            for (name, value), gradient in zip(own.items(), gradients, strict=True)
        }
        loss = self._loss_with(adapted, second_B)
        penalty: Tensor | None = getattr(self._model, "penalty", lambda: None)()
        return loss if penalty is None else loss + penalty

    def _loss_with(self, parameters: Mapping[str, Tensor], indices_B: np.ndarray) -> Tensor:
        """Of the model with these in place of its parameters."""
        inputs, targets_B = self._train.batch(indices_B)
        outputs = torch.func.functional_call(self._model, dict(parameters), (inputs,))
        return self._criterion(outputs, targets_B)
