"""What the contract tests share: networks of either kind, and a way to wait that ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event
from typing import Any

from decentralized.channel import Channel, ChannelSettings
from decentralized.interfaces import Transport
from decentralized.transport.memory import MemoryNetwork
from decentralized.transport.security import Curve, KeyPair, Plain, Security
from decentralized.transport.zeromq import ZeroMqTransport
from decentralized.types import Buffer, NodeId

RUN = b"testrun1"
TOKEN = "the token of this run"
PATIENCE_S = 10.0

Arrived = list[tuple[NodeId, list[bytes]]]
MakeNetwork = Callable[[int], Sequence[Transport]]


def memory_nodes(nodes: int) -> list[Transport]:
    network = MemoryNetwork()
    return [network.transport(node) for node in range(nodes)]


def plain_nodes(nodes: int, deadline_s: float = 5.0) -> list[ZeroMqTransport]:
    return _introduced([Plain(TOKEN)] * nodes, deadline_s)


def curve_nodes(nodes: int, deadline_s: float = 5.0) -> list[ZeroMqTransport]:
    pairs = [KeyPair.new() for _ in range(nodes)]
    keys = {node: pair.public for node, pair in enumerate(pairs)}
    return _introduced([Curve(pair, keys) for pair in pairs], deadline_s)


def _introduced(securities: Sequence[Security], deadline_s: float) -> list[ZeroMqTransport]:
    transports = [ZeroMqTransport(node, security, deadline_s=deadline_s) for node, security in enumerate(securities)]
    for transport in transports:
        transport.introduce({node: other.address for node, other in enumerate(transports)})
    return transports


NETWORKS: dict[str, Callable[[int], Sequence[Transport]]] = {
    "memory": memory_nodes,
    "zeromq": plain_nodes,
    "zeromq, encrypted": curve_nodes,
}


@contextmanager
def closing(transports: Sequence[Transport]) -> Iterator[None]:
    try:
        yield
    finally:
        for transport in transports:
            transport.close()


def side_by_side(lives: Sequence[Callable[[], None]], failed: Event) -> None:
    """All of them at the same time, to their ends; raises what the first one raises that does.

    `failed` is set as soon as one raises, so that the others need not wait for it.
    """
    with ThreadPoolExecutor(len(lives)) as threads:
        running = [threads.submit(life) for life in lives]
        for life in running:
            life.add_done_callback(lambda ended: failed.set() if ended.exception() else None)
        for life in running:
            life.result()


def receive(transport: Transport, count: int, patience_s: float = PATIENCE_S) -> Arrived:
    """Polls until `count` messages have come or patience ends; returns what has come, copied."""
    arrived: Arrived = []
    until = time.monotonic() + patience_s
    while len(arrived) < count and time.monotonic() < until:
        arrived += [(peer, copied(frames)) for peer, frames in transport.poll(0.05)]
    return arrived


def copied(frames: Sequence[Buffer]) -> list[bytes]:
    return [bytes(frame) for frame in frames]


def channel_of(node: NodeId, transport: Transport, deadline_s: float = PATIENCE_S, **settings: Any) -> Channel:
    return Channel(node, transport, ChannelSettings(RUN, deadline_s, **settings))
