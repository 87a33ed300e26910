"""Messages between this node and its peers, matched by (kind, round, step, sender).

On top of a transport, and without a socket of its own: it cuts messages into chunks, keeps what is not acknowledged,
drops what is broken, stale or given twice, counts bytes, says "I am alive" while it works or waits, and gives up on a
peer from which nothing has come for `deadline_s`.

On a graph that changes (`connections` is set) any node may become a peer. Both sides then say hello before their first
message (`greet`). A node stays connected with a limited number of peers: of those with which nothing is under way it
leaves the ones to which it sent longest ago. It is not heard by these any more; so one who waits asks, and whoever is
alive answers.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from decentralized import codec
from decentralized.errors import CodecError, PeerSilent
from decentralized.inbox import Inbox, Key
from decentralized.interfaces import Transport
from decentralized.link import CLOSE, PREFIX_BYTES, Link, Snapshot
from decentralized.types import Buffer, Message, NodeId, Payload, State

POLL_S = 0.25  # the longest sleep between two looks at the clock
BUSY_POLL_S = 0.1  # how often a working node looks at the network
BEATS_PER_DEADLINE = 6
ASK_AFTER = 2  # beats that have not come: the peer may not be connected
REMEMBERED = 2  # messages: a lost neighbor's newest two may not have reached all of its neighbors
MAX_KINDS = 16  # of messages, for each peer, of which the newest round is known: peers make kinds up
CONFIRM_AFTER = 2  # whole messages that may go unconfirmed when nothing is sent the other way
CONFIRM_BYTES = 64 * 1024  # so much is confirmed at once: until then the sender keeps it in memory


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
    incarnation: int = 1
    """Larger whenever the node is started again in the same run; at least 1."""
    max_waiting: int = 64
    """Messages of one sender that are kept until they are wanted; further ones are dropped."""
    max_waiting_payloads: int = 4
    """As many of the largest payloads may wait for each sender."""
    remembers: bool = False
    """Keep the last messages of each sender, to hand them on should it be lost."""
    connections: int | None = None
    """Peers to which a connection stays open while nothing is under way; all of them when None."""


@dataclass(frozen=True)
class Greeting:
    """What this node says to each peer before anything else, and who judges what the peer says."""

    message: Message
    check: Callable[[NodeId, Message], None]
    snapshot: Snapshot


class Channel:
    """This node's side of all its conversations.

    `log` receives one line for each first bad thing of a peer. `watch` is called at least every POLL_S while the node
    works or waits; what it raises ends the node. `accuse` is told of an awaited peer from which nothing came for so
    many seconds, more than the deadline, at each look; without it PeerSilent is raised.
    """

    def __init__(
        self,
        node: NodeId,
        transport: Transport,
        settings: ChannelSettings,
        log: Callable[[str], None] = lambda line: None,
        watch: Callable[[], None] = lambda: None,
        accuse: Callable[[NodeId, float], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.traffic = Traffic()
        self.dropped: Counter[str] = Counter()
        self.waited_s = 0.0
        self.waits_for: tuple[NodeId | None, float] | None = (
            None  # while it waits: the peer, or None for any; and since
        )
        self._node, self._transport, self._settings = node, transport, settings
        self._log, self._watch, self._clock = log, watch, clock
        self._accuse = accuse
        self._links: dict[NodeId, Link] = {}
        self._near: dict[NodeId, None] = {}  # connected peers, the one to which a message went longest ago first
        self._greeting: Greeting | None = None
        self._greeted: set[NodeId] = set()  # whose hello has been checked
        self._inbox = Inbox(settings.max_waiting, settings.max_waiting_payloads * settings.max_payload_bytes)
        self._beat_s = settings.deadline_s / BEATS_PER_DEADLINE
        self._listened_s = 0.0  # the clock by which peers are silent: it stands still while this node does
        self._heard: dict[NodeId, float] = {}  # on that clock
        self._last_beat = self._last_look = clock()
        self._newest: dict[tuple[NodeId, str], int] = {}  # round, by first sender and kind
        self._recent: dict[NodeId, deque[Message]] = {}
        self._muted: set[NodeId] = set()
        self._admitted: frozenset[NodeId] | None = None
        self._departed: dict[NodeId, tuple[int, NodeId]] = {}  # last round, and who hands on what is missing

    def state(self) -> State:
        """What has been counted. Messages are no part of it: a run goes on where none is needed, or puts them back."""
        return {"traffic": asdict(self.traffic), "dropped": dict(self.dropped), "waited_s": self.waited_s}

    def restore(self, state: Any) -> None:
        self.traffic, self.dropped = Traffic(**state["traffic"]), Counter(state["dropped"])
        self.waited_s = state["waited_s"]

    def send(self, to: NodeId, message: Message) -> None:
        """Queue one message for one peer."""
        self.broadcast([to], message)

    def broadcast(self, peers: Sequence[NodeId], message: Message) -> None:
        """Queue one message for several peers; its arrays are copied once and may change as soon as this returns.

        Raises CodecError for a message that the peers would refuse.
        """
        if not peers:
            return
        encoded = codec.encode(message)
        if encoded.payload_bytes > (most := self._settings.max_payload_bytes):
            raise CodecError(f"a {message.kind!r} message of {encoded.payload_bytes} bytes; at most {most} may travel")
        snapshot = Snapshot.of(encoded, self._transport.freeze)
        for peer in peers:
            if peer not in self._muted:
                self._push(peer, snapshot)
                self.traffic.count(snapshot, encoded)

    def acknowledge(self, to: NodeId, message: Message) -> None:
        """Queue a small message that only says what has been taken; like all confirmations it is control traffic."""
        if to not in self._muted:
            snapshot = Snapshot.of(codec.encode(message), self._transport.freeze)
            self.traffic.control += self._push(to, snapshot)

    def collect(
        self, kind: str, round: int, senders: Sequence[NodeId], step: int = 0
    ) -> Iterator[tuple[NodeId, Message]]:
        """One message of this kind, round and step from each sender, in node order, each as soon as it is there.

        A sender that was lost before it came so far is left out.

        Accuses the awaited peer when nothing at all has come from it for the deadline.
        """
        for sender in sorted(senders):
            message = self._await(kind, (round, step, sender))
            if message is not None:
                self._remember(message)
                yield sender, message

    def next(self, kind: str, give_up: Callable[[], bool] = lambda: False) -> Message | None:
        """The message of this kind that arrived first, whoever sent it; None once `give_up()` while there is none.

        Accuses each peer from which nothing at all has come for the deadline.
        """
        began, since = self._listen()
        self.waits_for = None, began
        while (message := self._inbox.take_first(kind)) is None and not give_up():
            self._pump(POLL_S)
            self._check_all(since, kind)
        self.waits_for = None
        if message is None:
            return None
        self.waited_s += self._clock() - began
        self._confirm(message.sender)
        return message

    def poll(self, kind: str) -> list[Message]:
        """All messages of this kind that have arrived, in order of arrival; does not wait."""
        self._pump(0.0)
        messages = []
        while (message := self._inbox.take_first(kind)) is not None:
            messages.append(message)
        for sender in sorted({message.sender for message in messages}):
            self._confirm(sender)
        return messages

    def progress(self) -> None:
        """To be called in every long loop: keeps messages moving and tells the peers that this node is alive."""
        if self._clock() - self._last_look >= BUSY_POLL_S:
            self._pump(0.0)

    def drain(self, done: Callable[[], bool]) -> None:
        """Confirm everything received and keep re-sending what is not confirmed, until `done()`.

        Nodes that drain wait for all others, if through the agents: each peer that falls silent is accused.
        """
        for peer in self._links:
            self._confirm(peer)
        _, since = self._listen()
        while not done():
            self._pump(POLL_S)
            if self._accuse is not None:
                self._check_all(since, "anything")

    def mute(self, peer: NodeId) -> None:
        """The peer is lost: take nothing more from it, and send it nothing. What has arrived stays."""
        self._muted.add(peer)
        self._links.pop(peer, None)
        self._near.pop(peer, None)

    def newest(self, peer: NodeId, besides: str = "") -> int:
        """The newest round of which a message of the peer has come, if through another; -1 for none.

        Messages of the kind `besides` do not count.
        """
        return max(
            (round for (node, kind), round in self._newest.items() if node == peer and kind != besides), default=-1
        )

    def depart(self, peer: NodeId, last: int, holder: NodeId) -> None:
        """Of the lost peer's messages those up to round `last` are used; `holder` hands on what is missing here."""
        self._departed[peer] = (last, holder)
        self._admit_too(holder)

    def relay(self, to: NodeId, lost: NodeId, after: int, besides: str = "") -> None:
        """Hand on to one node what came from a lost one after that round, but nothing of the kind `besides`."""
        self._admit_too(to)
        for message in [*self._recent.get(lost, ()), *self._inbox.of(lost)]:
            if message.round > after and message.kind != besides:
                kind = _relayed(lost, message.kind)
                self.send(to, Message(kind, message.round, self._node, message.payload, message.step))

    def admit(self, peers: Collection[NodeId]) -> None:
        """From now on messages of others than these are dropped. Until then everybody is heard."""
        self._admitted = frozenset(peers)

    def greet(self, message: Message, check: Callable[[NodeId, Message], None]) -> None:
        """From now on each peer hears `message` first, and what it says first must be of the same kind.

        `check` raises for what it does not accept. These messages count as control traffic: how many there are depends
        on how often a run was resumed.
        """
        encoded = codec.encode(message)
        self._greeting = Greeting(message, check, Snapshot.of(encoded, self._transport.freeze))

    def _admit_too(self, peer: NodeId) -> None:
        if self._admitted is not None:
            self._admitted |= {peer}

    def reject(self, message: Message, why: str) -> None:
        """Count and log a message that was taken and cannot be used."""
        self._drop(message.sender, "unusable", f"{message.kind!r} of round {message.round}: {why}")

    def waiting(self, kind: str) -> int:
        """How many messages of this kind have arrived and were not taken."""
        return self._inbox.waiting(kind)

    def kept(self, kind: str) -> list[Message]:
        """The messages of this kind that have arrived and were not taken, in order of arrival; they stay."""
        return self._inbox.kept(kind)

    def put_back(self, messages: Sequence[Message]) -> None:
        """Messages that had arrived before a check-point, as if they arrived now."""
        for message in messages:
            self._inbox.put(message)

    @property
    def bytes_sent(self) -> int:
        """Bytes of the messages that left, cumulative; confirmations and beats are not among them."""
        return self.traffic.sent

    @property
    def idle(self) -> bool:
        """Whether every peer has confirmed everything that was sent to it."""
        return all(link.idle for link in self._links.values())

    @property
    def refused(self) -> Mapping[str, int]:
        """Connections that the transport did not take, by reason."""
        return self._transport.refused

    def heard(self) -> Mapping[NodeId, float]:
        """Seconds that this node has listened since something valid last came from each peer."""
        return {peer: self._listened_s - when for peer, when in self._heard.items()}

    def _link(self, peer: NodeId) -> Link:
        if peer not in self._links:
            settings = self._settings
            self._links[peer] = Link(settings.run, settings.incarnation, settings.max_payload_bytes)
        return self._links[peer]

    def _push(self, peer: NodeId, snapshot: Snapshot) -> int:
        """Queue it, behind this node's hello where that has not been said; its bytes, without those of the hello."""
        link = self._link(peer)
        if self._greeting is not None and link.sent == 0:
            self.traffic.control += self._queue(peer, link, self._greeting.snapshot)
        return self._queue(peer, link, snapshot)

    def _queue(self, peer: NodeId, link: Link, snapshot: Snapshot) -> int:
        chunks = link.push(snapshot, self._clock())
        for frames in chunks:
            self._transmit(peer, frames)
        return sum(len(frame) for frames in chunks for frame in frames)

    def _transmit(self, peer: NodeId, frames: Sequence[Buffer]) -> None:
        if len(frames) > 1:
            self._near.pop(peer, None)
        self._near.setdefault(peer)
        self._transport.send(peer, frames)

    def _leave_some(self) -> None:
        """Close connections on which nothing is under way, as many as there are above the limit."""
        limit = self._settings.connections
        excess = 0 if limit is None else len(self._near) - limit
        for peer in list(self._near) if excess > 0 else ():
            link = self._links[peer]
            if link.quiet:
                self._control(peer, link.status(CLOSE))
                self._leave(peer)
                excess -= 1
            if excess <= 0:
                break

    def _leave(self, peer: NodeId) -> None:
        self._transport.disconnect(peer)
        self._near.pop(peer, None)

    def _await(self, kind: str, key: Key) -> Message | None:
        if (message := self._inbox.take(kind, key)) is not None:
            return message
        round, _, sender = key
        began, since = self._listen()
        self.waits_for, awaited = (sender, began), sender
        while (message := self._inbox.take(kind, key)) is None:
            last, holder = self._departed.get(sender, (round, sender))
            if round > last:
                break
            if holder != awaited:  # only now is anything expected of it
                awaited, (_, since) = holder, self._listen()
            self._pump(POLL_S)
            if awaited not in self._muted:
                self._check_silence(awaited, since, f"{kind} of round {round}")
        self.waits_for = None
        self.waited_s += self._clock() - began
        return message

    def _remember(self, message: Message) -> None:
        """A neighbor that is lost may have told only some of us: its last messages are kept to be handed on."""
        if self._settings.remembers:
            buffers = {name: array.copy() for name, array in message.payload.buffers.items()}  # mixers overwrite theirs
            kept = replace(message, payload=Payload(buffers, message.payload.scalars))
            self._recent.setdefault(message.sender, deque(maxlen=REMEMBERED)).append(kept)

    def _check_all(self, since: float, what: str) -> None:
        for peer in list(self._near):
            self._check_silence(peer, since, what)

    def _check_silence(self, peer: NodeId, since: float, what: str) -> None:
        silent = self._listened_s - max(since, self._heard.get(peer, since))
        if self._settings.connections is not None and silent > ASK_AFTER * self._beat_s:
            for frames in self._link(peer).ask(self._clock(), self._beat_s):
                self._control(peer, frames)
        if silent <= self._settings.deadline_s:
            return
        if self._accuse is None:
            raise PeerSilent(f"node {self._node} waits for {what} from node {peer}, silent for {silent:.0f} s")
        self._accuse(peer, silent)

    def _pump(self, timeout_s: float) -> None:
        """One look at the network, the clock, and whatever `watch` looks at."""
        self._watch()
        arrived = self._transport.poll(min(timeout_s, self._beat_s / 2))
        now, _ = self._listen()
        for peer, frames in arrived:
            if self._admitted is not None and peer not in self._admitted:
                self._drop(peer, "not a neighbor", "nothing is expected of it")
            elif peer not in self._muted:
                self._receive(peer, frames, now)
        beat = now - self._last_beat >= self._beat_s
        for peer in list(self._near):
            link = self._links[peer]
            for answer in link.tick(now):
                self._control(peer, answer)
            if beat or link.unconfirmed >= CONFIRM_AFTER or link.unconfirmed_bytes >= CONFIRM_BYTES:
                self._control(peer, link.status())
        if beat:
            self._last_beat = now
        self._leave_some()

    def _listen(self) -> tuple[float, float]:
        """The time, and how long this node has listened; a long gap since the last look counts as one beat only."""
        now = self._clock()
        self._listened_s += min(now - self._last_look, self._beat_s)
        self._last_look = now
        return now, self._listened_s

    def _receive(self, peer: NodeId, frames: Sequence[Buffer], now: float) -> None:
        link = self._link(peer)
        known = link.peer_incarnation
        try:
            content, answers = link.receive(frames, now)
            if link.peer_incarnation != known:
                self._inbox.forget(peer)
                self._greeted.discard(peer)
            self._heard[peer] = self._listened_s
            if link.left and link.quiet:
                self._leave(peer)
            else:
                self._near.setdefault(peer)
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
        if self._greeting is not None and self._greeting.message.kind == message.kind:
            self._greeting.check(peer, message)
            self._greeted.add(peer)
            return
        if self._greeting is not None and peer not in self._greeted:
            self._drop(peer, "not greeted", f"{message.kind!r} of round {message.round} came before its hello")
            return
        first, kind = key = _original(message)
        if first != peer and first not in self._muted:
            self._drop(peer, "foreign", f"hands on what came from node {first}, which is not lost")
            return
        why = self._inbox.put(replace(message, kind=kind, sender=first))
        if why is not None:
            self._drop(peer, why, f"{message.kind!r} of round {message.round}")
            return
        if key in self._newest or len(self._newest) < MAX_KINDS * len(self._links):
            self._newest[key] = max(message.round, self._newest.get(key, -1))

    def _drop(self, peer: NodeId, why: str, detail: str) -> None:
        if not self.dropped[f"{why}/{peer}"]:
            self._log(f"dropped a message of node {peer} ({why}): {detail}; further ones are only counted")
        self.dropped[f"{why}/{peer}"] += 1

    def _confirm(self, peer: NodeId) -> None:
        """Acknowledge what came from the peer, unless that has been done."""
        if peer in self._muted:
            return
        link = self._link(peer)
        if link.unconfirmed:
            self._control(peer, link.status())

    def _control(self, peer: NodeId, frames: list[Buffer]) -> None:
        if peer in self._muted:
            return
        size = sum(len(frame) for frame in frames)
        if len(frames) > 1:
            self.traffic.resent += size
        else:
            self.traffic.control += size
        self._transmit(peer, frames)


def _relayed(lost: NodeId, kind: str) -> str:
    """The kind of a message that is handed on."""
    return f"of {lost}: {kind}"


def _original(message: Message) -> tuple[NodeId, str]:
    """The node that first sent the message, and its kind there."""
    head, found, kind = message.kind.partition(": ")
    number = head.removeprefix("of ")
    return (int(number), kind) if found and number.isdecimal() and len(number) < 10 else (message.sender, message.kind)
