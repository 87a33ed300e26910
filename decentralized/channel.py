"""Messages between this node and its peers, matched by (kind, round, step, sender).

On top of a transport, and without a socket of its own: it cuts messages into chunks, keeps what is not acknowledged,
drops what is broken, stale or given twice, counts bytes, says "I am alive" while it works or waits, and gives up on a
peer from which nothing has come for `deadline_s`.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from decentralized import codec
from decentralized.errors import CodecError, PeerSilent
from decentralized.interfaces import Transport
from decentralized.link import PREFIX_BYTES, Link, Snapshot
from decentralized.types import Buffer, Message, NodeId

POLL_S = 0.25  # the longest sleep between two looks at the clock
BUSY_POLL_S = 0.1  # how often a working node looks at the network
BEATS_PER_DEADLINE = 6
CONFIRM_AFTER = 2  # whole messages that may go unconfirmed when nothing is sent the other way

Key = tuple[int, int, NodeId]  # round, step, sender


@dataclass
class Traffic:
    """Bytes of the frames that left, cumulative. Acknowledgements and beats are `control`, apart from the rest."""

    values: int = 0
    indices: int = 0
    header: int = 0
    control: int = 0
    resent: int = 0
    messages: int = 0

    @property
    def sent(self) -> int:
        return self.values + self.indices + self.header

    def count(self, snapshot: Snapshot, encoded: codec.Encoded) -> None:
        self.values += encoded.values_bytes
        self.indices += encoded.indices_bytes
        self.header += len(snapshot.header) + PREFIX_BYTES * len(snapshot.bodies)
        self.messages += 1


@dataclass(frozen=True)
class ChannelSettings:
    """`run`: 8 bytes that all nodes of a run share. `max_payload_bytes`: larger messages are refused."""

    run: bytes
    deadline_s: float = 60.0
    max_payload_bytes: int = 2**32
    incarnation: int = 0
    max_waiting: int = 64
    """Messages of one kind and sender that are kept until they are wanted; further ones are dropped."""


@dataclass
class _Inbox:
    """Messages of one kind that nobody has taken yet, in order of arrival."""

    limit: int
    waiting: dict[Key, Message] = field(default_factory=dict)
    taken: dict[NodeId, tuple[int, int]] = field(default_factory=dict)  # newest (round, step) taken of each sender
    held: Counter[NodeId] = field(default_factory=Counter)

    def put(self, message: Message) -> str | None:
        """Keeps the message, or says why it is dropped."""
        sender, moment = message.sender, (message.round, message.step)
        key = (*moment, sender)
        if key in self.waiting or moment <= self.taken.get(sender, (-1, -1)):
            return "duplicate or stale"
        if self.held[sender] >= self.limit:
            return "too many messages waiting"
        self.waiting[key] = message
        self.held[sender] += 1
        return None

    def take(self, key: Key) -> Message | None:
        return self._pop(key) if key in self.waiting else None

    def take_first(self) -> Message:
        return self._pop(next(iter(self.waiting)))

    def _pop(self, key: Key) -> Message:
        self.taken[key[2]] = max(key[:2], self.taken.get(key[2], (-1, -1)))
        self.held[key[2]] -= 1
        return self.waiting.pop(key)


class Channel:
    """This node's side of all its conversations.

    `log` receives one line for each first bad thing of a peer. `watch` is called at least every POLL_S while the node
    works or waits; what it raises ends the node.
    """

    def __init__(
        self,
        node: NodeId,
        transport: Transport,
        settings: ChannelSettings,
        log: Callable[[str], None] = lambda line: None,
        watch: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.traffic = Traffic()
        self.dropped: Counter[str] = Counter()
        self.waited_s = 0.0
        self._node, self._transport, self._settings = node, transport, settings
        self._log, self._watch, self._clock = log, watch, clock
        self._links: dict[NodeId, Link] = {}
        self._inboxes: dict[str, _Inbox] = {}
        self._heard: dict[NodeId, float] = {}
        self._last_beat = self._last_look = clock()

    def send(self, to: NodeId, message: Message) -> None:
        """Queue one message for one peer."""
        self.broadcast([to], message)

    def broadcast(self, peers: Sequence[NodeId], message: Message) -> None:
        """Queue one message for several peers; its arrays are copied once and may change as soon as this returns."""
        if not peers:
            return
        encoded = codec.encode(message)
        snapshot = Snapshot.of(encoded, self._transport.freeze)
        now = self._clock()
        for peer in peers:
            for frames in self._link(peer).push(snapshot, now):
                self._transport.send(peer, frames)
            self.traffic.count(snapshot, encoded)

    def collect(
        self, kind: str, round: int, senders: Sequence[NodeId], step: int = 0
    ) -> Iterator[tuple[NodeId, Message]]:
        """One message of this kind, round and step from each sender, in node order, each as soon as it is there.

        Raises PeerSilent when nothing at all has come from the awaited peer for the deadline.
        """
        inbox = self._inbox(kind)
        for sender in sorted(senders):
            message = inbox.take((round, step, sender))
            if message is None:
                message = self._await(inbox, (round, step, sender), f"{kind} of round {round}")
            yield sender, message

    def next(self, kind: str) -> Message:
        """The message of this kind that arrived first, whoever sent it; raises PeerSilent after the deadline."""
        inbox = self._inbox(kind)
        began = self._clock()
        while not inbox.waiting:
            self._pump(POLL_S)
            if self._clock() - max([began, *self._heard.values()]) > self._settings.deadline_s:
                raise PeerSilent(f"node {self._node} heard of no peer for {self._settings.deadline_s:g} s")
        self.waited_s += self._clock() - began
        return self._take_first(inbox)

    def poll(self, kind: str) -> list[Message]:
        """All messages of this kind that have arrived, in order of arrival; does not wait."""
        self._pump(0.0)
        inbox = self._inbox(kind)
        return [self._take_first(inbox) for _ in range(len(inbox.waiting))]

    def progress(self) -> None:
        """To be called in every long loop: keeps messages moving and tells the peers that this node is alive."""
        if self._clock() - self._last_look >= BUSY_POLL_S:
            self._pump(0.0)

    def drain(self, done: Callable[[], bool]) -> None:
        """Confirm everything received and keep re-sending what is not confirmed, until `done()`."""
        for peer, link in self._links.items():
            if link.unconfirmed:
                self._control(peer, link.status())
        while not done():
            self._pump(POLL_S)

    @property
    def idle(self) -> bool:
        """Whether every peer has confirmed everything that was sent to it."""
        return all(link.idle for link in self._links.values())

    def heard(self) -> Mapping[NodeId, float]:
        """Seconds since something last came from each peer."""
        now = self._clock()
        return {peer: now - when for peer, when in self._heard.items()}

    def _inbox(self, kind: str) -> _Inbox:
        return self._inboxes.setdefault(kind, _Inbox(self._settings.max_waiting))

    def _link(self, peer: NodeId) -> Link:
        if peer not in self._links:
            settings = self._settings
            self._links[peer] = Link(settings.run, settings.incarnation, settings.max_payload_bytes)
        return self._links[peer]

    def _await(self, inbox: _Inbox, key: Key, what: str) -> Message:
        sender, began = key[2], self._clock()
        while (message := inbox.take(key)) is None:
            self._pump(POLL_S)
            silent = self._clock() - max(began, self._heard.get(sender, began))
            if silent > self._settings.deadline_s:
                raise PeerSilent(f"node {self._node} waits for {what} from node {sender}, silent for {silent:.0f} s")
        self.waited_s += self._clock() - began
        return message

    def _take_first(self, inbox: _Inbox) -> Message:
        message = inbox.take_first()
        self._control(message.sender, self._link(message.sender).status())
        return message

    def _pump(self, timeout_s: float) -> None:
        """One look at the network, the clock, and whatever `watch` looks at."""
        self._watch()
        for peer, frames in self._transport.poll(timeout_s):
            self._receive(peer, frames)
        now = self._last_look = self._clock()
        beat = now - self._last_beat > self._settings.deadline_s / BEATS_PER_DEADLINE
        for peer, link in self._links.items():
            for answer in link.tick(now):
                self._control(peer, answer)
            if beat or link.unconfirmed >= CONFIRM_AFTER:
                self._control(peer, link.status())
        if beat:
            self._last_beat = now

    def _receive(self, peer: NodeId, frames: Sequence[Buffer]) -> None:
        link = self._link(peer)
        now = self._heard[peer] = self._clock()
        try:
            content, answers = link.receive(frames, now)
            for answer in answers:
                self._control(peer, answer)
            if content is not None:
                self._deliver(peer, codec.decode(memoryview(content[0]), content[1]))
        except CodecError as error:
            self._drop(peer, "broken", str(error))

    def _deliver(self, peer: NodeId, message: Message) -> None:
        if message.sender != peer:
            self._drop(peer, "foreign", f"claims to come from node {message.sender}")
            return
        why = self._inbox(message.kind).put(message)
        if why is not None:
            self._drop(peer, why, f"{message.kind} of round {message.round}")

    def _drop(self, peer: NodeId, why: str, detail: str) -> None:
        if not self.dropped[f"{why}/{peer}"]:
            self._log(f"dropped a message of node {peer} ({why}): {detail}; further ones are only counted")
        self.dropped[f"{why}/{peer}"] += 1

    def _control(self, peer: NodeId, frames: list[Buffer]) -> None:
        size = sum(len(frame) for frame in frames)
        if len(frames) > 1:
            self.traffic.resent += size
        else:
            self.traffic.control += size
        self._transport.send(peer, frames)
