"""One node's part in random walks: its age, its sends and receives, its pauses, and the orderly end.

Nodes on random walks have no common rounds, so a check-point, and the end too, is a pause of all: nodes agree on the
pause, send no more, and wait until every model that was sent has arrived. Pauses are numbered, and the first wish that
agent 0 hears decides what the next one is for.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from decentralized import exchange
from decentralized.errors import CodecError, NetworkError
from decentralized.interfaces import Context
from decentralized.mixing.linear import weighted_sum
from decentralized.seeding import numpy_generator
from decentralized.types import Message, NodeId, Payload, Quiet, Received, State

CHECKPOINT, STOP, END = 0, 1, 2
NATURES = 3
DEADLINES = 2  # until models count as lost: after one deadline a node that has fallen silent is accused
LOOK_S = 1.0  # nodes that settle look at each other's numbers more often
MAX_AGE = 2**48  # an age that grows further must still fit into a header


class Walk:
    """`topic` names this set of walks: its messages, its pauses, and its accounts in the summary.

    `saved`: what `state` said at the check-point from which the run goes on.
    """

    def __init__(self, context: Context, topic: str, rounds: int, saved: State | None = None) -> None:
        self.context, self.kind = context, topic
        self.age = 0
        self.weights: Mapping[NodeId, float] = {}  # of the last average
        self.ended = False
        self._rounds, self._round = rounds, 0
        self._sent = 0
        self._sent_to: Counter[NodeId] = Counter()
        self._taken_from: Counter[NodeId] = Counter()
        self._pause, self._proposed = 1, 0
        self._told_isolated = ""
        self._generator = numpy_generator(context.seed, topic, context.node)
        if saved is not None:
            self._restore(saved)
        context.pauses.synchronous = False
        context.losses.walks = self

    def state(self) -> State:
        """Everything, the models that wait here included."""
        kept = self.context.channel.kept(self.kind)
        return {
            "round": self._round,
            "age": self.age,
            "sent": self._sent,
            "sent_to": dict(self._sent_to),
            "taken_from": dict(self._taken_from),
            "pause": self._pause,
            "generator": self._generator.bit_generator.state,
            "waiting": [
                {
                    "round": message.round,
                    "sender": message.sender,
                    "buffers": dict(message.payload.buffers),
                    "scalars": dict(message.payload.scalars),
                }
                for message in kept
            ],
        }

    @property
    def isolated(self) -> bool:
        """Whether no walk can ever reach this node."""
        return not self._living(self.context.topology.neighbors(1).receive_from)

    def pausing(self) -> bool:
        """Whether a pause has been agreed on, so that no model may be sent any more. Says what this node wishes."""
        wish = self._wish()
        if wish is not None and self._proposed < self._pause:
            self._proposed = self._pause
            number = max(self.context.pauses.number + 1, self._round)
            self.context.agreement.propose(self._topic(self._pause), number * NATURES + wish)
        return self._decision() is not None

    def pause(self) -> Iterator[Quiet]:
        """Wait until every model has arrived; then end, or let everybody check-point."""
        self.context.channel.drain(self.pausing)
        number, nature = divmod(self._decision() or 0, NATURES)
        self._settle()
        if nature == END:
            self.ended = True
            return
        self._pause += 1
        pauses = self.context.pauses
        yield Quiet(number, stops=nature == STOP)
        # A model that is sent before everybody has saved would be in the sender's past and in the receiver's future.
        self.context.channel.drain(lambda: pauses.committed >= number or bool(self.context.losses.lost))
        if pauses.wanted is False:  # a wish to stop stands until there is a pause for it
            pauses.resumed()

    def receive(self) -> Message | None:
        """The model that arrived first; None when there is a pause while there is none."""
        message = self.context.channel.next(self.kind, self._disturbed)
        if message is not None:
            self._taken_from[message.sender] += 1
        return message

    def arrived(self) -> list[Message]:
        """All models that have arrived, in order of arrival; does not wait."""
        messages = self.context.channel.poll(self.kind)
        self._taken_from.update(message.sender for message in messages)
        return messages

    def average(self, message: Message) -> None:
        """Weights by age; the older age is this node's from now on. What cannot be used is left out."""
        context, learner = self.context, self.context.learner
        own_P = learner.vector()
        received = exchange.read(context, own_P, message, _age_of)
        if received is None:
            return
        theirs = _age_of(received)
        mixed = weighted_sum(context.node, own_P, [received], lambda item: theirs / (self.age + theirs))
        context.sharing.commit(own_P, mixed.vector_P)
        learner.load(mixed.vector_P)
        self.age, self.weights = max(self.age, theirs), mixed.weights

    def train(self, round: int) -> tuple[dict[str, float], float]:
        """One round of local training: its metrics and its seconds."""
        began = time.monotonic()
        metrics = self.context.learner.fit(round, self.context.channel.progress)
        self.age += 1
        self._round = round
        return {**metrics, "age": float(self.age)}, time.monotonic() - began

    def send(self) -> None:
        """To one neighbor, drawn uniformly."""
        context = self.context
        neighbors = self._living(context.topology.neighbors(1).send_to)
        if not neighbors:
            return
        peer = neighbors[int(self._generator.integers(len(neighbors)))]
        self._sent += 1
        self._sent_to[peer] += 1
        packed = context.sharing.pack(context.learner.vector(), peer, self._sent)
        payload = Payload(packed.buffers, {**packed.scalars, "age": self.age})
        context.channel.send(peer, Message(self.kind, self._sent, context.node, payload))

    def absorb(self) -> None:
        """Average what still waits here."""
        for message in self.arrived():
            self.average(message)

    def _living(self, nodes: Sequence[NodeId]) -> list[NodeId]:
        return [node for node in nodes if node not in self.context.losses.lost]

    def _disturbed(self) -> bool:
        """While it waits for a model: whether there is something else to do. Starts the walks that it is asked to."""
        losses = self.context.losses
        while losses.reissues > 0 and self._decision() is None:
            losses.reissues -= 1
            self.send()
        return self.pausing() or self.isolated

    def exchanged(self, peer: NodeId) -> tuple[int, int]:
        """Models sent to the peer, and received of it: taken, or waiting here."""
        waiting = sum(message.sender == peer for message in self.context.channel.kept(self.kind))
        return self._sent_to[peer], self._taken_from[peer] + waiting

    def _exchanged_with_living(self) -> tuple[int, int]:
        """What went to lost nodes, or came from them, is in nobody's accounts any more."""
        lost = self.context.losses.lost
        gone = [self.exchanged(peer) for peer in lost]
        arrived = self._taken_from.total() + self.context.channel.waiting(self.kind)
        return self._sent - sum(sent for sent, _ in gone), arrived - sum(received for _, received in gone)

    def _wish(self) -> int | None:
        """What this node wants the next pause to be for."""
        pauses, losses = self.context.pauses, self.context.losses
        if self._round == self._rounds and (not self.isolated or self._all_isolated()):
            return END
        if losses.lost:  # from here on there are no check-points
            return None
        if pauses.wanted is not None:
            return STOP if pauses.wanted else CHECKPOINT
        return CHECKPOINT if pauses.overdue(self._round) else None

    def _all_isolated(self) -> bool:
        """An isolated node must not end the walks of others; only isolated ones say so, and it needs all of them."""
        topic = self._topic(f"isolated, {len(self.context.losses.lost)} lost")
        if topic != self._told_isolated:
            self._told_isolated = topic
            self.context.agreement.contribute(topic, {"nodes": 1})
        return self.context.agreement.sums(topic) is not None

    def _decision(self) -> int | None:
        return self.context.agreement.decided(self._topic(self._pause))

    def _topic(self, name: object) -> str:
        return f"{self.kind}/{name}"

    def _settle(self) -> None:
        """Wait until every model that was sent has arrived.

        Raises NetworkError when all nodes have stopped and nothing more arrives for DEADLINES deadlines.
        """
        context = self.context
        accounts = _Accounts(context, self._topic(self._pause))
        context.channel.drain(lambda: accounts.settled(*self._exchanged_with_living()))
        context.totals.update(
            walks_sent=self._sent,
            walks_taken=self._taken_from.total(),
            walks_waiting_at_end=context.channel.waiting(self.kind),
        )
        if context.losses.lost:
            exchanged = [self.exchanged(peer) for peer in context.losses.lost]
            context.totals["walks_sent_to_lost"] = sum(sent for sent, _ in exchanged)
            context.totals["walks_received_from_lost"] = sum(received for _, received in exchanged)

    def _restore(self, saved: Any) -> None:
        self._round, self.age, self._sent = (saved[name] for name in ("round", "age", "sent"))
        self._sent_to, self._taken_from = Counter(saved["sent_to"]), Counter(saved["taken_from"])
        self._pause, self._proposed = saved["pause"], saved["pause"] - 1
        self._generator.bit_generator.state = saved["generator"]
        self.context.channel.put_back(
            [
                Message(self.kind, item["round"], item["sender"], Payload(item["buffers"], item["scalars"]))
                for item in saved["waiting"]
            ]
        )


