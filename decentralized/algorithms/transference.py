"""Personalized decentralized multi-task learning over dynamic communication graphs.

Mortaheb, Ulukus, "Personalized Decentralized Multi-Task Learning Over Dynamic Communication Graphs", 2022, Algorithm 2.
Each node has a task of its own: an encoder that is shared, and a private head. In each round (the paper's epoch t)

    K1 steps on the head, with the encoder frozen                     line 5, equation 2
    Z_(i to j) of all pairs, on samples that all hold in common       line 8, equation 8 or 5
    Z into V, and after every H rounds a new W                        lines 10 to 15, equation 9
    K2 times: train the encoder with the head frozen, then mix        lines 17 to 21, equation 3
              theta_i <- sum_j W_ij theta_j

W is fully connected until the end of round H. Encoders travel only between nodes with W_ij > 0; what Z needs travels
between all. Every node computes W itself, from the same bits, so that all of them change to it in the same round.

The paper does not say what a step is made of. Here the head trains for `training.personal_steps` or `personal_epochs`
in a round (K1), and the encoder for `local_steps` or `local_epochs` before each of its K2 = `exchanges` mixings.
Optimizers are any, Adam in the paper; each node has its own moments for the encoder and for the head, and these are
not mixed. A learning-rate schedule, and reset_optimizer, take each of the K2 trainings for a round.

Departure from what one would expect of the paper's figures: after nodes have been apart, equation 8 compares gradients
at different encoders, and W as the algorithm makes it need not last (docs/papers/transference.md); `stop_after` is the
paper's remedy, `definition = "exact"` does without the comparison.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, field_validator

from decentralized import exchange
from decentralized.algorithms.settings import AlgorithmSettings
from decentralized.algorithms.task_gradients import exact_column, first_order_column, gather
from decentralized.errors import ConfigError, TopologyError
from decentralized.interfaces import Alternating, Context
from decentralized.learners.partial import Partial
from decentralized.learners.settings import TrainingSettings
from decentralized.mixing.linear import weighted_sum
from decentralized.state_checks import need_entries
from decentralized.transference.spectral import Clustering, mixing_matrix
from decentralized.transference.task_graph import Average, TaskGraph
from decentralized.types import Graph, Message, NodeId, Received, RoundReport, State

KIND = "encoder"


class Transference:
    """Shared encoders and private heads; who mixes with whom follows from how tasks help each other, not from [mixing].

    Each node needs the samples of [data] common.
    """

    class Config(AlgorithmSettings):
        ignores = ("mixing",)

        exchanges: Annotated[int, Field(ge=1)] = 2
        """K2: how often in a round the encoder is trained and mixed."""
        period: Annotated[int, Field(ge=1)] = 5
        """H: rounds from one graph to the next, over which transference or mixing weights are averaged."""
        average: Average = "transference"
        """Average Z over these rounds and make W of it, or average the W of each round."""
        stop_after: Annotated[int, Field(ge=0)] | None = None
        """The last round in which transference is measured; the graph stays after it. To the end when not given."""
        definition: Literal["first-order", "exact"] = "first-order"
        """Z from exchanged gradients (equation 8), or from the losses after steps for each other's tasks (5)."""
        exact_rate: Annotated[float, Field(gt=0)] = 0.01
        """With definition = "exact": the learning rate (eta) of these steps."""
        clustering: Clustering = Clustering()
        """How tasks are put together: `[algorithm.clustering]`."""
        groups: tuple[tuple[Annotated[NodeId, Field(ge=0)], ...], ...] | None = None
        """Fixed clusters of nodes instead; nodes in none of them stay alone, and no transference is measured."""

        def vectors_held(self, neighbors: int) -> int:
            """With definition = "exact", the answers to all others, until they are confirmed."""
            return neighbors if self.definition == "exact" and self.groups is None else 0

        @field_validator("groups")
        @classmethod
        def _disjoint(cls, groups: tuple[tuple[int, ...], ...] | None) -> tuple[tuple[int, ...], ...] | None:
            named = [node for group in groups or () for node in group]
            if len(set(named)) < len(named):
                raise ValueError("a node is in two groups, or twice in one")
            return groups

    def __init__(self, config: Config) -> None:
        self._config = config
        self._graph: TaskGraph | None = None
        self._transference_NN = np.zeros((0, 0))
        self._bytes = 0
        self._saved: State | None = None

    def check(self, graph: Graph, experiment: Any) -> None:
        """Raises TopologyError or ConfigError for what does not go with it."""
        everybody = set(range(graph.nodes))
        if any({*targets, node} != everybody for node, targets in enumerate(graph.targets)):
            raise TopologyError(
                "transference: any two nodes may come to mix, and some are not joined", 'Use [topology] name = "full".'
            )
        if wrong := [*self._mistakes(experiment)]:
            raise ConfigError(wrong)

    def _mistakes(self, experiment: Any) -> Iterator[str]:
        training, groups = experiment.training, self._config.groups
        beyond = [node for group in groups or () for node in group if node >= experiment.nodes]
        if beyond:
            yield f"[algorithm] groups: node {beyond[0]}, and the last node is {experiment.nodes - 1}"
        if groups is None and not experiment.data.common:
            yield "[data] common: transference is measured on samples that all nodes hold; 1000 keeps so many for it"
        if experiment.sharing.name != "full" or getattr(experiment.sharing, "payload", "values") != "values":
            yield '[sharing] transference sends whole encoders and gradients: name = "full", payload = "values"'
        if experiment.network.on_peer_loss == "continue":  # clusters do not hear of each other's rounds
            yield '[network] on_peer_loss: transference needs "abort" or "wait"'
        if isinstance(training, Partial.Config):
            if training.method != "fedalt" or training.reinitialize:
                yield '[training] transference trains heads and encoders in turns: method = "fedalt", no reinitialize'
        elif isinstance(training, TrainingSettings):
            yield '[training] transference needs a head that stays: name = "partial", personal = "output"'

    def rounds(self, context: Context, first: int = 1) -> Iterator[RoundReport]:
        learner, config = context.learner, self._config
        if not isinstance(learner, Alternating):
            raise ConfigError([f"[training] transference needs a head of its own; {type(learner).__name__} has none"])
        graph = TaskGraph(context.nodes, config.average, config.period, config.clustering, context.seed)
        self._graph = graph
        if config.groups is not None:
            graph.mixing_NN = mixing_matrix(_labels(config.groups, context.nodes))
        if self._saved:
            parts = need_entries(self._saved, ("graph", "transference", "bytes"), "[algorithm] transference")
            graph.restore(parts["graph"])
            self._transference_NN, self._bytes = parts["transference"].copy(), int(parts["bytes"])
        for round in range(first, config.rounds + 1):
            yield self._round(round, context, learner, graph)

    def state(self) -> State:
        """The graph as it is and as far as it is renewed, and what was counted."""
        if self._graph is None:
            return {}
        return {"graph": self._graph.state(), "transference": self._transference_NN, "bytes": self._bytes}

    def restore(self, state: State) -> None:
        self._saved = copy.deepcopy(state)  # until the number of nodes is known

    def learned(self) -> Mapping[str, np.ndarray]:
        """The newest Z, with Z_(i to j) in row i and column j, and the newest W."""
        if self._graph is None:
            return {}
        return {"mixing": self._graph.mixing_NN, "transference": self._transference_NN}

    def _round(self, round: int, context: Context, learner: Alternating, graph: TaskGraph) -> RoundReport:
        channel = context.channel
        began, waited_s = time.monotonic(), channel.waited_s
        metrics = dict(learner.fit_personal(channel.progress))
        fit_s = time.monotonic() - began
        if self._measures(round):
            metrics |= self._measure(round, context, learner)
            graph.observe(self._transference_NN)
        weights = {node: float(weight) for node, weight in enumerate(graph.mixing_NN[context.node]) if weight > 0}
        for step in range(self._config.exchanges):
            began_step = time.monotonic()
            metrics |= learner.fit_shared(channel.progress)
            fit_s += time.monotonic() - began_step
            _mix(round, step, context, weights)
        wait_s = channel.waited_s - waited_s
        mix_s = time.monotonic() - began - fit_s - wait_s
        context.totals["bytes_for_transference"] = self._bytes
        metrics |= {"bytes_for_transference": self._bytes, "mixes_with": len(weights)}
        return RoundReport(round, metrics, fit_s, wait_s, mix_s, weights)

    def _measures(self, round: int) -> bool:
        stop_after = self._config.stop_after
        return self._config.groups is None and (stop_after is None or round <= stop_after)

    def _measure(self, round: int, context: Context, learner: Alternating) -> dict[str, float]:
        """Z of this round; the node's loss on the common samples, and what each task does to it."""
        sent = context.channel.bytes_sent
        if self._config.definition == "exact":
            column_N, loss = exact_column(context, learner, round, self._config.exact_rate)
        else:
            column_N, loss = first_order_column(context, learner, round)
        self._transference_NN = gather(context, round, column_N)
        self._bytes += context.channel.bytes_sent - sent
        return {"common_loss": loss, **{f"transference_from_{i}": float(z) for i, z in enumerate(column_N)}}


def _mix(round: int, step: int, context: Context, weights: Mapping[NodeId, float]) -> None:
    """theta_i <- sum_j W_ij theta_j. A message that cannot be used leaves its weight with this node."""
    own_P, around = context.learner.vector(), [node for node in weights if node != context.node]
    payload = context.sharing.pack(own_P, None, round)
    context.channel.broadcast(around, Message(KIND, round, context.node, payload, step))

    def received() -> Iterator[Received]:
        for _, message in context.channel.collect(KIND, round, around, step):
            if (item := exchange.read(context, own_P, message, lambda item: None)) is not None:
                yield item

    mixed = weighted_sum(context.node, own_P, received(), lambda item: weights[item.sender])
    context.sharing.commit(own_P, mixed.vector_P)
    context.learner.load(mixed.vector_P)


def _labels(groups: tuple[tuple[NodeId, ...], ...], nodes: int) -> np.ndarray:
    """The cluster of each node, (N,): its group, or one of its own."""
    labels_N = np.arange(nodes)
    for number, group in enumerate(groups):
        labels_N[list(group)] = nodes + number
    return labels_N
