"""Nodes of one process run one at a time, in node order, and end together when one of them fails."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress

import pytest

from decentralized.channel import Channel, ChannelSettings
from decentralized.errors import NetworkError
from decentralized.transport.memory import MemoryNetwork, Turns
from decentralized.types import Message, NodeId, Payload

PATIENCE_S = 10.0


def live_together(turns: Turns, nodes: int, live: Callable[[NodeId], None]) -> None:
    """Runs `live(node)` for each node in its own thread, as the in-memory run does."""

    def thread(node: NodeId) -> None:
        with suppress(NetworkError):  # another node failed
            turns.enter(node)
            live(node)
        turns.leave(node, last=True)

    threads = [threading.Thread(target=thread, args=(node,), daemon=True) for node in range(nodes)]
    for one in reversed(threads):
        one.start()
    turns.begin()
    for one in threads:
        one.join(PATIENCE_S)
    assert not any(one.is_alive() for one in threads)


def test_turns_go_round_in_node_order_whatever_the_threads_do() -> None:
    order: list[str] = []
    turns = Turns(range(3), lambda node: order.append(f"+{node}"), lambda node: order.append(f"-{node}"))

    def live(node: NodeId) -> None:
        for _ in range(node):  # node 0 leaves first
            order.append(str(node))
            turns.wait(node)

    live_together(turns, 3, live)
    assert " ".join(order) == "+0 -0 +1 1 -1 +2 2 -2 +1 -1 +2 2 -2 +2 -2"


def test_a_ring_exchanges_the_same_way_every_time() -> None:
    def run(nodes: int, rounds: int) -> list[tuple[NodeId, int, NodeId]]:
        turns = Turns(range(nodes))
        network = MemoryNetwork(turns)
        transports = [network.transport(node) for node in range(nodes)]
        seen: list[tuple[NodeId, int, NodeId]] = []

        def live(node: NodeId) -> None:
            channel = Channel(node, transports[node], ChannelSettings(b"testrun1", PATIENCE_S))
            peers = sorted({(node + 1) % nodes, (node - 1) % nodes} - {node})
            for round in range(rounds):
                channel.broadcast(peers, Message("k", round, node, Payload({})))
                seen.extend((node, round, peer) for peer, _ in channel.collect("k", round, peers))

        live_together(turns, nodes, live)
        return seen

    for nodes in (1, 2, 5):
        first = run(nodes, 20)
        assert len(first) == 20 * nodes * min(2, nodes - 1)
        assert run(nodes, 20) == first


def test_when_one_node_fails_the_others_end_at_their_next_turn() -> None:
    turns = Turns(range(3))
    ended: list[NodeId] = []

    def live(node: NodeId) -> None:
        try:
            while True:
                if node == 1:
                    turns.stop()
                    return
                turns.wait(node)
        finally:
            ended.append(node)

    live_together(turns, 3, live)
    assert ended == [1, 0]  # node 2 was stopped before its first turn


def test_an_unknown_node_is_an_error() -> None:
    network = MemoryNetwork()
    with pytest.raises(NetworkError, match="node 5"):
        network.transport(0).send(5, [b""])
