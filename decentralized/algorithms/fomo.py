"""FOMO with a server: node 0 keeps the newest model of every client, and a client too.

Zhang, Sapra, Fidler, Yeung, Alvarez, "Personalized Federated Learning with First Order Model Optimization", ICLR 2021.
In each round some clients are drawn. A drawn one trains, sends its model to the server, is sent M models of others,
makes its new model of those and its own (see `mixing/fomo.py`), and tells the server what each of them gained it. Every
client goes on from its own model: no model is for all.

Which models a client i is sent follows from an affinity matrix P, to whose row the gains of a round are added, and from
epsilon: each of the M is drawn from all with probability epsilon_t, and else is the one with the largest P_ij that is
left. epsilon falls by the same step in each round.

Our readings: gains are added as they are, negative ones too, so that a model that did harm is not sent again soon; P
begins with zeros, and equal ones are taken in random order; a model that the server has not got yet cannot be sent.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field

from decentralized import codec, exchange
from decentralized.algorithms.federated import SERVER, draw_clients, need_server, train
from decentralized.algorithms.settings import AlgorithmSettings
from decentralized.errors import CodecError, ConfigError, StateError
from decentralized.interfaces import Context
from decentralized.mixing.fomo import combine, weights
from decentralized.seeding import numpy_generator
from decentralized.state_checks import need_entries
from decentralized.types import Graph, Message, NodeId, Payload, RoundReport, State

if TYPE_CHECKING:
    from decentralized.types import Vector

MODEL, OFFER, GAINS = "fomo model", "fomo offer", "fomo gains"


class Fomo:
    """Each client makes its model of those that do well on its validation samples. [mixing] has no part in it."""

    class Config(AlgorithmSettings):
        ignores = ("mixing",)

        clients_per_round: Annotated[int, Field(ge=1)] | None = None
        """Clients that train in a round, drawn anew each time; all of them when not given."""
        models: Annotated[int, Field(ge=1)] = 5
        """Models of others that a drawn client is sent in a round (M), as far as the server has got so many."""
        epsilon: Annotated[float, Field(ge=0, le=1)] = 0.3
        """Probability in round 1 that a model is drawn from all instead of being the one that gained most."""
        epsilon_step: Annotated[float, Field(ge=0, le=1)] = 0.05
        """By how much epsilon falls from one round to the next, down to 0."""

        def vectors_held(self, neighbors: int) -> int:
            """Of the server: the newest model of each client, and those on their way to the clients that were drawn."""
            drawn = self.clients_per_round or 1 + neighbors
            return 1 + neighbors + drawn * min(self.models, neighbors)

    def __init__(self, config: Config) -> None:
        self._config = config
        self._newest: dict[NodeId, Vector] = {}  # of the server
        self._affinity: np.ndarray | None = None  # (N, N) float64, of the server

    def check(self, graph: Graph, experiment: Any) -> None:
        """Node 0 must be joined with all others; whole models travel; losses are on validation samples."""
        need_server("fomo", graph, self._config.clients_per_round)
        wrong = []
        if experiment.sharing.name != "full" or getattr(experiment.sharing, "payload", "values") != "values":
            wrong.append('[sharing] fomo sends whole models: name = "full", payload = "values"')
        if experiment.network.on_peer_loss == "continue":
            wrong.append('[network] on_peer_loss: fomo needs "abort" or "wait"')
        if not experiment.data.validation:
            wrong.append("[data] validation: fomo compares models on validation samples; 0.2 holds out a fifth")
        if wrong:
            raise ConfigError(wrong)

    def rounds(self, context: Context, first: int = 1) -> Iterator[RoundReport]:
        for round in range(first, self._config.rounds + 1):
            drawn = draw_clients(round, context.nodes, context.seed, self._config.clients_per_round)
            if context.node == SERVER:
                yield self._serve(round, context, drawn)
            elif context.node in drawn:
                yield _follow(round, context)
            else:
                yield RoundReport(round, {})

    def _serve(self, round: int, context: Context, drawn: Sequence[NodeId]) -> RoundReport:
        learner, channel = context.learner, context.channel
        clients = [node for node in drawn if node != SERVER]
        start_P = learner.vector().clone()
        metrics, fit_s = train(context, round, SERVER in drawn)
        began, waited_s = time.monotonic(), channel.waited_s
        self._gather(round, context, drawn)
        offers = {client: self._choose(round, context, client) for client in drawn}
        for client in clients:
            self._offer(round, context, client, offers[client])
        given = self._mix_own(context, start_P, offers[SERVER]) if SERVER in drawn else {}
        for client, message in channel.collect(GAINS, round, clients):
            self._hear(context, client, offers[client], message)
        wait_s = channel.waited_s - waited_s
        return RoundReport(round, metrics, fit_s, wait_s, time.monotonic() - began - wait_s, given)

    def _gather(self, round: int, context: Context, drawn: Sequence[NodeId]) -> None:
        """The trained models of the clients, the server's own among them."""
        own_P = context.learner.vector()
        if SERVER in drawn:
            self._newest[SERVER] = own_P.clone()
        for _, message in context.channel.collect(MODEL, round, [node for node in drawn if node != SERVER]):
            item = exchange.read(context, own_P, message, lambda item: None)
            if item is not None:
                self._newest[item.sender] = item.vector_P.clone()

    def _offer(self, round: int, context: Context, client: NodeId, nodes: Sequence[NodeId]) -> None:
        """Tell a client whose models come, and send them."""
        offer = Payload({"clients": np.array(nodes, np.int64)})
        context.channel.send(client, Message(OFFER, round, SERVER, offer))
        for step, node in enumerate(nodes, start=1):
            payload = context.sharing.pack(self._newest[node], client, round)
            context.channel.send(client, Message(MODEL, round, SERVER, payload, step))

    def _mix_own(self, context: Context, start_P: Vector, offer: Sequence[NodeId]) -> dict[NodeId, float]:
        """What a client does, for the server's own model; the weights."""
        models = [(node, self._newest[node]) for node in (*offer, SERVER)]
        mixed_P, gains = combine(context.learner, start_P, models, context.channel.progress)
        context.learner.load(mixed_P)
        self._learn(context, SERVER, offer, np.array([gains[node] for node in offer]))
        return weights(gains, SERVER)

    def _choose(self, round: int, context: Context, client: NodeId) -> list[NodeId]:
        """The nodes whose models the client is sent, in node order."""
        generator = numpy_generator(context.seed, f"fomo/{round}", client)
        left = [int(node) for node in generator.permutation(sorted(set(self._newest) - {client}))]
        affinity_N = self._affinities(context.nodes)[client]
        left.sort(key=lambda node: -affinity_N[node])  # stable: equal ones stay in random order
        epsilon = max(0.0, self._config.epsilon - self._config.epsilon_step * (round - 1))
        chosen = []
        for _ in range(min(self._config.models, len(left))):
            explores = generator.random() < epsilon
            chosen.append(left.pop(int(generator.integers(len(left))) if explores else 0))
        return sorted(chosen)

    def _hear(self, context: Context, client: NodeId, offer: Sequence[NodeId], message: Message) -> None:
        """A client's gains, if they can be used."""
        gains = message.payload.buffers.get("gains")
        try:
            if gains is None or gains.dtype.str != "<f8" or len(gains) != len(offer):
                raise CodecError(f"expected {len(offer)} gains")
            codec.check_finite(message.payload)
        except CodecError as error:
            context.channel.reject(message, str(error))
            return
        self._learn(context, client, offer, gains)

    def _learn(self, context: Context, client: NodeId, offer: Sequence[NodeId], gains: np.ndarray) -> None:
        self._affinities(context.nodes)[client, list(offer)] += gains

    def _affinities(self, nodes: int) -> np.ndarray:
        if self._affinity is None:
            self._affinity = np.zeros((nodes, nodes))
        return self._affinity

    def state(self) -> State:
        """What the server knows; nothing on other nodes."""
        return {"newest": self._newest, "affinity": self._affinity}

    def restore(self, state: State) -> None:
        parts = need_entries(state, ("newest", "affinity"), "[algorithm] fomo")
        newest, affinity = parts["newest"], parts["affinity"]
        if not isinstance(newest, dict) or not (affinity is None or isinstance(affinity, np.ndarray)):
            raise StateError("[algorithm] fomo: the state holds no models or no affinities")
        self._newest = {int(node): model_P.clone() for node, model_P in newest.items()}
        self._affinity = None if affinity is None else affinity.copy()


