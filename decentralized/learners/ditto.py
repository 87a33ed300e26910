"""Ditto: a personal model that is pulled towards the shared one.

T. Li, S. Hu, A. Beirami, V. Smith, "Ditto: fair and robust federated learning through personalization", ICML 2021,
Algorithm 1. The shared model u is trained as without personalization; the personal one takes the steps

    v_i <- v_i - eta (grad F_i(v_i) + lambda (v_i - u))        u as it was at the start of the round

Departures: v_i is trained after u, in batches of its own, so that u has the bits of a run without Ditto (unless the
model draws from torch's generator, as dropout does); batch-norm statistics of v_i are its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from decentralized.data.dataset import DataSet, NodeParts
from decentralized.learners.batches import EpochSampler
from decentralized.learners.personal import PersonalSettings
from decentralized.learners.second_model import SecondModel
from decentralized.learners.sgd import SGD, Progress, arrays_of, descend
from decentralized.seeding import beside
from decentralized.state_checks import need_entries
from decentralized.types import State

if TYPE_CHECKING:
    from torch import nn


class Ditto(SGD):
    """Two whole models: the shared one travels, the personal one stays near it and is evaluated."""

    class Config(PersonalSettings):
        regularization: Annotated[float, Field(ge=0)] = 0.1
        """lambda: weight of lambda/2 ||v - u||^2; 0 is training alone."""

    def __init__(
        self, config: Config, template: nn.Module, data: DataSet, parts: NodeParts, generator: np.random.Generator
    ) -> None:
        super().__init__(config, template, data, parts, generator)
        self._settings = config
        self._second = SecondModel(config, template)
        self._second_sampler = EpochSampler(parts.train, config.batch_size, beside(generator))

    def fit(self, round: int, progress: Progress) -> Mapping[str, float]:
        """Train both models for one round: `train_loss` is the shared one's, `personal_loss` the personal one's."""
        second = self._second
        anchor_P = self.vector()[: len(second.vector)].clone()  # behind them are batch-norm statistics
        metrics = super().fit(round, progress)
        second.descent.begin_round()
        second.model.train()
        pull = second.pulled_to(anchor_P, self._settings.regularization)
        batches = self._second_sampler.steps(self._count(*self._settings.personal_length))
        personal = descend(
            batches, lambda indices_B: second.descent.step(self._loss_of(second.model, indices_B), pull), progress,
            "personal_loss",
        )  # fmt: skip
        second.descent.end_round()
        return {**metrics, **personal}

    def evaluate(self, split: str, progress: Progress) -> Mapping[str, float]:
        """`loss`, and `accuracy` or `rmse`, of the personal model."""
        return self._evaluator.measure(self._second.model, split, progress)

    def arrays(self) -> Mapping[str, np.ndarray]:
        """The personal model's, and the shared one's as `shared.<name>`."""
        shared = {f"shared.{name}": array for name, array in super().arrays().items()}
        return {**arrays_of(self._second.model), **shared}

    def optimizer_bytes(self) -> int:
        return super().optimizer_bytes() + self._second.descent.bytes()

    def state(self) -> State:
        return {"model": super().state(), "second": self._second.state(), "batches": self._second_sampler.state()}

    def restore(self, state: State) -> None:
        parts = need_entries(state, ("model", "second", "batches"), "Ditto")
        super().restore(parts["model"])
        self._second.restore(parts["second"])
        self._second_sampler.restore(parts["batches"])
