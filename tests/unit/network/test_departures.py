"""Going on without lost nodes: every neighbor of a lost node treats it alike, and nobody waits for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random

import pytest

from decentralized.algorithms.dpsgd import DPSGD
from decentralized.channel import Channel, ChannelSettings
from decentralized.control import Fact, Lost, Parted, Removed
from decentralized.departures import Departures, LivingTopology
from decentralized.errors import PeerSilent
from decentralized.keeper import Keeper
from decentralized.topologies.static import StaticTopology
from decentralized.types import Message, NodeId, Payload
from tests.unit.simulated.graphs import connected, full, line, star
from tests.unit.simulated.run import SimulatedRun
from tests.unit.simulated.seeds import seeds
from tests.unit.simulated.wire import Wire

DEADLINE_S = 60.0


class Nodes:
    """Channels of a few nodes whose messages arrive at once; `time` goes on while one of them waits."""

    def __init__(self, count: int) -> None:
        self.now = 0.0
        self.wire = Wire(self._deliver, Random(0))
        settings = ChannelSettings(b"testrun1", DEADLINE_S, remembers=True)
        self.channels = [Channel(node, self.wire.end(node), settings, clock=lambda: self.now) for node in range(count)]

    def send(self, sender: NodeId, to: NodeId, round: int, kind: str = "parameters") -> None:
        self.channels[sender].send(to, Message(kind, round, sender, Payload({}, {"from": sender, "of": round})))

    def collected(self, node: NodeId, round: int, *senders: NodeId) -> list[NodeId]:
        found = []
        for sender, message in self.channels[node].collect("parameters", round, senders):
            assert (message.sender, message.round, message.kind) == (sender, round, "parameters")
            assert message.payload.scalars == {"from": sender, "of": round}
            found.append(sender)
        return found

    def look(self) -> None:
        """All take in what has arrived."""
        for channel in self.channels:
            channel.poll("nothing")

    def _deliver(self) -> None:
        self.now += 1.0
        assert self.now < 5 * DEADLINE_S, "a node waits for ever"
        for (sender, to), frames in list(self.wire.flying.items()):
            while frames:
                self.wire.move(sender, to)


class TestChannel:
    """Node 2 is lost; nodes 0 and 1 are its neighbors."""

    def lose(self, nodes: Nodes, last: int, holder: NodeId, lost: NodeId = 2) -> None:
        for channel in nodes.channels:
            channel.mute(lost)
        for channel in nodes.channels:
            channel.depart(lost, last, holder)

    def test_nothing_more_comes_from_one_that_is_lost_and_nothing_goes_to_it(self) -> None:
        nodes = Nodes(3)
        nodes.send(2, 0, 1)
        nodes.look()
        nodes.channels[0].mute(2)
        nodes.send(2, 0, 2)
        nodes.look()
        assert nodes.channels[0].newest(2) == 1
        nodes.send(0, 2, 1)
        nodes.channels[2].mute(0)
        assert nodes.channels[2].newest(0) == -1 and nodes.channels[0].traffic.messages == 0
        assert nodes.channels[0].idle, "nobody will confirm anything"

    def test_what_had_arrived_is_used(self) -> None:
        nodes = Nodes(3)
        nodes.send(2, 0, 1)
        nodes.look()
        self.lose(nodes, last=1, holder=0)
        assert nodes.collected(0, 1, 2) == [2]

    def test_a_round_that_it_did_not_reach_is_not_waited_for(self) -> None:
        nodes = Nodes(3)
        self.lose(nodes, last=1, holder=0)
        nodes.send(1, 0, 2)
        assert nodes.collected(0, 2, 1, 2) == [1]

    @pytest.mark.parametrize("taken", [True, False], ids=["taken", "waiting"])
    def test_its_last_message_is_handed_on(self, taken: bool) -> None:
        nodes = Nodes(3)
        nodes.send(2, 0, 5)
        nodes.look()
        if taken:
            assert nodes.collected(0, 5, 2) == [2]
        self.lose(nodes, last=5, holder=0)
        nodes.channels[0].relay(1, 2, after=4)
        assert nodes.collected(1, 5, 2) == [2]
        assert nodes.channels[1].newest(2) == 5
        assert nodes.channels[0].traffic.messages == 1

    def test_two_rounds_are_handed_on_to_one_that_is_far_behind(self) -> None:
        nodes = Nodes(3)
        for round in (3, 4, 5):
            nodes.send(2, 0, round)
        nodes.look()
        for round in (3, 4):
            assert nodes.collected(0, round, 2) == [2]
        self.lose(nodes, last=5, holder=0)
        nodes.channels[0].relay(1, 2, after=3)
        assert [nodes.collected(1, round, 2) for round in (4, 5, 6)] == [[2], [2], []]

    def test_it_is_kept_as_it_came_though_mixers_write_into_what_they_are_given(self) -> None:
        import numpy as np

        nodes = Nodes(3)
        values = np.arange(3, dtype=np.float32)
        nodes.channels[2].send(0, Message("parameters", 1, 2, Payload({"values": values})))
        ((_, message),) = nodes.channels[0].collect("parameters", 1, [2])
        message.payload.buffers["values"][:] = -1
        self.lose(nodes, last=1, holder=0)
        nodes.channels[0].relay(1, 2, after=0)
        ((_, message),) = nodes.channels[1].collect("parameters", 1, [2])
        assert message.payload.buffers["values"].tolist() == [0, 1, 2]

    def test_it_is_handed_on_by_the_next_holder_when_the_first_is_lost_too(self) -> None:
        """Node 0 handed a message on to node 1, which has not taken it yet, and was lost before it told node 3."""
        nodes = Nodes(4)
        nodes.send(2, 0, 1)
        nodes.look()
        self.lose(nodes, last=1, holder=0)
        nodes.channels[0].relay(1, 2, after=0)
        nodes.look()
        self.lose(nodes, last=1, holder=1, lost=0)
        self.lose(nodes, last=1, holder=1)
        nodes.channels[1].relay(3, 2, after=0)
        assert nodes.collected(1, 1, 2) == [2]
        assert nodes.collected(3, 1, 2) == [2]

    def test_a_holder_that_is_no_neighbor_is_listened_to(self) -> None:
        nodes = Nodes(3)
        nodes.channels[1].admit([2])
        nodes.send(2, 0, 1)
        nodes.look()
        self.lose(nodes, last=1, holder=0)
        nodes.channels[0].relay(1, 2, after=0)
        assert nodes.collected(1, 1, 2) == [2]

    def test_nobody_hands_on_what_a_living_node_said(self) -> None:
        nodes = Nodes(3)
        nodes.send(0, 1, 1, kind="of 2: parameters")
        nodes.look()
        assert nodes.channels[1].newest(2) == -1
        nodes.send(2, 1, 1)
        assert nodes.collected(1, 1, 2) == [2]

    def test_a_holder_that_is_silent_is_accused(self) -> None:
        nodes = Nodes(3)
        self.lose(nodes, last=1, holder=0)
        nodes.channels[1].send(0, Message("x", 0, 1, Payload({})))
        with pytest.raises(PeerSilent, match="node 0"):
            nodes.collected(1, 1, 2)
        assert nodes.now < 3 * DEADLINE_S

    def test_walks_do_not_count_as_rounds(self) -> None:
        nodes = Nodes(3)
        nodes.send(2, 0, 40, kind="walks")
        nodes.send(2, 0, 0, kind="hello")
        nodes.look()
        assert nodes.channels[0].newest(2) == 40 and nodes.channels[0].newest(2, besides="walks") == 0


class TestOneNode:
    """Node 0 of a line of three; node 1 is lost."""

    def departures(self, channel: Channel | None) -> tuple[Departures, Keeper, list[Fact]]:
        self.channel, told = channel, []  # type: tuple[Channel | None, list[Fact]]
        keeper = Keeper(0, 0, 100, lambda fact, droppable=False: None)
        departures = Departures(keeper, {1}, lambda fact, droppable=False: told.append(fact), lambda: self.channel)
        return departures, keeper, told

    def test_one_that_has_begun_a_round_has_what_came_before(self) -> None:
        departures, keeper, told = self.departures(Nodes(3).channels[0])
        departures.greeted, keeper.begun = True, 8
        departures.hear(Lost(1))
        departures.hear(Lost(2))  # no neighbor
        assert told == [Parted(0, 1, 7, True, 0, 0, False), Parted(0, 2, -1, False, 0, 0, False)]

    def test_before_the_hello_it_has_only_what_came(self) -> None:
        nodes = Nodes(3)
        departures, _, told = self.departures(nodes.channels[0])
        departures.hear(Lost(1))
        nodes.send(1, 0, 0, kind="hello")
        nodes.look()
        assert told == [Parted(0, 1, -1, True, 0, 0, False)]

    def test_what_it_hears_before_it_has_a_channel_is_not_forgotten(self) -> None:
        """The addresses of all nodes and the loss of one come together."""
        departures, _, told = self.departures(None)
        departures.hear(Lost(1))
        nodes = Nodes(3)
        self.channel = nodes.channels[0]
        departures.catch_up()
        departures.hear(Removed(1, 0, 2, {}, 0, 0, 0))
        assert told == [Parted(0, 1, -1, True, 0, 0, False)]
        nodes.send(1, 0, 1)
        assert nodes.collected(0, 1, 1) == []

    def test_asked_again_later_it_has_no_round_after_the_last(self) -> None:
        """The node that was to hand something on is lost, many rounds later."""
        departures, keeper, told = self.departures(Nodes(3).channels[0])
        departures.greeted, keeper.begun = True, 5
        departures.hear(Lost(1))
        departures.hear(Removed(1, 4, 2, {}, 0, 0, 0))
        keeper.begun = 90
        told.clear()
        departures.hear(Lost(1))
        assert told == [Parted(0, 1, 4, True, 0, 0, False)]

    def test_it_is_left_out_two_rounds_after_its_last(self) -> None:
        departures, _, _ = self.departures(Nodes(3).channels[0])
        topology = LivingTopology(StaticTopology(line(3), 0), departures)
        departures.hear(Lost(1))
        assert departures.pending and departures.left_out(100) == set()
        departures.hear(Removed(1, 4, 0, {}, 0, 0, 0))
        assert not departures.pending
        assert [topology.neighbors(round).send_to for round in (4, 5, 6, 7)] == [(1,), (1,), (), ()]
        assert [topology.neighbors(round).receive_from for round in (5, 6)] == [(1,), ()]


def lasts(run: SimulatedRun) -> Mapping[NodeId, int]:
    """The last round of each lost node, as agent 0 said last."""
    return {fact.lost: fact.last for fact in run.heard if isinstance(fact, Removed)}


def degree(run: SimulatedRun, node: NodeId, round: int) -> int:
    """Without the nodes that are left out in this round."""
    last = lasts(run)
    return sum(peer not in last or round < last[peer] + 2 for peer in run.graph.targets[node])


def check(run: SimulatedRun) -> None:
    """The weights of the living are as decentralized/departures.py says, in each round.

    They are those of Metropolis and Hastings: symmetric by this formula, and with rows that sum to 1.
    """
    last, rounds = lasts(run), range(1, run.algorithm.rounds + 1)
    assert run.coordinator.abort is None and last.keys() <= run.coordinator._farewell.lost
    living = set(run.nodes) - run.coordinator._farewell.lost
    assert living
    for node in living:
        reports = run.nodes[node].reports
        assert [report.round for report in reports] == list(rounds)
        for report in reports:
            used = {peer for peer in run.graph.targets[node] if report.round <= last.get(peer, report.round)}
            assert report.weights.keys() - {node} == used, "all neighbors of a lost node use a message of it, or none"
            assert sum(report.weights.values()) == pytest.approx(1.0, abs=1e-12)
            for peer in used & living:
                degrees = (degree(run, node, report.round), degree(run, peer, report.round))
                assert report.weights[peer] == pytest.approx(1 / (1 + max(degrees)), abs=1e-12)


def dpsgd(random: Random) -> DPSGD.Config:
    order = random.choice(["train-then-mix", "mix-and-add"])
    return DPSGD.Config.model_validate({"name": "dpsgd", "rounds": random.randint(1, 8), "order": order})


def lose_some(run: SimulatedRun, random: Random, at_most: int, within: int) -> None:
    for victim in random.sample(range(run.graph.nodes), min(at_most, run.graph.nodes - 1)):
        how: Callable[[NodeId], None] = random.choice([run.kill, run.fail, run.accuse])
        run.at(random.randint(1, within), lambda victim=victim, how=how: how(victim))  # type: ignore[misc]


class TestRuns:
    @seeds(60)
    def test_losses_at_any_moment(self, seed: int) -> None:
        random = Random(seed)
        run = SimulatedRun(connected(random, random.randint(2, 6)), dpsgd(random), seed, on_peer_loss="continue")
        lose_some(run, random, random.randint(1, 3), random.choice([50, 200, 600]))
        check(run.run())

    @seeds(30)
    def test_losses_during_the_hello(self, seed: int) -> None:
        random = Random(seed)
        run = SimulatedRun(connected(random, random.randint(3, 6)), dpsgd(random), seed, on_peer_loss="continue")
        lose_some(run, random, 2, 40)
        check(run.run())

    @seeds(40)
    def test_the_holder_is_lost_next(self, seed: int) -> None:
        """Right after it was named, or long after it has handed everything on."""
        random = Random(seed)
        graph = random.choice([star(5), line(5), full(5), connected(random, 5)])
        run = SimulatedRun(graph, dpsgd(random), seed, on_peer_loss="continue")
        delay = random.choice([1, 30, 300])

        def lose_holder(fact: Fact) -> None:
            if isinstance(fact, Removed) and fact.lacking and len(lasts(run)) == 1:
                run.later(delay, lambda: run.kill(fact.holder))

        run.on_heard = lose_holder
        lose_some(run, random, 1, 200)
        check(run.run())

    @seeds(20)
    def test_losses_and_halts(self, seed: int) -> None:
        """Without a lost node there are no check-points any more, and nobody waits for one."""
        random = Random(seed)
        graph = connected(random, random.randint(2, 5))
        run = SimulatedRun(graph, dpsgd(random), seed, random.choice([0, 1, 2]), on_peer_loss="continue")
        for _ in range(random.randint(1, 3)):
            run.at(random.randint(1, 300), lambda: run.halt(stop=False))
        lose_some(run, random, 2, 300)
        check(run.run())
