"""L2C: learning to collaborate.

S. Li, T. Zhou, X. Tian, D. Tao, "Learning to Collaborate in Decentralized Learning of Personalized Models", CVPR 2022,
equations 1 to 3 and Algorithm 1. In round t each node i

    trains: theta_i^(t+1/2) from theta_i^t                                      lines 7 to 10
    sends delta_i = theta_i^t - theta_i^(t+1/2) to its neighbors                line 11
    theta_i^(t+1) = theta_i^t - sum_j w_ij delta_j, j in {i} and N(i)           lines 13 to 16
    learns: alpha_i <- alpha_i - beta grad L(theta_i^(t+1); validation data)    line 18

with w_i a softmax of alpha_i. The gradient in alpha goes through the sum: dL/dw_ij = -<g, delta_j> with g the model's
gradient at theta_i^(t+1). After round `prune_after` (T0) each node drops its `prune` (K0) neighbors of the smallest
weights in that round.

Line 16 sums over the neighbors alone; equation 2 has the node's own update in the sum, too, and so has this. The paper
does not say how many steps on alpha a round has; line 18 is one. With `weight_steps` above 1 the second step is taken
at the sum with the weights after the first, and so on: each costs a gradient of the model over the validation data. The
model that the node goes on with is the one of the weights before these steps, as in the box.

The paper's optimizer is Adam with weight decay. Adam proper adds the decay to the gradient before it normalizes it:
where the validation loss has next to no slope any more, decay alone makes steps of full length, and all weights become
equal again. So the default is AdamW, which has the same numbers and keeps the two apart.

Nodes may join later: `latecomers` take no part up to round `join_after`. All nodes know from the configuration which
these are. A latecomer neither trains nor sends updates, and nobody weighs it; it exchanges an empty message with each
neighbor in each round, so that it goes through the rounds together with the others, with which it may then be halted,
check-pointed and missed like everybody. In its first round it begins with theta^0.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field

from decentralized import exchange
from decentralized.algorithms.settings import AlgorithmSettings
from decentralized.collaboration.alphas import Alphas
from decentralized.collaboration.learned_graph import Edges, LearnedGraph
from decentralized.collaboration.rule import Update, WeightRule, aggregate, slopes
from decentralized.errors import ConfigError, TopologyError
from decentralized.interfaces import Context, Differentiable, Learner
from decentralized.lazy import torch
from decentralized.learners.descent import make
from decentralized.learners.settings import TrainingSettings
from decentralized.seeding import numpy_generator
from decentralized.settings import Named
from decentralized.state_checks import need_entries, restore_generator
from decentralized.types import Graph, Message, Mixed, NodeId, Payload, RoundReport, State

if TYPE_CHECKING:
    from decentralized.types import Vector

KIND = "update"


class L2C:
    """Train, exchange updates, and mix them with weights that are learned on validation data, not by [mixing]."""

    class Config(AlgorithmSettings):
        ignores = ("mixing",)
        weight_steps: Annotated[int, Field(ge=0)] = 1
        """Steps in a round on what makes the weights, each at the model that the newest weights give; 0: none."""
        optimizer: Named = Named.model_validate({"name": "AdamW", "lr": 0.1, "weight_decay": 0.01})
        """Of these steps: any class of torch.optim, with its arguments."""
        validation_batch: Annotated[int, Field(ge=1)] | None = None
        """Validation samples, drawn anew, for each of these steps; all of the node's when not given."""
        prune: Annotated[int, Field(ge=0)] = 0
        """K0: neighbors of the smallest weights that each node drops, once."""
        prune_after: Annotated[int, Field(ge=1)] = 10
        """T0: the round after which it drops them."""
        latecomers: tuple[Annotated[NodeId, Field(ge=0)], ...] = ()
        """Nodes that take no part at first; they join with the initial model."""
        join_after: Annotated[int, Field(ge=1)] = 10
        """The last round without them."""

        def vectors_held(self, neighbors: int) -> int:
            """The updates are the messages. Besides: the start, the own update, the sum, and three for its gradient."""
            return 6

    def __init__(self, config: Config) -> None:
        self._config = config
        self._graph = LearnedGraph()
        self._rule: WeightRule | None = None
        self._generator = np.random.default_rng(0)  # of the run's seed once the rounds begin
        self._saved: State | None = None

    def check(self, graph: Graph, experiment: Any) -> None:
        """Raises TopologyError or ConfigError for what does not go with learned weights."""
        prune = self._config.prune
        if prune and not graph.undirected:
            raise TopologyError("prune: a node tells those that it drops, which needs a graph whose edges go both ways")
        fewest = min(len(targets) for targets in graph.targets)
        wrong = []
        if prune > fewest:
            wrong.append(f"[algorithm] prune: a node has {fewest} neighbors and cannot drop {prune}")
        if experiment.sharing.name != "full" or getattr(experiment.sharing, "payload", "values") != "values":
            wrong.append(f'[sharing] {self._config.name} sends whole updates: name = "full", payload = "values"')
        if experiment.network.on_peer_loss == "continue":
            wrong.append(f'[network] on_peer_loss: {self._config.name} needs "abort" or "wait"')
        if self._config.latecomers:
            wrong += _cannot_join(self._config, graph.nodes)
        if self._learns:
            wrong += _cannot_learn(self._config, experiment)
        if wrong:
            raise ConfigError(wrong)

    def rounds(self, context: Context, first: int = 1) -> Iterator[RoundReport]:
        rule = self._rule = self._make_rule(context)
        self._generator = numpy_generator(context.seed, "l2c/validation", context.node)
        if self._saved:
            parts = need_entries(self._saved, ("rule", "graph", "generator"), self._config.name)
            rule.restore(parts["rule"])
            self._graph.restore(parts["graph"])
            restore_generator(self._generator, parts["generator"], self._config.name)
            self._saved = None
        for round in range(first, self._config.rounds + 1):
            yield self._round(round, context, rule)

    def state(self) -> State:
        """Of the rule that makes the weights, the learned graph, and the draws of validation samples."""
        if self._rule is None:
            return {}
        return {
            "rule": self._rule.state(),
            "graph": self._graph.state(),
            "generator": self._generator.bit_generator.state,
        }

    def restore(self, state: State) -> None:
        self._saved = copy.deepcopy(state)  # until the node's parts are known

    def learned(self) -> Mapping[str, np.ndarray]:
        """What makes the weights, to be saved beside the model."""
        return {} if self._rule is None else self._rule.learned()

    @property
    def _learns(self) -> bool:
        return self._config.weight_steps > 0

    def _make_rule(self, context: Context) -> WeightRule:
        return Alphas(context.nodes, self._config.optimizer)

    def _round(self, round: int, context: Context, rule: WeightRule) -> RoundReport:
        learner, channel = context.learner, context.channel
        neighbors, absent = context.topology.neighbors(round), self._absent(round)
        edges = self._graph.edges(neighbors, absent)
        if context.node in absent:
            return _wait(round, context, edges.in_step)
        start_P = learner.vector().clone()
        began = time.monotonic()
        metrics = dict(learner.fit(round, channel.progress))
        fit_s = time.monotonic() - began
        own_P = learner.vector()
        own = Update(context.node, start_P - own_P, rule.attach(own_P))
        _send(context, round, own, edges)
        began, waited_s = time.monotonic(), channel.waited_s
        updates = _receive(context, round, own, edges, rule)
        weights_n = rule.weigh(updates).tolist()
        mixed_P = self._mix(round, context, start_P, updates, weights_n)
        if self._learns:
            metrics["mixed_validation_loss"] = self._learn(context, rule, start_P, updates, mixed_P)
            rule.end_round()
        learner.load(mixed_P)
        weights = {update.node: weight for update, weight in zip(updates, weights_n, strict=True)}
        context.topology.observe(round, Mixed(mixed_P, weights), context)
        if self._config.prune and round == self._config.prune_after:
            self._graph.prune(context, round, neighbors, weights, self._config.prune)
        wait_s = channel.waited_s - waited_s
        mix_s = time.monotonic() - began - wait_s
        metrics |= _counts(context, self._graph.edges(neighbors, absent))
        return RoundReport(round, metrics, fit_s, wait_s, mix_s, weights)

    def _absent(self, round: int) -> Collection[NodeId]:
        return self._config.latecomers if round <= self._config.join_after else ()

    def _mix(
        self, round: int, context: Context, start_P: Vector, updates: Sequence[Update], weights_n: Sequence[float]
    ) -> Vector:
        return aggregate(start_P, updates, weights_n)

    def _learn(
        self, context: Context, rule: WeightRule, start_P: Vector, updates: Sequence[Update], mixed_P: Vector
    ) -> float:
        """The steps of a round; the validation loss of the mixed model, before them."""
        losses: list[float] = []
        for _ in range(self._config.weight_steps):
            if losses:
                mixed_P = aggregate(start_P, updates, rule.weigh(updates).tolist())
            learner = _differentiable(context.learner)
            loss, gradient_P = learner.gradient_at(mixed_P, "validation", self._validation_samples(learner))
            losses.append(loss)
            slopes_n = torch.tensor(slopes(gradient_P, updates), dtype=torch.float64)
            if not slopes_n.isfinite().all():  # a model that diverges; other nodes may count on this step
                slopes_n = torch.zeros_like(slopes_n)
            rule.step(updates, slopes_n)
            context.channel.progress()
        return losses[0]

    def _validation_samples(self, learner: Differentiable) -> np.ndarray | None:
        count, samples = self._config.validation_batch, learner.samples("validation")
        if count is None or count >= len(samples):
            return None
        return self._generator.choice(samples, count, replace=False)


