"""D-PSGD: decentralized parallel stochastic gradient descent.

Lian et al., "Can Decentralized Algorithms Outperform Centralized Algorithms?", NeurIPS 2017, Algorithm 1; the order of
the default is that of the communication study (Dresevic, EPFL 2022, section 3.2.1). With the mixing matrix W, the
nodes' models as the rows of X and the local training step G:

    order = "train-then-mix"   X <- W (X - lr G(X))       the communication study
    order = "mix-and-add"      X <- W X - lr G(X)         Lian et al.: the gradient is taken at the unmixed model

Departure: G may be several local steps or epochs of any optimizer. In the second order the unmixed model travels while
the node trains, and what training changed is added after mixing.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Literal

from decentralized import exchange
from decentralized.algorithms.pace import Pace
from decentralized.algorithms.settings import AlgorithmSettings
from decentralized.interfaces import Context
from decentralized.types import RoundReport


class DPSGD:
    """Train, exchange with all neighbors, mix."""

    class Config(AlgorithmSettings):
        changing_graphs = True

        order: Literal["train-then-mix", "mix-and-add"] = "train-then-mix"
        """Mix the trained models, or add what training changed to the mix of the untrained ones (Lian et al.)."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._pace = Pace()

    def rounds(self, context: Context, first: int = 1) -> Iterator[RoundReport]:
        for round in range(first, self._config.rounds + 1):
            yield self._round(round, context)

    def _round(self, round: int, context: Context) -> RoundReport:
        neighbors = context.topology.neighbors(round)
        learner, channel = context.learner, context.channel
        adds = self._config.order == "mix-and-add"
        own_P = learner.vector()
        start_P = own_P.clone() if adds or context.mixer.needs_start else own_P
        shared_P = start_P if adds else own_P
        if adds:
            exchange.send(context, shared_P, neighbors, round)
        began = time.monotonic()
        metrics = learner.fit(round, channel.progress)
        fit_s = time.monotonic() - began
        if not adds:
            exchange.send(context, shared_P, neighbors, round)
        began, waited_s = time.monotonic(), channel.waited_s
        received = exchange.receive(context, shared_P, neighbors, round)
        mixed = context.mixer.mix(start_P, shared_P, received, neighbors, context)
        context.sharing.commit(shared_P, mixed.vector_P)
        learner.load(mixed.vector_P + (own_P - start_P) if adds else mixed.vector_P)
        context.topology.observe(round, mixed, context)
        self._pace.keep(context, neighbors)
        wait_s = channel.waited_s - waited_s
        mix_s = time.monotonic() - began - wait_s
        return RoundReport(round, metrics, fit_s, wait_s, mix_s, mixed.weights)
