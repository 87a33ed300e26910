"""Edges that go one way, and a slow node: real channels, and threads that run as they like."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from decentralized.algorithms.pace import AHEAD, Pace
from decentralized.channel import Channel, ChannelSettings
from decentralized.interfaces import ChangingGraph, Transport
from decentralized.topologies.one_peer import OnePeerExponential
from decentralized.topologies.random_peers import Epidemic
from decentralized.types import Message, Neighbors, NodeId, Payload

from .networks import NETWORKS, PATIENCE_S, RUN, closing

NODES, ROUNDS, SLOW_S = 4, 80, 0.002
ROOM = AHEAD + 4  # messages of one sender: a round that goes both ways, and confirmations, come on top


class Chain:
    """0 -> 1 -> 2 -> 3."""

    def neighbors(self, round: int, node: NodeId) -> Neighbors:
        return Neighbors((node + 1,) if node + 1 < NODES else (), (node - 1,) if node else ())


def one_of_three() -> ChangingGraph:
    """Each node sends to one other in a round: in a third of the rounds a node receives from nobody."""
    return Epidemic(Epidemic.Config(name="epidemic", degree=1)).changing(NODES, 0, _no_other)


def hops() -> ChangingGraph:
    settings = OnePeerExponential.Config(name="one-peer-exponential")
    return OnePeerExponential(settings).changing(NODES, 0, _no_other)


def _no_other(settings: Any, seed: int) -> ChangingGraph:
    raise AssertionError("no other graph is needed")


GRAPHS = {"chain": Chain, "epidemic": one_of_three, "one-peer-exponential": hops}


class Worker(threading.Thread):
    """One node, with rounds as D-PSGD has them."""

    def __init__(self, node: NodeId, transport: Transport, graph: ChangingGraph, team: list[Worker]) -> None:
        super().__init__(daemon=True)
        self._node, self._graph, self._team = node, graph, team
        settings = ChannelSettings(RUN, PATIENCE_S, max_waiting=ROOM, connections=2)
        self.channel = Channel(node, transport, settings, watch=self._look)
        self._until = time.monotonic() + 6 * PATIENCE_S
        self.done = False
        self.wrong: list[str] = []

    def _look(self) -> None:
        """Nobody waits for what does not come any more."""
        if time.monotonic() > self._until or any(worker.wrong for worker in self._team):
            raise TimeoutError(f"node {self._node} waits for {self.channel.waits_for}")

    def run(self) -> None:
        try:
            self._work()
        except Exception as error:  # noqa: BLE001 - the test says what went wrong
            self.wrong.append(repr(error))

    def _work(self) -> None:
        context: Any = SimpleNamespace(node=self._node, channel=self.channel, losses=SimpleNamespace(lost=set()))
        pace = Pace()
        for round in range(1, ROUNDS + 1):
            time.sleep(SLOW_S if self._node == NODES - 1 else 0)
            self.channel.progress()
            around = self._graph.neighbors(round, self._node)
            self.channel.broadcast(around.send_to, Message("parameters", round, self._node, Payload({})))
            senders = [sender for sender, _ in self.channel.collect("parameters", round, around.receive_from)]
            assert senders == list(around.receive_from)
            pace.keep(context, around)
        self.done = True
        self.channel.drain(lambda: all(worker.done and worker.channel.idle for worker in self._team))


def together(transports: Sequence[Transport], graph: ChangingGraph) -> list[Worker]:
    team: list[Worker] = []
    team += [Worker(node, transport, graph, team) for node, transport in enumerate(transports)]
    for worker in team:
        worker.start()
    for worker in team:
        worker.join()
    return team


@pytest.mark.parametrize("network", ["memory", "zeromq"])
@pytest.mark.parametrize("graph", GRAPHS)
def test_nobody_is_left_behind(graph: str, network: str) -> None:
    transports = NETWORKS[network](NODES)
    with closing(transports):
        for worker in together(transports, GRAPHS[graph]()):
            assert worker.done and not worker.wrong, worker.wrong
            assert not worker.channel.dropped