def _wait(round: int, context: Context, around: Sequence[NodeId]) -> RoundReport:
    """A round of a node that has not joined."""
    waited_s = context.channel.waited_s
    context.channel.broadcast(around, Message(KIND, round, context.node, Payload({})))
    for _ in context.channel.collect(KIND, round, around):
        pass
    return RoundReport(round, _counts(context, Edges((), (), ())), wait_s=context.channel.waited_s - waited_s)


def _counts(context: Context, edges: Edges) -> dict[str, float]:
    """Edges of the graph that is left; the sum of `in_degree` over the nodes is that of all."""
    context.totals["edges"] = len(edges.receive_from)
    return {"in_degree": len(edges.receive_from), "out_degree": len(edges.send_to)}


def _send(context: Context, round: int, own: Update, edges: Edges) -> None:
    """The update to those that want it, and to others that wait for this node nothing but that it is there."""
    packed = context.sharing.pack(own.delta_P, None, round)
    payload = Payload({**packed.buffers, **own.extras}, packed.scalars)
    context.channel.broadcast(edges.send_to, Message(KIND, round, context.node, payload))
    others = [node for node in edges.in_step if node not in edges.send_to]
    context.channel.broadcast(others, Message(KIND, round, context.node, Payload({})))


def _receive(context: Context, round: int, own: Update, edges: Edges, rule: WeightRule) -> list[Update]:
    """The updates of the node and its neighbors, in node order; those that cannot be used are left out."""
    updates = [own]
    for node, message in context.channel.collect(KIND, round, edges.in_step):
        if node not in edges.receive_from:
            continue
        item = exchange.read(context, own.delta_P, message, lambda item: rule.check(item.extras))
        if item is not None:
            updates.append(Update(node, item.vector_P, item.extras))
    return sorted(updates, key=lambda update: update.node)


