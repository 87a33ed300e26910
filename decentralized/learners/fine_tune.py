"""Fine-tuning: train one model together, and let each node adapt it to its own data at the end.

The simplest baseline of personalization; see Yu, Bagdasaryan, Shmatikov, "Salvaging federated learning by local
adaptation", 2020. Here each evaluation trains a copy, on the same mini-batches each time, and the run goes on with the
model as it was. So the last evaluation is that of fine-tuning at the end.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from decentralized.data.dataset import DataSet, NodeParts
from decentralized.learners.personal import PersonalOptimizer
from decentralized.learners.sgd import Progress
from decentralized.learners.trial import TrialSGD
from decentralized.parameters import FlatParameters

if TYPE_CHECKING:
    from torch import nn


class FineTune(TrialSGD):
    """Trains as `sgd` does, the same bits; evaluates a copy that has been trained further on the node's own data."""

    class Config(PersonalOptimizer):
        fine_tuning_steps: Annotated[int, Field(ge=0)] = 20
        """Mini-batches that the copy takes."""

    def __init__(
        self, config: Config, template: nn.Module, data: DataSet, parts: NodeParts, generator: np.random.Generator
    ) -> None:
        super().__init__(config, template, data, parts, generator)
        self._settings = config

    def evaluate(self, split: str, progress: Progress) -> Mapping[str, float]:
        """`loss`, and `accuracy` or `rmse`, of the copy; as `shared_...` of the model itself."""
        if not self._evaluator.has(split):
            return {}
        shared = super().evaluate(split, progress)
        model = FlatParameters(self._model).model
        steps = self._settings.fine_tuning_steps
        self._try(model, model.parameters(), self._settings.second_optimizer, steps, progress)
        tuned = self._evaluator.measure(model, split, progress)
        return {**tuned, **{f"shared_{name}": value for name, value in shared.items()}}
