"""What all do about lost nodes: which round is their last, who hands on what, and how many walks went with them."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from random import Random

import pytest

from decentralized.control import Fact, Lost, Parted, Removed
from decentralized.types import NodeId
from launch.farewell import Farewell
from tests.unit.simulated.seeds import seeds


def parted(
    node: NodeId, lost: NodeId, newest: int = -1, sent: int = 0, received: int = 0, walks: bool = False
) -> Parted:
    """A neighbor's report."""
    return Parted(node, lost, newest, True, sent, received, walks)


def stranger(node: NodeId, lost: NodeId) -> Parted:
    return Parted(node, lost, -1, False, 0, 0, False)


def removed(farewell: Farewell, *reports: Parted) -> Removed:
    """What the last of these reports decides."""
    for report in reports[:-1]:
        assert farewell.hear(report) == []
    (fact,) = farewell.hear(reports[-1])
    assert isinstance(fact, Removed)
    return fact


class TestOneLoss:
    def test_its_last_round_is_the_newest_that_anybody_has(self) -> None:
        farewell = Farewell(5, reissue=True)
        assert farewell.lose(2) == [Lost(2)] and farewell.living == [0, 1, 3, 4]
        fact = removed(farewell, parted(4, 2, 7), parted(1, 2, 6), stranger(3, 2), parted(0, 2, 7))
        assert (fact.lost, fact.last, fact.holder, fact.lacking) == (2, 7, 0, {1: 6})

    def test_one_that_nobody_had_heard_of(self) -> None:
        farewell = Farewell(3, reissue=True)
        farewell.lose(0)
        fact = removed(farewell, parted(2, 0), stranger(1, 0))
        assert (fact.last, fact.lacking) == (-1, {})

    def test_what_a_lost_node_says_does_not_count(self) -> None:
        farewell = Farewell(3, reissue=True)
        farewell.lose(0)
        assert farewell.hear(parted(0, 0, 99)) == []
        assert removed(farewell, parted(1, 0, 3), parted(2, 0, 3)).last == 3

    def test_it_is_lost_once(self) -> None:
        farewell = Farewell(3, reissue=True)
        farewell.lose(0)
        assert farewell.lose(0) == []
        assert removed(farewell, parted(1, 0), parted(2, 0)).last == -1
        assert farewell.lose(0) == [] and farewell.hear(parted(1, 0)) == []


class TestMoreLosses:
    def test_nobody_waits_for_the_report_of_one_that_is_lost_too(self) -> None:
        farewell = Farewell(4, reissue=True)
        farewell.lose(0)
        assert farewell.hear(parted(1, 0, 5)) == farewell.hear(parted(2, 0, 4)) == []
        lost, fact = farewell.lose(3)
        assert lost == Lost(3) and isinstance(fact, Removed)
        assert (fact.lost, fact.last, fact.holder, fact.lacking) == (0, 5, 1, {2: 4})

    def test_what_only_a_lost_node_had_is_used_by_nobody(self) -> None:
        farewell = Farewell(4, reissue=True)
        farewell.lose(0)
        farewell.hear(parted(3, 0, 6))
        farewell.lose(3)
        assert removed(farewell, parted(1, 0, 5), parted(2, 0, 5)).last == 5

    def test_one_that_was_to_hand_something_on_may_not_have_done_it(self) -> None:
        farewell = Farewell(4, reissue=True)
        farewell.lose(0)
        fact = removed(farewell, parted(1, 0, 6), parted(2, 0, 5), parted(3, 0, 5))
        assert (fact.holder, fact.lacking) == (1, {2: 5, 3: 5})
        assert farewell.lose(1) == [Lost(1), Lost(0)]
        fact = removed(farewell, parted(2, 0, 5), parted(3, 0, 6))  # it had handed it on to one of them
        assert (fact.last, fact.holder, fact.lacking) == (6, 3, {2: 5})

    def test_one_that_had_nothing_to_hand_on_is_not_missed(self) -> None:
        farewell = Farewell(4, reissue=True)
        farewell.lose(0)
        assert removed(farewell, parted(1, 0, 6), parted(2, 0, 6), parted(3, 0, 6)).holder == 1
        assert farewell.lose(1) == [Lost(1)]

    def test_walks_are_counted_once_even_if_reports_are_asked_for_twice(self) -> None:
        farewell = Farewell(4, reissue=False)
        farewell.lose(0)
        fact = removed(farewell, *(parted(node, 0, -node, 1, 1, True) for node in (1, 2, 3)))
        assert fact.walks == 1 and fact.lacking
        farewell.lose(1)
        fact = removed(farewell, *(parted(node, 0, -node, 1, 1, True) for node in (2, 3)))
        assert (fact.lost, fact.walks) == (0, 0) and farewell.walks == 3