class _Accounts:
    """Compares, over all living nodes, what was sent with what has arrived.

    Whoever sees that all has arrived proposes that the pause is settled; nobody goes on before that has been decided.
    A node that is lost earlier changes everybody's numbers, so numbers are compared only if they were told with the
    same losses in mind.
    """

    def __init__(self, context: Context, topic: str) -> None:
        self._context, self._topic = context, topic
        self._told: tuple[int, int, int] | None = None
        self._sums: Mapping[str, int] | None = None
        self._looked, self._unchanged_s = time.monotonic(), 0.0

    def settled(self, sent: int, arrived: int) -> bool:
        """Tells this node's numbers when they have changed; true once it has been decided that nothing is under way."""
        agreement, losses = self._context.agreement, len(self._context.losses.lost)
        if agreement.decided(f"{self._topic}/settled") is not None:
            return True
        topic = f"{self._topic}/{losses} lost"
        if (sent, arrived, losses) != self._told:
            self._told = (sent, arrived, losses)
            agreement.contribute(topic, {"sent": sent, "arrived": arrived})
        sums = agreement.sums(topic)
        now = time.monotonic()
        self._unchanged_s += min(now - self._looked, LOOK_S)  # a node that stood still itself has waited for nobody
        self._looked = now
        if sums != self._sums:
            self._sums, self._unchanged_s = sums, 0.0
            if sums is not None and sums["sent"] == sums["arrived"]:
                agreement.propose(f"{self._topic}/settled", losses)
        patience_s = DEADLINES * self._context.deadline_s
        if sums is not None and self._unchanged_s > patience_s:
            missing = sums["sent"] - sums["arrived"]
            raise NetworkError(f"{missing} models that were sent have not arrived after {patience_s:g} s")
        return False


def _age_of(item: Received) -> int:
    age = item.scalars.get("age")
    if type(age) is not int or not 1 <= age < MAX_AGE:
        raise CodecError(f"node {item.sender} did not say the age of its model")
    return age