def _follow(round: int, context: Context) -> RoundReport:
    """A round of a client that was drawn."""
    learner, channel = context.learner, context.channel
    start_P = learner.vector().clone()
    metrics, fit_s = train(context, round, is_drawn=True)
    began, waited_s = time.monotonic(), channel.waited_s
    own_P = learner.vector()
    channel.send(SERVER, Message(MODEL, round, context.node, context.sharing.pack(own_P, SERVER, round)))
    ((_, message),) = channel.collect(OFFER, round, [SERVER])
    offer = _nodes_in(message, context)
    models = [*_models(round, context, offer, start_P), (context.node, own_P)]
    mixed_P, gains = combine(learner, start_P, models, channel.progress)
    learner.load(mixed_P)
    told = Payload({"gains": np.array([gains.get(node, 0.0) for node in offer], np.float64)})
    channel.send(SERVER, Message(GAINS, round, context.node, told))
    wait_s = channel.waited_s - waited_s
    mix_s = time.monotonic() - began - wait_s
    return RoundReport(round, metrics, fit_s, wait_s, mix_s, weights(gains, context.node))


def _nodes_in(message: Message, context: Context) -> list[NodeId]:
    """Whose models will come; nobody's where the offer cannot be used."""
    nodes = message.payload.buffers.get("clients")
    if nodes is not None and nodes.dtype.str == "<i8":
        offer = [int(node) for node in nodes]
        if len(set(offer) - {context.node}) == len(offer) and all(0 <= node < context.nodes for node in offer):
            return offer
    context.channel.reject(message, "expected the numbers of other nodes")
    return []


def _models(round: int, context: Context, offer: Sequence[NodeId], start_P: Vector) -> Iterator[tuple[NodeId, Vector]]:
    """The offered models that can be used, in node order."""
    for step, node in enumerate(offer, start=1):
        for _, message in context.channel.collect(MODEL, round, [SERVER], step):
            item = exchange.read(context, start_P, message, lambda item: None)
            if item is not None:
                yield node, item.vector_P
