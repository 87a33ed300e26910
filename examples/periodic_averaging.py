"""Training with an exchange in every k-th round only: an example of an algorithm that is not part of the package.

Wang & Joshi, "Cooperative SGD: a unified framework for the design and analysis of local-update SGD algorithms", JMLR 22
(2021): X <- (X - lr G(X)) in most rounds and X <- W (X - lr G(X)) in every k-th, with the mixing matrix W, the nodes'
models as the rows of X and the local training step G. Every round is one of D-PSGD when k = 1.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, cast

from pydantic import Field

from decentralized import exchange
from decentralized.algorithms.settings import AlgorithmSettings
from decentralized.interfaces import Context
from decentralized.types import RoundReport, State

if TYPE_CHECKING:
    from decentralized.types import Vector


class PeriodicAveraging:
    """Train in every round; exchange and mix in every k-th."""

    class Config(AlgorithmSettings):
        """The number of rounds, and how many of them have an exchange."""

        every: Annotated[int, Field(ge=1)] = 4
        """Rounds from one exchange to the next."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._start_P: Vector | None = None  # the parameters after the last exchange, where the mixer needs them

    def rounds(self, context: Context, first: int = 1) -> Iterator[RoundReport]:
        """One report for each round; between two of them the driver evaluates and logs."""
        own_P = context.learner.vector()  # a view: it changes with the model
        for round in range(first, self._config.rounds + 1):
            if context.mixer.needs_start and (round - 1) % self._config.every == 0:
                self._start_P = own_P.clone()
            began = time.monotonic()
            metrics = context.learner.fit(round, context.channel.progress)
            trained = RoundReport(round, metrics, fit_s=time.monotonic() - began)
            start_P = own_P if self._start_P is None else self._start_P
            yield trained if round % self._config.every else _mixed(context, start_P, trained)

    def state(self) -> State:
        """What a check-point must hold, besides what the driver saves: learner, sharing rule, mixer and generators."""
        return {"start_P": self._start_P}

    def restore(self, state: State) -> None:
        """Before the first of the rounds that follow the check-point."""
        self._start_P = cast("Vector | None", state["start_P"])


def _mixed(context: Context, start_P: Vector, trained: RoundReport) -> RoundReport:
    """Exchange and mix after the training that `trained` reports. `start_P`: the parameters after the last exchange."""
    round, own_P = trained.round, context.learner.vector()
    neighbors = context.topology.neighbors(round)
    began, waited_s = time.monotonic(), context.channel.waited_s
    exchange.send(context, own_P, neighbors, round)
    received = exchange.receive(context, own_P, neighbors, round)
    mixed = context.mixer.mix(start_P, own_P, received, neighbors, context)
    context.sharing.commit(own_P, mixed.vector_P)
    context.learner.load(mixed.vector_P)
    context.topology.observe(round, mixed, context)
    wait_s = context.channel.waited_s - waited_s
    mix_s = time.monotonic() - began - wait_s
    return RoundReport(round, trained.metrics, trained.fit_s, wait_s, mix_s, mixed.weights)
