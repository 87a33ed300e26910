"""CGA: cross-gradient aggregation.

Esfandiari et al., "Cross-Gradient Aggregation for Decentralized Learning from Non-IID Data", ICML 2021, Algorithm 1.
In each round node i sends its parameters x_i to its neighbors; each neighbor j returns g_ij, the gradient of its own
loss, on its own mini-batch, at x_i; and with g_i, the gradient of its own loss there,

    h_i = the direction nearest to g_i with <h_i, g_ij> >= 0 for all j     (see gradient_cone.py)
    v_i <- beta v_i - alpha h_i
    x_i <- sum_j w_ij x_j + v_i

The momentum beta and the learning rate alpha are those of the optimizer in [training], the w_ij those of [mixing].

With several local steps a round, which Li et al. (CVPR 2022) try without saying how, the neighbors are asked once: all
steps of the round stay within the directions that the g_ij of its start allow, each on a new mini-batch, and the
parameters are mixed once. One step is the algorithm of the paper.

Departures: gradients are taken in evaluation mode and without the model's own penalty; the paper's own program solves a
problem of its own for each layer, weighs the gradients by w_ij, and asks for z >= 0.5, which `margin` can do.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field

from decentralized import exchange
from decentralized.algorithms.gradient_cone import projected
from decentralized.algorithms.settings import AlgorithmSettings
from decentralized.errors import ConfigError, TopologyError
from decentralized.interfaces import Context, Steerable
from decentralized.types import Graph, Message, Neighbors, Payload, Received, RoundReport

if TYPE_CHECKING:
    from decentralized.types import Vector

GRADIENT = "cross gradient"


class CGA:
    """Steps down the own gradient as far as no neighbor's gradient speaks against it, and mixing."""

    class Config(AlgorithmSettings):
        margin: Annotated[float, Field(ge=0)] = 0.0
        """The least weight of a neighbor's gradient (z >= margin): 0 in the paper, 0.5 in its authors' program."""

        def vectors_held(self, neighbors: int) -> int:
            """Answers until they are confirmed, each another one; the start, three for a gradient, three to project."""
            return neighbors + 7

    def __init__(self, config: Config) -> None:
        import scipy.optimize  # type: ignore[import-untyped]  # noqa: F401 - the solver's, before nodes are forked

        self._config = config

    def check(self, graph: Graph, experiment: Any) -> None:
        """Gradients go back to who sent the parameters, and both are whole."""
        if not graph.undirected:
            raise TopologyError("cga: gradients go back to who sent its parameters; some edges go one way only")
        wrong = []
        if experiment.sharing.name != "full" or getattr(experiment.sharing, "payload", "values") != "values":
            wrong.append('[sharing] cga sends whole models and gradients: name = "full", payload = "values"')
        if experiment.network.on_peer_loss == "continue":  # what it returned to one neighbor helps no other
            wrong.append('[network] on_peer_loss: cga needs "abort" or "wait"')
        if wrong:
            raise ConfigError(wrong)

    def rounds(self, context: Context, first: int = 1) -> Iterator[RoundReport]:
        learner = context.learner
        if not isinstance(learner, Steerable):
            raise ConfigError([f"[training] cga needs a learner with gradients; {type(learner).__name__} has none"])
        for round in range(first, self._config.rounds + 1):
            yield self._round(round, context, learner)

    def _round(self, round: int, context: Context, learner: Steerable) -> RoundReport:
        neighbors, channel = context.topology.neighbors(round), context.channel
        start_P, batch_B = context.learner.vector().clone(), learner.batch()
        exchange.send(context, start_P, neighbors, round)
        began, waited_s = time.monotonic(), channel.waited_s
        received = _answered(context, learner, start_P, neighbors, round, batch_B)
        mixed = context.mixer.mix(start_P, start_P, received, neighbors, context)
        crossing = list(_cross_gradients(context, start_P, neighbors, round))
        wait_s = channel.waited_s - waited_s
        mix_s = time.monotonic() - began - wait_s
        began = time.monotonic()
        losses: list[float] = []
        directions = self._directions(context.learner.vector(), learner, crossing, batch_B, losses)
        metrics = learner.follow(directions, channel.progress)
        context.learner.load(mixed.vector_P + (context.learner.vector() - start_P))
        context.topology.observe(round, mixed, context)
        fit_s = time.monotonic() - began
        trained = {"train_loss": float(np.mean(losses))} if losses else {}
        return RoundReport(round, {**trained, **metrics}, fit_s, wait_s, mix_s, mixed.weights)

    def _directions(
        self, own_P: Vector, learner: Steerable, crossing: list[Vector], batch_B: np.ndarray, losses: list[float]
    ) -> Iterator[Vector]:
        """For each local step of the round the direction at `own_P`, which moves; the losses are appended."""
        for step in range(learner.batches_per_round()):
            loss, gradient_P = learner.gradient_at(own_P, "train", learner.batch() if step else batch_B)
            losses.append(loss)
            yield projected(gradient_P, crossing, self._config.margin)


def _answered(
    context: Context, learner: Steerable, own_P: Vector, neighbors: Neighbors, round: int, batch_B: np.ndarray
) -> Iterator[Received]:
    """What the neighbors sent, one at a time; the gradient of this node's loss there has been sent back.

    A neighbor whose parameters cannot be used gets an empty answer: it waits for one.
    """
    waiting = set(neighbors.receive_from)
    for item in exchange.receive(context, own_P, neighbors, round):
        _, gradient_P = learner.gradient_at(item.vector_P, "train", batch_B)
        payload = context.sharing.pack(gradient_P, item.sender, round)
        context.channel.send(item.sender, Message(GRADIENT, round, context.node, payload))
        context.channel.progress()
        waiting.discard(item.sender)
        yield item
    context.channel.broadcast(sorted(waiting), Message(GRADIENT, round, context.node, Payload({})))


def _cross_gradients(context: Context, own_P: Vector, neighbors: Neighbors, round: int) -> Iterator[Vector]:
    """The gradients of the neighbors' losses at this node's parameters, in node order."""
    for _, message in context.channel.collect(GRADIENT, round, neighbors.send_to):
        if message.payload.buffers:
            item = exchange.read(context, own_P, message, lambda item: None)
            if item is not None:
                yield item.vector_P
