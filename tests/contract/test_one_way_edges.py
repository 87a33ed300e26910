"""Edges that go one way, and a slow node: real channels on real networks."""

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

from .networks import NETWORKS, PATIENCE_S, RUN, closing, side_by_side

NODES, ROUNDS = 4, 80
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


class Worker:
    """One node, with rounds as D-PSGD has them."""

    def __init__(self, node: NodeId, transport: Transport, graph: ChangingGraph, team: Team) -> None:
        self._node, self._graph, self._team = node, graph, team
        settings = ChannelSettings(RUN, PATIENCE_S, max_waiting=ROOM, connections=2)
        self.channel = Channel(node, transport, settings, watch=self._look)
        self.done = self.waits = False

    def _look(self) -> None:
        """It has found nothing to do, and looks at the network. Nobody waits for what does not come any more."""
        if self._team.failed.is_set() or time.monotonic() > self._team.until:
            raise TimeoutError(f"node {self._node} waits for {self.channel.waits_for}")
        self._team.tell(self, waits=True)

    def live(self) -> None:
        context: Any = SimpleNamespace(node=self._node, channel=self.channel)
        pace = Pace()
        for round in range(1, ROUNDS + 1):
            if self._node == NODES - 1:
                self._team.let_the_others_go_on(self)
            around = self._graph.neighbors(round, self._node)
            self.channel.broadcast(around.send_to, Message("parameters", round, self._node, Payload({})))
            senders = [sender for sender, _ in self.channel.collect("parameters", round, around.receive_from)]
            assert senders == list(around.receive_from)
            pace.keep(context, around)
            self._team.tell(self, waits=False)
        self.done = True
        self.channel.drain(lambda: all(worker.done and worker.channel.idle for worker in self._team.workers))


class Team:
    """All nodes; the last one is as slow as can be: it begins a round when the others wait."""

    def __init__(self, transports: Sequence[Transport], graph: ChangingGraph) -> None:
        self.failed, self.until = threading.Event(), time.monotonic() + 6 * PATIENCE_S
        self._told = threading.Condition()
        self.workers = [Worker(node, transport, graph, self) for node, transport in enumerate(transports)]

    def tell(self, worker: Worker, waits: bool) -> None:
        with self._told:
            worker.waits = waits
            self._told.notify_all()

    def let_the_others_go_on(self, slow: Worker) -> None:
        others = [worker for worker in self.workers if worker is not slow]
        with self._told:
            assert self._told.wait_for(lambda: all(worker.waits for worker in others), PATIENCE_S)


@pytest.mark.parametrize("network", ["memory", "zeromq"])
@pytest.mark.parametrize("graph", GRAPHS)
def test_nobody_is_left_behind(graph: str, network: str) -> None:
    transports = NETWORKS[network](NODES)
    with closing(transports):
        team = Team(transports, GRAPHS[graph]())
        side_by_side([worker.live for worker in team.workers], team.failed)
        assert not any(worker.channel.dropped for worker in team.workers)
