"""One node's part in random walks: its age, its sends and receives, and the orderly end."""

from __future__ import annotations

import time
from collections.abc import Mapping

from decentralized.errors import CodecError, NetworkError
from decentralized.interfaces import Context
from decentralized.mixing.linear import weighted_sum
from decentralized.seeding import numpy_generator
from decentralized.types import Message, NodeId, Payload, Received


class Walk:
    """`topic` names this set of walks: its messages, its end, and its accounts in the summary."""

    def __init__(self, context: Context, topic: str) -> None:
        self.context, self.kind = context, topic
        self.age = 0
        self.weights: Mapping[NodeId, float] = {}  # of the last average
        self._sent = self._taken = 0
        self._generator = numpy_generator(context.seed, topic, context.node)

    @property
    def isolated(self) -> bool:
        """Whether no walk can ever reach this node."""
        return not self.context.topology.neighbors(1).receive_from

    def over(self) -> bool:
        """Whether some node has finished, so that no model may be sent any more."""
        return self.context.agreement.decided(self.kind) is not None

    def receive(self) -> Message | None:
        """The model that arrived first; None when the walks end while there is none."""
        message = self.context.channel.next(self.kind, self.over)
        self._taken += message is not None
        return message

    def arrived(self) -> list[Message]:
        """All models that have arrived, in order of arrival; does not wait."""
        messages = self.context.channel.poll(self.kind)
        self._taken += len(messages)
        return messages

    def average(self, message: Message) -> None:
        """Weights by age; the older age is this node's from now on."""
        context, learner = self.context, self.context.learner
        own_P, theirs = learner.vector(), _age_of(message)
        vector_P = context.sharing.unpack(message.sender, message.payload, own_P)
        received = Received(message.sender, vector_P, message.payload.scalars)
        mixed = weighted_sum(context.node, own_P, [received], lambda item: theirs / (self.age + theirs))
        context.sharing.commit(own_P, mixed.vector_P)
        learner.load(mixed.vector_P)
        self.age, self.weights = max(self.age, theirs), mixed.weights

    def train(self, round: int) -> tuple[dict[str, float], float]:
        """One round of local training: its metrics and its seconds."""
        began = time.monotonic()
        metrics = self.context.learner.fit(round, self.context.channel.progress)
        self.age += 1
        return {**metrics, "age": float(self.age)}, time.monotonic() - began

    def send(self) -> None:
        """To one neighbor, drawn uniformly."""
        context = self.context
        neighbors = context.topology.neighbors(1).send_to
        if not neighbors:
            return
        peer = neighbors[int(self._generator.integers(len(neighbors)))]
        self._sent += 1
        packed = context.sharing.pack(context.learner.vector(), peer, self._sent)
        payload = Payload(packed.buffers, {**packed.scalars, "age": self.age})
        context.channel.send(peer, Message(self.kind, self._sent, context.node, payload))

    def done(self, round: int, rounds: int) -> None:
        """The first node that completes its last round ends the walks of all."""
        if round == rounds and not (self.isolated and self.context.nodes > 1):
            self.context.agreement.propose(self.kind, round)

    def settle(self, absorb: bool = False) -> None:
        """Wait until every model that was sent has arrived. With `absorb`, average those that still wait here.

        Raises NetworkError when all nodes have stopped and nothing more arrives for the deadline.
        """
        context = self.context
        accounts = _Accounts(context, self.kind)
        context.channel.drain(lambda: accounts.settled(self._sent, self._taken + context.channel.waiting(self.kind)))
        context.totals.update(
            walks_sent=self._sent, walks_taken=self._taken, walks_waiting_at_end=context.channel.waiting(self.kind)
        )
        if absorb:
            for message in self.arrived():
                self.average(message)


class _Accounts:
    """Compares, over all nodes, what was sent with what has arrived."""

    def __init__(self, context: Context, topic: str) -> None:
        self._context, self._topic = context, topic
        self._told = (-1, -1)
        self._sums: Mapping[str, int] | None = None
        self._changed = time.monotonic()

    def settled(self, sent: int, arrived: int) -> bool:
        """Tells this node's numbers when they have changed; true once the sums are equal."""
        agreement = self._context.agreement
        if (sent, arrived) != self._told:
            self._told = (sent, arrived)
            agreement.contribute(self._topic, {"sent": sent, "arrived": arrived})
        sums = agreement.sums(self._topic)
        if sums != self._sums:
            self._sums, self._changed = sums, time.monotonic()
        if sums is None or sums["sent"] == sums["arrived"]:
            return sums is not None
        if time.monotonic() - self._changed > self._context.deadline_s:
            missing = sums["sent"] - sums["arrived"]
            raise NetworkError(f"{missing} models that were sent have not arrived after {self._context.deadline_s:g} s")
        return False


def _age_of(message: Message) -> int:
    age = message.payload.scalars.get("age")
    if not isinstance(age, int) or isinstance(age, bool) or age < 1:
        raise CodecError(f"node {message.sender} did not say the age of its model")
    return age