class TestWalks:
    """A lost node's walks are its own first one, and those that went in, less those that came out."""

    def test_one_that_has_only_its_own(self) -> None:
        farewell = Farewell(3, reissue=True)
        farewell.lose(2)
        fact = removed(farewell, parted(1, 2, walks=True), parted(0, 2, walks=True))
        assert (fact.walks, fact.reissuer, fact.reissued, farewell.walks) == (1, 0, 1, 3)

    def test_they_are_not_started_anew_where_nobody_wants_it(self) -> None:
        farewell = Farewell(3, reissue=False)
        farewell.lose(2)
        fact = removed(
            farewell, parted(0, 2, sent=4, received=3, walks=True), parted(1, 2, sent=2, received=3, walks=True)
        )
        assert (fact.walks, fact.reissued, farewell.walks) == (1, 0, 2)

    def test_every_walk_can_be_lost_with_one_node(self) -> None:
        farewell = Farewell(3, reissue=False)
        farewell.lose(2)
        removed(farewell, parted(0, 2, sent=1, walks=True), parted(1, 2, sent=1, walks=True))
        assert farewell.walks == 0

    @pytest.mark.parametrize("reissue", [True, False])
    def test_where_no_models_walk_the_living_have_enough_of_them(self, reissue: bool) -> None:
        farewell = Farewell(4, reissue)
        for lost in (0, 1, 2):
            farewell.lose(lost)
            removed(farewell, *(parted(node, lost, 5) for node in range(lost + 1, 4)))
            assert farewell.walks >= len(farewell.living)

    def test_nodes_that_have_stopped_walking_say_what_there_was(self) -> None:
        """Some already mix, others wait for the last models: what the walks were is still counted in full."""
        farewell = Farewell(3, reissue=False)
        farewell.lose(2)
        fact = removed(farewell, parted(0, 2, 9, sent=5, received=3), parted(1, 2, sent=1, received=4, walks=True))
        assert fact.walks == 0 and farewell.walks == 3

    def test_walks_that_came_from_an_earlier_lost_node_are_not_forgotten(self) -> None:
        """Node 2 gave its walk to node 1 and was lost; node 1 has two then, and loses them."""
        farewell = Farewell(3, reissue=False)
        farewell.lose(2)
        assert removed(farewell, parted(0, 2, walks=True), parted(1, 2, received=1, walks=True)).walks == 0
        farewell.lose(1)
        assert removed(farewell, parted(0, 1, walks=True)).walks == 2 and farewell.walks == 1

    def test_a_neighbor_starts_them_anew_if_there_is_one(self) -> None:
        farewell = Farewell(4, reissue=True)
        farewell.lose(3)
        fact = removed(farewell, stranger(0, 3), stranger(1, 3), parted(2, 3, walks=True))
        assert (fact.reissuer, fact.reissued) == (2, 1)


