"""meta-L2C: learning to collaborate with an encoder that all nodes train together.

S. Li, T. Zhou, X. Tian, D. Tao, "Learning to Collaborate in Decentralized Learning of Personalized Models", CVPR 2022,
equations 4 to 8 and Algorithm 1. A round is one of L2C (`l2c.py`), with other weights: a softmax of the inner products
of what an encoder makes of theta^(t+1/2) - theta^0, which each node sends along with its update. The encoder is trained
on the validation losses at theta_i^(t+1); the model's gradient there enters as a constant.

The box takes each node's own step and then averages the encoder's *parameters* over all nodes; equation 6, a mean of
losses, would have their *gradients* averaged, which is not the same under Adam. `average` says which. The mean is exact
(`over = "ring"`) or comes from some cycles of gossip along the edges of the graph. Either uses the edges of the graph
at the start, also those along which no updates go after pruning.

A node that has heard all updates of a neighbor does not know its theta - theta^0, which also depends on that neighbor's
weights: so it is sent, and the bytes of an edge are twice those of L2C.

Inner products are not scaled in the paper. They grow with the changes, and that of a node with itself grows the most,
so that in the end a node may mix with nobody. With `length` all encodings are scaled to one length l: an inner product
is l^2 times their cosine, and no weight is more than e^(2 l^2) times another.

With `transfer` the encoder of another run makes the weights, and is not trained. Nodes may then join later, as in
`l2c.py`, but for one thing. What they hear in their first round are the updates of nodes that have trained for long and
hardly change any more, and their weights say to add these up, and next to nothing of their own: they would stay where
they are. So in that round, in which every change is one since theta^0, where they begin, they add up changes:

    theta_i^(t+1) = theta_i^0 + sum_j w_ij (theta_j^(t+1/2) - theta_j^0)

The paper does not say how nodes join. `join_with = "updates"` is the round as it is for everybody.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field

from decentralized.algorithms.group_averages import Group, by_gossip
from decentralized.algorithms.l2c import L2C
from decentralized.algorithms.ring_all_reduce import check_ring, ring_mean
from decentralized.collaboration.attention import Attention, Averages, add_changes
from decentralized.collaboration.encoder import Encoder, Slotted, layers_of
from decentralized.collaboration.rule import Update, WeightRule
from decentralized.errors import ConfigError, TopologyError
from decentralized.interfaces import Context
from decentralized.types import Graph, RoundReport

if TYPE_CHECKING:
    from decentralized.types import Vector


class MetaL2C(L2C):
    """L2C with weights from an encoder of the nodes' changes, which is trained by all or comes from another run."""

    class Config(L2C.Config):
        hidden: Annotated[int, Field(ge=1)] = 10
        """Numbers between the two dense layers of the encoder."""
        outputs: Annotated[int, Field(ge=1)] = 5
        """Numbers that the encoder makes of each channel of the model."""
        activation: Literal["relu", "tanh"] = "relu"
        """Between the two dense layers."""
        length: Annotated[float, Field(gt=0)] | None = None
        """Length to which encodings are scaled, so that inner products stay within its square; none in the paper."""
        average: Literal["parameters", "gradients"] = "parameters"
        """What is averaged over all nodes: the encoder's parameters once a round, or its gradients in each step."""
        over: Literal["ring", "gossip"] = "ring"
        """The exact mean, around the ring of all nodes, or gossip along the edges of the graph."""
        cycles: Annotated[int, Field(ge=1)] = 5
        """With over = "gossip": how often in an average each node begins an exchange."""
        transfer: str | None = None
        """File of an encoder that another run has learned (learned.safetensors of a node); it stays as it is."""
        join_with: Literal["changes", "updates"] = "changes"
        """What latecomers add up in their first round: the others' changes since the start, or their updates."""

        def vectors_held(self, neighbors: int) -> int:
            """A message has a change, too; all changes of a round become rows for the encoder, copied on the way."""
            return super().vectors_held(neighbors) + 4 * (1 + neighbors)

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._settings = config
        self._round_now, self._calls = 0, 0

    def check(self, graph: Graph, experiment: Any) -> None:
        super().check(graph, experiment)
        settings = self._settings
        if settings.latecomers and self._learns:
            raise ConfigError(
                [
                    "[algorithm] latecomers: the encoder is averaged over all nodes in each round; they may join a run "
                    "whose encoder is known, which transfer names"
                ]
            )
        if settings.transfer is not None:
            _read(settings.transfer)
        elif settings.over == "ring":
            check_ring(graph)
        elif not graph.undirected or len(graph.pieces()) > 1:
            raise TopologyError('over = "gossip" needs a connected graph whose edges go both ways')
        if settings.average == "gradients" and settings.optimizer.name == "LBFGS":
            raise ConfigError(["[algorithm] average: LBFGS takes many gradients in a step, not the same on all nodes"])

    @property
    def _learns(self) -> bool:
        return super()._learns and self._settings.transfer is None

    def _make_rule(self, context: Context) -> WeightRule:
        settings, learner = self._settings, context.learner
        if not isinstance(learner, Slotted):
            raise ConfigError([f"[training] {type(learner).__name__} does not say where its layers are"])
        layers = layers_of(learner.slots())
        encoder = Encoder(layers, settings.hidden, settings.outputs, settings.activation, settings.length)
        known = settings.transfer
        parameters_E = encoder.initial(context.seed) if known is None else encoder.flat(_read(known))
        averages = Averages(lambda vector_E: self._average(context, vector_E), settings.average)
        return Attention(context.node, encoder, parameters_E, learner.vector(), settings.optimizer, averages)

    def _round(self, round: int, context: Context, rule: WeightRule) -> RoundReport:
        self._round_now, self._calls = round, 0
        report = super()._round(round, context, rule)
        counted = {"all_reduce_bytes": float(context.totals.get("all_reduce_bytes", 0))}
        return replace(report, metrics={**report.metrics, **counted}) if self._learns else report

    def _mix(
        self, round: int, context: Context, start_P: Vector, updates: Sequence[Update], weights_n: Sequence[float]
    ) -> Vector:
        settings = self._settings
        joins = context.node in settings.latecomers and round == settings.join_after + 1
        if joins and settings.join_with == "changes":
            return add_changes(start_P, updates, weights_n)
        return super()._mix(round, context, start_P, updates, weights_n)

    def _average(self, context: Context, own_E: Vector) -> Vector:
        """The mean over all nodes; its bytes are counted apart, and among those that were sent."""
        before = context.channel.bytes_sent
        if self._settings.over == "ring":
            mean_E = ring_mean(context, self._round_now, own_E, self._calls)
        else:
            everybody = tuple(range(context.nodes))
            calls = max(1, self._settings.weight_steps)
            group = Group(self._calls, everybody, 0, self._round_now, self._settings.cycles, calls)
            mean_E = by_gossip(context, group, own_E) if context.nodes > 1 else own_E
        self._calls += 1
        sent = context.channel.bytes_sent - before
        context.totals["all_reduce_bytes"] = context.totals.get("all_reduce_bytes", 0) + sent
        return mean_E


def _read(path: str) -> Mapping[str, np.ndarray]:
    """The arrays of a file; raises ConfigError."""
    import safetensors
    import safetensors.numpy

    try:
        arrays: Mapping[str, np.ndarray] = safetensors.numpy.load_file(Path(path))
    except (OSError, safetensors.SafetensorError) as error:
        raise ConfigError([f"[algorithm] transfer: {path} cannot be read: {error}"]) from None
    return arrays
