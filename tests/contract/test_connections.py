"""Nodes that meet others in each round and stay connected with few of them: nothing is lost, nothing comes twice."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from threading import Event

import numpy as np
import pytest

from decentralized.channel import Channel
from decentralized.errors import HelloMismatch
from decentralized.interfaces import Transport
from decentralized.seeding import numpy_generator
from decentralized.topologies.random_peers import draw_others
from decentralized.transport.zeromq import ZeroMqTransport
from decentralized.types import Message, NodeId, Payload

from .networks import NETWORKS, PATIENCE_S, channel_of, closing, side_by_side

NODES, LIMIT, SENDS = 8, 2, 2
SIZES = (0, 1, 1000, 300_000)  # float32 values: up to two chunks
HELLO = "hello"


def values_of(round: int, sender: NodeId, to: NodeId) -> np.ndarray:
    return np.arange(SIZES[(round * 7 + sender) % len(SIZES)], dtype=np.float32) + 100 * round + 10 * sender + to


class Talker:
    """One node: in each round it sends to nodes that it has drawn, and waits for those that have drawn it."""

    def __init__(self, node: NodeId, channel: Channel, rounds: int, over: Callable[[], bool]) -> None:
        self.node, self.channel, self._rounds, self._over = node, channel, rounds, over
        self.met: set[NodeId] = set()
        self.wrong: list[str] = []
        self.done = False

    def live(self) -> None:
        self.channel.greet(Message(HELLO, 0, self.node, Payload({}, {"me": self.node})), self._hear)
        for round in range(1, self._rounds + 1):
            drawn_NK = draw_others(NODES, SENDS, numpy_generator(round, "test"))
            for to in drawn_NK[self.node].tolist():
                payload = Payload({"values": values_of(round, self.node, to)})
                self.channel.send(to, Message("parameters", round, self.node, payload))
            senders = np.flatnonzero((drawn_NK == self.node).any(axis=1)).tolist()
            for sender, got in self.channel.collect("parameters", round, senders):
                if sender not in self.met:
                    self.wrong.append(f"node {sender} was not met before its first message")
                expected = values_of(round, sender, self.node)
                if got.payload.buffers["values"].tobytes() != expected.tobytes():
                    self.wrong.append(f"round {round} of node {sender} came wrong")
        self.done = True
        self.channel.drain(self._over)

    def _hear(self, peer: NodeId, hello: Message) -> None:
        if hello.payload.scalars != {"me": peer}:
            raise HelloMismatch(f"{hello.payload.scalars} of node {peer}")
        self.met.add(peer)


def converse(transports: Sequence[Transport], rounds: int, connections: int | None = None) -> list[Talker]:
    """All nodes at once, until every message has been confirmed and few connections are left."""
    limit = connections or NODES

    def over() -> bool:
        settled = all(talker.done and talker.channel.idle and len(talker.channel._near) <= limit for talker in talkers)
        return settled or failed.is_set() or time.monotonic() > until

    talkers: list[Talker] = []
    failed = Event()
    for node, transport in enumerate(transports):
        talkers.append(Talker(node, channel_of(node, transport, connections=connections), rounds, over))
    until = time.monotonic() + 6 * PATIENCE_S
    side_by_side([talker.live for talker in talkers], failed)
    return talkers


@pytest.mark.parametrize("network", NETWORKS)
def test_few_connections_lose_nothing(network: str, monkeypatch: pytest.MonkeyPatch) -> None:
    transports = NETWORKS[network](NODES)
    left: list[NodeId] = []
    disconnect = type(transports[0]).disconnect

    def counted(transport: Transport, peer: NodeId) -> None:
        left.append(peer)
        disconnect(transport, peer)

    monkeypatch.setattr(type(transports[0]), "disconnect", counted)
    with closing(transports):
        talkers = converse(transports, 25, connections=LIMIT)
        for talker in talkers:
            assert talker.done and not talker.wrong, talker.wrong
            assert talker.channel.idle and not talker.channel.dropped
            assert len(talker.channel._near) <= LIMIT
        assert len(left) > 2 * NODES, "connections were closed again and again"
        for transport in transports:
            if isinstance(transport, ZeroMqTransport):
                assert len(transport._dealers) <= LIMIT


def test_without_a_limit_nobody_leaves() -> None:
    transports = NETWORKS["memory"](NODES)
    with closing(transports):
        for talker in converse(transports, 10):
            assert talker.done and not talker.wrong
            assert len(talker.channel._near) > LIMIT


def test_a_peer_that_runs_something_else_is_refused_before_its_first_message() -> None:
    one, two = NETWORKS["memory"](2)
    channels = channel_of(0, one), channel_of(1, two)
    judged: list[str] = []

    def refuse(peer: NodeId, hello: Message) -> None:
        judged.append(str(hello.payload.scalars["seed"]))
        raise HelloMismatch("another seed")

    channels[0].greet(Message(HELLO, 0, 0, Payload({}, {"seed": 1})), lambda peer, hello: None)
    channels[1].greet(Message(HELLO, 0, 1, Payload({}, {"seed": 2})), refuse)
    channels[0].send(1, Message("parameters", 1, 0, Payload({"values": np.ones(3, np.float32)})))
    with pytest.raises(HelloMismatch):
        list(channels[1].collect("parameters", 1, [0]))
    assert judged == ["1"]