def _differentiable(learner: Learner) -> Differentiable:
    if not isinstance(learner, Differentiable):
        raise ConfigError([f"[training] {type(learner).__name__} has no gradients, which learned weights need"])
    return learner


def _cannot_join(config: L2C.Config, nodes: int) -> list[str]:
    """What keeps the latecomers from joining."""
    late, after, wrong = config.latecomers, config.join_after, []
    if max(late) >= nodes or len(set(late)) < len(late):
        wrong.append(f"[algorithm] latecomers: expected different nodes up to {nodes - 1}")
    elif len(late) == nodes:
        wrong.append("[algorithm] latecomers: somebody must be there from the start")
    if after >= config.rounds:
        wrong.append(f"[algorithm] join_after: after round {after} of {config.rounds} there is none left to join in")
    if config.prune and config.prune_after <= after:
        wrong.append(
            f"[algorithm] prune_after: nodes that join after round {after} would be dropped in round "
            f"{config.prune_after}, unheard; it must be above join_after"
        )
    return wrong


def _cannot_learn(config: L2C.Config, experiment: Any) -> list[str]:
    """What keeps the weights from being learned."""
    wrong = []
    if not experiment.data.validation:
        wrong.append(f"[data] validation: {config.name} learns weights on validation samples; 0.2 holds out a fifth")
    if not isinstance(experiment.training, TrainingSettings):
        wrong.append(f"[training] {experiment.training.name} has no gradients, which {config.name} needs")
    try:
        make(torch.optim, config.optimizer, "optimizer", [torch.nn.Parameter(torch.zeros(1))], table="algorithm")
    except ConfigError as error:
        wrong += error.mistakes
    return wrong
