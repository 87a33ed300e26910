"""Push-sum: decentralized training on directed graphs, which may change from round to round.

Assran et al., "Stochastic gradient push for distributed deep learning", ICML 2019, Algorithm 1; averaging alone is that
of Kempe et al., "Gossip-based computation of aggregate information", FOCS 2003. Node i has biased parameters x_i and a
weight w_i, 1 at the beginning. With d_j the number of nodes to which j sends in this round, itself not counted:

    x_i <- x_i - lr grad F(z_i)                    the gradient is taken at z_i (line 3)
    x_i <- sum_j p_j x_j,  w_i <- sum_j p_j w_j    p_j = 1 / (1 + d_j), j over the senders and i itself (lines 5 to 6)
    z_i <- x_i / w_i                               (line 7)

The matrix of the p_j is column-stochastic: each node divides what it has among its targets and itself, so the sums of x
and of w over all nodes do not change, and z comes to the mean of the x on every graph that is strongly connected over
time. Rows need not sum to 1: nobody has to know who else sends. z is the model that is trained and evaluated.

Departures: the local step may be several steps or epochs of any optimizer, and what they change of z is added to x. A
message that cannot be used takes its share of x and of w away: z stays a weighted mean.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from decentralized import exchange
from decentralized.algorithms.pace import Pace
from decentralized.algorithms.settings import AlgorithmSettings
from decentralized.errors import CodecError, ConfigError, StateError
from decentralized.interfaces import Context
from decentralized.lazy import torch
from decentralized.state_checks import need_entries
from decentralized.types import Graph, Message, Neighbors, Payload, Received, RoundReport, State

if TYPE_CHECKING:
    from decentralized.types import Vector

WEIGHT = "push_weight"  # the scalar that travels: p_j w_j


class PushSum:
    """Train at z, send shares of x and w, add up what comes. [mixing] has no part in it."""

    class Config(AlgorithmSettings):
        """Nothing besides the number of rounds."""

        ignores = ("mixing",)
        changing_graphs = True

    def __init__(self, config: Config) -> None:
        self._config = config
        self._pace = Pace()
        self._biased_P: Vector | None = None  # x; None until the first round
        self._weight = 1.0  # w

    def check(self, graph: Graph, experiment: Any) -> None:
        """Only whole vectors can be divided."""
        sharing = experiment.sharing
        if sharing.name != "full" or getattr(sharing, "payload", "values") != "values":
            raise ConfigError(['[sharing] push-sum needs name = "full" and payload = "values": all of x is divided'])

    def rounds(self, context: Context, first: int = 1) -> Iterator[RoundReport]:
        for round in range(first, self._config.rounds + 1):
            yield self._round(round, context)

    def _round(self, round: int, context: Context) -> RoundReport:
        learner, channel = context.learner, context.channel
        neighbors = context.topology.neighbors(round)
        biased_P = learner.vector().clone() if self._biased_P is None else self._biased_P
        before_P = learner.vector().clone()
        began = time.monotonic()
        metrics = learner.fit(round, channel.progress)
        fit_s = time.monotonic() - began
        biased_P.add_(learner.vector() - before_P)
        share = 1.0 / (1.0 + len(neighbors.send_to))
        biased_P.mul_(share)
        _send(context, biased_P, self._weight * share, neighbors, round)
        began, waited_s = time.monotonic(), channel.waited_s
        weights = {context.node: self._weight * share}
        for item in _receive(context, biased_P, neighbors, round):
            weights[item.sender] = float(item.scalars[WEIGHT])
            biased_P.add_(item.vector_P)
        self._biased_P, self._weight = biased_P, math.fsum(weights.values())
        learner.load(biased_P / self._weight)
        self._pace.keep(context, neighbors)
        wait_s = channel.waited_s - waited_s
        mix_s = time.monotonic() - began - wait_s
        shares = {node: weight / self._weight for node, weight in weights.items()}
        return RoundReport(round, {**metrics, WEIGHT: self._weight}, fit_s, wait_s, mix_s, shares)

    def state(self) -> State:
        """x and w; z is the model."""
        return {"biased": self._biased_P, "weight": self._weight}

    def restore(self, state: State) -> None:
        parts = need_entries(state, ("biased", "weight"), "[algorithm] push-sum")
        if type(parts["weight"]) is not float:
            raise StateError("[algorithm] push-sum: the state does not tell the weight")
        biased_P = parts["biased"]
        if biased_P is not None and not isinstance(biased_P, torch.Tensor):
            raise StateError("[algorithm] push-sum: the state does not hold the biased parameters")
        self._biased_P, self._weight = None if biased_P is None else biased_P.clone(), parts["weight"]


def _send(context: Context, share_P: Vector, weight: float, neighbors: Neighbors, round: int) -> None:
    packed = context.sharing.pack(share_P, None, round)
    payload = Payload(packed.buffers, {**packed.scalars, WEIGHT: weight})
    context.channel.broadcast(neighbors.send_to, Message(exchange.PARAMETERS, round, context.node, payload))


def _receive(context: Context, own_P: Vector, neighbors: Neighbors, round: int) -> Iterable[Received]:
    for _, message in context.channel.collect(exchange.PARAMETERS, round, neighbors.receive_from):
        if (item := exchange.read(context, own_P, message, _check_weight)) is not None:
            yield item


def _check_weight(item: Received) -> None:
    weight = item.scalars.get(WEIGHT)
    if type(weight) is not float or not math.isfinite(weight) or weight <= 0:
        raise CodecError(f"node {item.sender} did not say its weight")
