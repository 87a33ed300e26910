"""What both transports promise: the network of the processes and its in-process twin."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator, Sequence

import numpy as np
import psutil
import pytest

from decentralized.errors import NetworkError
from decentralized.interfaces import Transport
from decentralized.link import CHUNK_BYTES
from decentralized.types import Buffer, Message, NodeId, Payload

from .networks import NETWORKS, MakeNetwork, channel_of, closing, copied, receive


@pytest.fixture(params=NETWORKS)
def make(request: pytest.FixtureRequest) -> Iterator[MakeNetwork]:
    """Makes a network of so many nodes, each of which knows all others; it is closed after the test."""
    made: list[Transport] = []

    def network(nodes: int) -> Sequence[Transport]:
        transports = NETWORKS[request.param](nodes)
        made.extend(transports)
        return transports

    with closing(made):
        yield network


def message(round: int, sender: NodeId, values: np.ndarray) -> Message:
    return Message("parameters", round, sender, Payload({"values": values}))


def test_frames_arrive_as_they_were_with_their_sender(make: MakeNetwork) -> None:
    nodes = make(3)
    sent: list[list[Buffer]] = [[b"one"], [b"", b"two", b""], [b""], [b"x" * 100, nodes[1].freeze(b"frozen")]]
    for frames in sent:
        nodes[1].send(0, frames)
    nodes[2].send(0, [b"from two"])
    arrived = receive(nodes[0], 5)
    assert [frames for sender, frames in arrived if sender == 1] == [copied(frames) for frames in sent]
    assert [frames for sender, frames in arrived if sender == 2] == [[b"from two"]]


def test_messages_of_a_sender_stay_in_order(make: MakeNetwork) -> None:
    nodes = make(3)
    for number in range(300):
        nodes[1 + number % 2].send(0, [b"%d" % number, b"y" * (number * 37 % 5000)])
    arrived = receive(nodes[0], 300)
    for sender in (1, 2):
        numbers = [int(frames[0]) for peer, frames in arrived if peer == sender]
        assert numbers == list(range(sender - 1, 300, 2))


def test_both_directions_and_nothing_comes_twice(make: MakeNetwork) -> None:
    nodes = make(2)
    for number in range(100):
        nodes[0].send(1, [b"%d" % number])
        nodes[1].send(0, [b"%d" % number])
    for node in nodes:
        assert [int(frames[0]) for _, frames in receive(node, 100)] == list(range(100))
        assert receive(node, 1, patience_s=0.1) == []


def test_poll_returns_empty_when_nothing_comes(make: MakeNetwork) -> None:
    nodes = make(2)
    assert list(nodes[0].poll(0.0)) == []
    assert list(nodes[0].poll(0.01)) == []


def test_poll_wakes_when_something_comes(make: MakeNetwork) -> None:
    nodes = make(2)
    timer = threading.Timer(0.1, nodes[1].send, (0, [b"wake up"]))
    timer.start()
    assert receive(nodes[0], 1) == [(1, [b"wake up"])]
    timer.join()


def test_what_is_frozen_does_not_change(make: MakeNetwork) -> None:
    nodes = make(3)
    memory = bytearray(b"before" * 1000)
    frozen = nodes[0].freeze(memoryview(memory))
    memory[:] = b"after!" * 1000
    assert len(frozen) == 6000
    for to in (1, 2, 1):
        nodes[0].send(to, [frozen])
    assert receive(nodes[1], 2) == [(0, [b"before" * 1000])] * 2
    assert receive(nodes[2], 1) == [(0, [b"before" * 1000])]


def test_a_node_that_does_not_exist_is_an_error(make: MakeNetwork) -> None:
    with pytest.raises(NetworkError, match="node 7"):
        make(2)[0].send(7, [b"hello"])


def test_what_is_sent_to_a_closed_node_is_lost_without_an_error(make: MakeNetwork) -> None:
    nodes = make(2)
    nodes[1].close()
    nodes[0].send(1, [b"hello"])
    nodes[1].close()


def test_messages_of_5_mb_travel_in_chunks_of_at_most_1_mib(make: MakeNetwork) -> None:
    nodes = make(2)
    values = np.arange(1_310_720 - 7, dtype=np.float32)
    largest: list[int] = []
    poll = nodes[1].poll

    def watched(timeout_s: float) -> Sequence[tuple[NodeId, Sequence[Buffer]]]:
        arrived = poll(timeout_s)
        largest.extend(len(frame) for _, frames in arrived for frame in frames)
        return arrived

    nodes[1].poll = watched  # type: ignore[method-assign]
    sender, receiver = channel_of(0, nodes[0]), channel_of(1, nodes[1])
    for round in (1, 2, 3):
        sender.send(1, message(round, 0, values + round))
    for round in (1, 2, 3):
        ((_, got),) = receiver.collect("parameters", round, [0])
        np.testing.assert_array_equal(got.payload.buffers["values"], values + round)
    assert max(largest) == CHUNK_BYTES
    assert sender.traffic.values == 3 * values.nbytes


def test_many_large_messages_both_ways_before_anyone_looks(make: MakeNetwork) -> None:
    """Sending never blocks: with blocking sends and bounded queues both nodes would wait for each other for ever."""
    nodes, rounds = make(2), range(1, 17)
    channels = [channel_of(node, transport) for node, transport in enumerate(nodes)]
    values = np.arange(412_500, dtype=np.float32)  # 1.65 MB
    for round in rounds:
        for node, channel in enumerate(channels):
            channel.send(1 - node, message(round, node, values + round))
    for node, channel in enumerate(channels):
        for round in rounds:
            ((_, got),) = channel.collect("parameters", round, [1 - node])
            np.testing.assert_array_equal(got.payload.buffers["values"], values + round)
    for channel in channels:
        assert channel.dropped.total() == 0
        assert channel.traffic.resent == 0


def test_no_node_shares_memory_with_another(make: MakeNetwork) -> None:
    nodes = make(4)
    channels = [channel_of(node, transport) for node, transport in enumerate(nodes)]
    for size in (3, 1000, CHUNK_BYTES // 2):  # one chunk, and several
        values = np.zeros(size, np.float32)
        channels[0].broadcast([1, 2, 3], message(size, 0, values))
        for node in (1, 2, 3):
            ((_, got),) = channels[node].collect("parameters", size, [0])
            assert not got.payload.buffers["values"].any()
            got.payload.buffers["values"][:] = node
        assert not values.any()


def in_use() -> tuple[int, int, int]:
    """Open files, open connections and threads of this process."""
    gc.collect()
    process = psutil.Process()
    return process.num_fds(), len(process.net_connections()), process.num_threads()


def test_close_leaves_nothing_behind(make: MakeNetwork) -> None:
    def live() -> None:
        nodes = make(3)
        with closing(nodes):
            for node in (0, 1, 2):
                nodes[node].send((node + 1) % 3, [nodes[node].freeze(b"x" * 100_000)])
                nodes[node].send((node + 2) % 3, [b"never read"])
            assert receive(nodes[0], 1) != []

    live()  # whatever is loaded or cached at first use
    before = in_use()
    for _ in range(3):
        live()
    assert in_use() == before
