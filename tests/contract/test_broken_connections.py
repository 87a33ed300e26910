"""Nothing is lost, doubled or reordered when connections break in the middle, again and again."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import pytest

from decentralized.channel import Channel
from decentralized.transport.security import Plain
from decentralized.transport.zeromq import ZeroMqTransport
from decentralized.types import Message, Payload

from .networks import TOKEN, channel_of, closing
from .proxy import Proxy

ROUNDS = 30
SIZES = (0, 1, 1000, 250_000, 750_000)  # float32 values: up to 3 MB


@contextmanager
def over_proxies(
    seed: int = 0, cuts: int = 0, mean_bytes: int = 1, deadline_s: float = 10.0
) -> Iterator[tuple[list[Channel], list[Proxy]]]:
    """Two channels, and the proxy in front of each of them."""
    transports = [ZeroMqTransport(node, Plain(TOKEN), deadline_s=deadline_s) for node in (0, 1)]
    proxies = [
        Proxy(int(transport.address.rpartition(":")[2]), seed + node, cuts, mean_bytes)
        for node, transport in enumerate(transports)
    ]
    for transport in transports:
        transport.introduce({node: proxy.address for node, proxy in enumerate(proxies)})
    with closing(transports):
        try:
            yield [channel_of(node, transport) for node, transport in enumerate(transports)], proxies
        finally:
            for proxy in proxies:
                proxy.close()


def values_of(round: int, sender: int) -> np.ndarray:
    size = SIZES[(round * 7 + sender) % len(SIZES)]
    return np.arange(size, dtype=np.float32) + 1000 * round + sender


class Conversation(threading.Thread):
    """One side: sends a few rounds ahead, checks what comes, and serves the other side until both are done."""

    def __init__(self, node: int, channel: Channel, finished: set[int], ahead: int = 4) -> None:
        super().__init__(daemon=True)
        self._node, self._channel, self._finished, self._ahead = node, channel, finished, ahead
        self.received: list[int] = []
        self.give_up = False

    def run(self) -> None:
        other = 1 - self._node
        for round in range(1 - self._ahead, ROUNDS + 1):
            if round + self._ahead <= ROUNDS:
                ahead = round + self._ahead
                payload = Payload({"values": values_of(ahead, self._node)})
                self._channel.send(other, Message("parameters", ahead, self._node, payload))
            if round < 1:
                continue
            ((_, got),) = self._channel.collect("parameters", round, [other])
            np.testing.assert_array_equal(got.payload.buffers["values"], values_of(round, other))
            self.received.append(round)
        self._finished.add(self._node)
        self._channel.drain(lambda: self.give_up or (self._finished >= {0, 1} and self._channel.idle))


def talk(channels: Sequence[Channel], patience_s: float) -> None:
    finished: set[int] = set()
    conversations = [Conversation(node, channel, finished) for node, channel in enumerate(channels)]
    for conversation in conversations:
        conversation.start()
    until = time.monotonic() + patience_s
    for conversation in conversations:
        conversation.join(max(0.1, until - time.monotonic()))
    in_time = not any(conversation.is_alive() for conversation in conversations)
    for conversation in conversations:
        conversation.give_up = True
        conversation.join(15.0)
        assert conversation.received == list(range(1, ROUNDS + 1))
    assert in_time, "everything arrived, but not everything was acknowledged"


@pytest.mark.parametrize("seed", [1, 2])
def test_messages_survive_connections_that_are_cut_again_and_again(seed: int) -> None:
    with over_proxies(seed, cuts=4, mean_bytes=4_000_000) as (channels, proxies):
        talk(channels, patience_s=25.0)
        assert sum(proxy.cuts for proxy in proxies) >= 4
        for node, channel in enumerate(channels):
            assert channel.idle
            assert channel.dropped.total() == 0
            assert channel.traffic.values == sum(values_of(round, node).nbytes for round in range(1, ROUNDS + 1))
        assert sum(channel.traffic.resent for channel in channels) > 0


def test_without_cuts_nothing_is_sent_again() -> None:
    with over_proxies() as (channels, _):
        talk(channels, patience_s=10.0)
        assert all(channel.traffic.resent == 0 for channel in channels)


def test_a_connection_that_dies_without_a_word_is_opened_anew() -> None:
    with over_proxies(deadline_s=1.0) as (channels, proxies):
        channels[0].send(1, Message("parameters", 1, 0, Payload({})))
        list(channels[1].collect("parameters", 1, [0]))
        proxies[1].fall_silent()
        channels[0].send(1, Message("parameters", 2, 0, Payload({})))
        serve = threading.Thread(target=channels[0].drain, args=(lambda: channels[0].idle,), daemon=True)
        serve.start()
        list(channels[1].collect("parameters", 2, [0]))
        channels[1].drain(lambda: not serve.is_alive())
