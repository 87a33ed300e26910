"""Training that is only looked at: a copy of the model takes some steps, and the run does not notice."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import numpy as np

from decentralized.data.dataset import DataSet, NodeParts
from decentralized.lazy import torch
from decentralized.learners.batches import EpochSampler
from decentralized.learners.descent import Descent
from decentralized.learners.settings import TrainingSettings
from decentralized.learners.sgd import SGD, Progress
from decentralized.parameters import nothing
from decentralized.seeding import beside
from decentralized.settings import Named

if TYPE_CHECKING:
    from torch import nn


class TrialSGD(SGD):
    """SGD that can try out more training: on the same batches each time, with torch's generator put back after it."""

    def __init__(
        self,
        config: TrainingSettings,
        template: nn.Module,
        data: DataSet,
        parts: NodeParts,
        generator: np.random.Generator,
        personal: Callable[[str], bool] = nothing,
    ) -> None:
        super().__init__(config, template, data, parts, generator, personal)
        self._trials = beside(generator)

    def _try(
        self, model: nn.Module, trained: Iterable[nn.Parameter], optimizer: Named, steps: int, progress: Progress
    ) -> None:
        """So many steps on these parameters of a copy of the model."""
        descent = Descent(self._config.model_copy(update={"schedule": None}), optimizer, trained)
        before = torch.get_rng_state()
        sampler = EpochSampler(self._parts.train, self._config.batch_size, copy.deepcopy(self._trials))
        model.train()
        for indices_B in sampler.steps(steps):
            descent.step(self._loss_of(model, indices_B))
            progress()
        torch.set_rng_state(before)