@dataclass
class Wanderer:
    """A node whose models walk. Counters are by peer."""

    holds: int = 1
    sent: Counter[NodeId] = field(default_factory=Counter)
    received: Counter[NodeId] = field(default_factory=Counter)
    mutes: set[NodeId] = field(default_factory=set)
    down: deque[Fact] = field(default_factory=deque)  # from agent 0
    up: deque[Parted] = field(default_factory=deque)  # to it


class Wandering:
    """Walks that move in a full graph while nodes are lost, and agent 0 that counts them."""

    def __init__(self, nodes: int, reissue: bool, random: Random) -> None:
        self.farewell, self.random = Farewell(nodes, reissue), random
        self.nodes = {node: Wanderer() for node in range(nodes)}
        self.flying: list[tuple[NodeId, NodeId]] = []
        self.said: list[Fact] = []

    def lose(self) -> None:
        victim = self.random.choice(list(self.nodes))
        reports = self.nodes.pop(victim).up
        for _ in range(self.random.randint(0, len(reports))):  # these come through
            self.say(self.farewell.hear(reports.popleft()))
        self.say(self.farewell.lose(victim))

    def say(self, facts: list[Fact]) -> None:
        self.said += facts
        for node in self.nodes.values():
            node.down.extend(facts)

    def send(self, node: NodeId) -> None:
        me = self.nodes[node]
        others = [peer for peer in range(len(self.farewell.living) + len(self.farewell.lost)) if peer != node]
        others = [peer for peer in others if peer not in me.mutes]
        if me.holds and others:
            peer = self.random.choice(others)
            me.holds -= 1
            me.sent[peer] += 1
            self.flying.append((node, peer))

    def arrive(self) -> None:
        """One model: a node that is dead, or that does not listen to the sender any more, does not take it."""
        if self.flying:
            sender, to = self.flying.pop(self.random.randrange(len(self.flying)))
            if to in self.nodes and sender not in self.nodes[to].mutes:
                self.nodes[to].holds += 1
                self.nodes[to].received[sender] += 1

    def hear(self, node: NodeId) -> None:
        me = self.nodes[node]
        if not me.down:
            return
        fact = me.down.popleft()
        if isinstance(fact, Lost):
            me.mutes.add(fact.node)
            sent, received = me.sent[fact.node], me.received[fact.node]
            me.up.append(Parted(node, fact.node, self.random.randint(-1, 1), True, sent, received, True))
        elif isinstance(fact, Removed) and fact.reissuer == node:
            me.holds += fact.reissued

    def report(self, node: NodeId) -> None:
        if self.nodes[node].up:
            self.say(self.farewell.hear(self.nodes[node].up.popleft()))

    def settle(self) -> None:
        while self.flying or any(node.down or node.up for node in self.nodes.values()):
            self.arrive()
            for node in self.nodes:
                self.hear(node)
                self.report(node)


@seeds(150)
@pytest.mark.parametrize("reissue", [True, False])
def test_the_count_is_the_truth(reissue: bool, seed: int) -> None:
    random = Random(seed)
    run = Wandering(random.randint(2, 6), reissue, random)
    losses = random.randint(1, len(run.nodes) - 1)
    for _ in range(300):
        node = random.choice(list(run.nodes))
        steps: list[Callable[[], object]] = [
            partial(run.send, node),
            run.arrive,
            partial(run.hear, node),
            partial(run.report, node),
        ]
        random.choice(steps)()
        if losses and random.random() < 0.02:
            losses -= 1
            run.lose()
    run.settle()
    assert run.farewell.walks == sum(node.holds for node in run.nodes.values())
    facts = [fact for fact in run.said if isinstance(fact, Removed)]
    assert {fact.lost for fact in facts} == run.farewell.lost
    for lost in run.farewell.lost:
        newest = [fact for fact in facts if fact.lost == lost][-1]
        assert newest.holder in run.nodes or not newest.lacking
    if not reissue:
        assert sum(fact.walks for fact in facts) == len(run.farewell.lost) + len(run.nodes) - run.farewell.walks
