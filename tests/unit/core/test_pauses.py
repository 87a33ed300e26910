"""Walks pause, end, check-point and lose nodes together: whole runs of fast and slow nodes, and every model counted."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from decentralized.algorithms.hybrid import Hybrid
from decentralized.algorithms.random_walk import RandomWalk
from decentralized.algorithms.settings import AlgorithmSettings
from decentralized.control import Committed, Decided, Fact, Lost, Removed
from decentralized.types import NodeId
from tests.unit.simulated.graphs import connected, full, star
from tests.unit.simulated.run import SimulatedRun
from tests.unit.simulated.seeds import seeds


def walks(rounds: int, **options: object) -> AlgorithmSettings:
    return RandomWalk.Config.model_validate({"name": "random-walk", "rounds": rounds, **options})


def hybrid(rounds: int, switch_round: int) -> AlgorithmSettings:
    return Hybrid.Config(name="hybrid", rounds=rounds, switch_round=switch_round)


def total(run: SimulatedRun, name: str) -> int:
    return sum(node.totals.get(name, 0) for node in run.nodes.values())


def halt_sometimes(run: SimulatedRun, random: Random, stop: bool = False) -> None:
    for _ in range(random.randint(0, 3)):
        run.at(random.randint(1, 300), lambda: run.halt(stop=False))
    if stop:
        run.at(random.randint(1, 300), lambda: run.halt(stop=True))


def lose_some(run: SimulatedRun, random: Random, at_most: int, within: int) -> None:
    for victim in random.sample(range(run.graph.nodes), min(at_most, run.graph.nodes - 1)):
        how: Callable[[NodeId], None] = random.choice([run.kill, run.fail, run.accuse])
        run.at(random.randint(1, within), lambda victim=victim, how=how: how(victim))  # type: ignore[misc]


def assert_consistent(run: SimulatedRun, number: int) -> None:
    """What the check-points of all nodes say of each model fits: none is lost between two of them, and none is there
    before it was sent."""
    saved: dict[NodeId, Any] = {node: run.saved[node, number]["algorithm"] for node in run.nodes}
    for sender in run.nodes:
        assert saved[sender]["sent"] == sum(saved[sender]["sent_to"].values())
        for receiver in run.nodes:
            waiting = sum(item["sender"] == sender for item in saved[receiver]["waiting"])
            assert saved[sender]["sent_to"].get(receiver, 0) == saved[receiver]["taken_from"].get(sender, 0) + waiting


def committed(run: SimulatedRun) -> list[int]:
    return [fact.number for fact in run.heard if isinstance(fact, Committed)]


class TestPauses:
    @seeds(25)
    @pytest.mark.parametrize("mode", ["waiting", "periodic"])
    def test_nothing_is_under_way_at_a_check_point(self, mode: str, seed: int) -> None:
        random = Random(seed)
        settings = walks(random.randint(1, 8), mode=mode, period_rounds=random.randint(1, 3))
        run = SimulatedRun(connected(random, random.randint(1, 5)), settings, seed, random.choice([0, 1, 3]))
        halt_sometimes(run, random, stop=random.random() < 0.3)
        run.run()
        numbers = committed(run)
        assert numbers == sorted(set(numbers))
        for number in numbers:
            assert_consistent(run, number)
        stopped = run.coordinator.stopped
        assert stopped is not None
        if stopped.number:
            assert stopped.number == numbers[-1]
        else:
            assert total(run, "walks_sent") == total(run, "walks_taken") + total(run, "walks_waiting_at_end")
            assert max(node.runner.round for node in run.nodes.values()) == run.algorithm.rounds

    @seeds(20)
    def test_a_wish_for_a_check_point_is_heeded(self, seed: int) -> None:
        run = SimulatedRun(full(4), walks(200), seed)
        run.at(100, lambda: run.halt(stop=False))
        run.at(300, lambda: run.halt(stop=True))
        stopped = run.run().coordinator.stopped
        assert len(committed(run)) == 2 and stopped is not None and stopped.number == committed(run)[1]

    @seeds(20)
    def test_walks_go_on_from_where_they_were(self, seed: int) -> None:
        """One out for each in, before and after: as many walks as nodes."""
        random = Random(seed)
        graph, settings = full(4), random.choice([walks(12), walks(12, send_after="averaging"), hybrid(14, 12)])
        first = SimulatedRun(graph, settings, seed)
        first.at(random.randint(1, 200), lambda: first.halt(stop=True))
        stopped = first.run().coordinator.stopped
        assert stopped is not None and stopped.number
        second = SimulatedRun(graph, settings, seed + 1, every=2, saved=first.saved, number=stopped.number).run()
        assert second.coordinator.stopped is not None and not second.coordinator.stopped.number
        assert all(number > stopped.number for number in committed(second))
        assert total(second, "walks_sent") == total(second, "walks_taken") + total(second, "walks_waiting_at_end")
        assert total(second, "walks_waiting_at_end") == 4

    @seeds(20)
    def test_nodes_that_are_started_again(self, seed: int) -> None:
        random = Random(seed)
        settings = random.choice([walks(10), hybrid(10, 5)])
        run = SimulatedRun(full(4), settings, seed, random.choice([0, 1, 3]), on_peer_loss="wait")
        halt_sometimes(run, random)
        lose_some(run, random, random.randint(1, 2), 400)
        run.run()
        assert run.coordinator.abort is None
        assert total(run, "walks_sent") == total(run, "walks_taken") + total(run, "walks_waiting_at_end")
        assert total(run, "walks_waiting_at_end") == 4

    @seeds(30)
    def test_the_switch_to_common_rounds(self, seed: int) -> None:
        random = Random(seed)
        rounds = random.randint(2, 8)
        settings = hybrid(rounds, random.randint(1, rounds - 1))
        run = SimulatedRun(connected(random, random.randint(1, 5)), settings, seed, random.choice([0, 1, 2]))
        halt_sometimes(run, random)
        run.run()
        for number in committed(run):
            if run.saved[0, number]["algorithm"]:  # the walks still go on
                assert_consistent(run, number)
        for node in run.nodes.values():
            assert node.reports[-1].round == rounds and node.channel.waiting("walks") == 0


class TestLosses:
    def check(self, run: SimulatedRun) -> None:
        """Every model among the living is accounted for, and agent 0 knows how many there are."""
        assert run.coordinator.abort is None
        farewell = run.coordinator._farewell
        living = [run.nodes[node] for node in farewell.living]
        lost = {fact.node for fact in run.heard if isinstance(fact, Lost)}
        assert lost == farewell.lost
        sent = sum(node.totals["walks_sent"] - node.totals.get("walks_sent_to_lost", 0) for node in living)
        arrived = sum(node.totals["walks_taken"] + node.totals["walks_waiting_at_end"] for node in living)
        arrived -= sum(node.totals.get("walks_received_from_lost", 0) for node in living)
        assert sent == arrived

    @seeds(40)
    @pytest.mark.parametrize("reissue", [True, False])
    def test_walks_of_lost_nodes_are_counted(self, reissue: bool, seed: int) -> None:
        random = Random(seed)
        graph = full(random.randint(3, 6))
        run = SimulatedRun(graph, walks(random.randint(1, 12)), seed, on_peer_loss="continue", reissue_walks=reissue)
        lose_some(run, random, random.randint(1, graph.nodes - 2), random.choice([100, 400]))
        run.run()
        if run.coordinator.abort is not None:
            assert not reissue and run.coordinator._farewell.walks <= 0
            return
        if not any(isinstance(fact, Removed) for fact in self.late(run)):
            self.check(run)
            living = [run.nodes[node] for node in run.coordinator._farewell.living]
            there = sum(node.totals["walks_waiting_at_end"] for node in living)
            not_started = sum(node.departures.reissues for node in living)
            assert run.coordinator._farewell.walks == there + not_started

    def late(self, run: SimulatedRun) -> list[Fact]:
        """What agent 0 said after the first node had told its totals."""
        return run.heard[run.heard_at_first_end :]

    @seeds(40)
    def test_losses_pauses_and_graphs_that_fall_apart(self, seed: int) -> None:
        random = Random(seed)
        graph = random.choice([star(4), connected(random, random.randint(2, 6))])
        mode = random.choice(["waiting", "periodic"])
        settings = random.choice([walks(random.randint(1, 8), mode=mode), hybrid(6, 3)])
        run = SimulatedRun(graph, settings, seed, random.choice([0, 1, 2]), on_peer_loss="continue")
        halt_sometimes(run, random)
        lose_some(run, random, random.randint(1, 3), random.choice([30, 100, 400]))
        run.run()
        assert run.coordinator.abort is None

    @seeds(60)
    def test_losses_while_walks_end(self, seed: int) -> None:
        """Nodes hear of the loss one after the other, while they compare what was sent with what has arrived."""
        random = Random(seed)
        run = SimulatedRun(full(random.randint(3, 5)), walks(random.randint(1, 6)), seed, on_peer_loss="continue")

        def lose_at_end(fact: Fact) -> None:
            if isinstance(fact, Decided) and fact.topic == "walks/1":
                for _ in range(random.randint(1, 2)):
                    run.later(random.randint(1, 80), lambda: run.kill(random.choice(run.living)))

        run.on_heard = lose_at_end
        run.run()
        if run.coordinator.abort is None and not any(isinstance(fact, Removed) for fact in self.late(run)):
            self.check(run)

    @seeds(40)
    def test_losses_around_the_switch(self, seed: int) -> None:
        """Some nodes still walk, others have begun to mix."""
        random = Random(seed)
        run = SimulatedRun(full(4), hybrid(7, 3), seed, on_peer_loss="continue", reissue_walks=random.random() < 0.5)

        def lose_at_switch(fact: Fact) -> None:
            if "settled" in getattr(fact, "topic", ""):
                run.later(random.randint(1, 100), lambda: run.kill(random.randrange(4)))

        run.on_heard = lose_at_switch
        run.run()
        assert run.coordinator.abort is None
        for node in run.coordinator._farewell.living:
            assert run.nodes[node].reports[-1].round == 7

    @seeds(20)
    def test_walks_without_a_count_never_end_for_the_lack_of_them(self, seed: int) -> None:
        """Periodic nodes send whether or not something came: there is no number of walks that could become 0."""
        random = Random(seed)
        settings = walks(random.randint(6, 15), mode="periodic")
        run = SimulatedRun(star(4), settings, seed, on_peer_loss="continue", reissue_walks=False)
        lose_some(run, random, 2, 400)
        run.run()
        assert run.coordinator.abort is None
