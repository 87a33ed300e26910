"""When nodes check-point and halt: one node's view from facts alone, and whole runs of fast and slow nodes."""

from __future__ import annotations

from random import Random

import pytest

from decentralized.algorithms.dpsgd import DPSGD
from decentralized.control import Begun, Checkpointed, Committed, Fact, Halt, HaltAt, Halted
from decentralized.keeper import Keeper
from tests.unit.simulated.graphs import connected, line
from tests.unit.simulated.run import SimulatedRun
from tests.unit.simulated.seeds import seeds

LAST = 10


def keeper(every: int = 0, last: int = LAST, number: int = 0) -> tuple[Keeper, list[Fact]]:
    """Node 7's, and what it tells."""
    told: list[Fact] = []
    return Keeper(7, every, last, lambda fact, droppable=False: told.append(fact), number), told


class TestOneNode:
    def test_check_points_come_every_so_many_rounds_and_not_after_the_last(self) -> None:
        node, _ = keeper(every=3, last=9)
        assert [round for round in range(1, 10) if node.due(round)] == [3, 6]
        node, _ = keeper()
        assert not any(node.due(round) for round in range(1, 11))

    def test_it_says_once_which_round_it_has_begun_and_then_waits(self) -> None:
        node, told = keeper()
        node.passed(3)
        assert not node.held() and node.wanted is None
        node.hear(Halt(False))
        node.hear(Halt(True))  # agent 0 asks one thing at a time
        assert node.held() and node.held() and node.wanted is False
        assert told == [Begun(7, 4)]

    def test_at_the_round_of_the_halt_it_check_points_and_goes_on(self) -> None:
        node, told = keeper()
        node.hear(Halt(False))
        assert node.held()
        node.hear(HaltAt(3, False))
        assert not node.held()
        for round in (1, 2):
            assert not node.due(round)
            node.passed(round)
        assert node.due(3) and not node.stops_at(3)
        node.written(3)
        assert node.number == 3
        node.passed(3)
        assert told == [Begun(7, 1), Checkpointed(7, 3), Halted(7, stops=False)]
        assert node.wanted is None and node.halt_at is None and not node.due(3)

    def test_at_the_round_of_a_stop_it_ends(self) -> None:
        node, told = keeper()
        node.hear(Halt(True))
        node.hear(HaltAt(2, True))
        assert node.wanted is True and not node.stops_at(1) and node.stops_at(2) and node.due(2)
        node.stopped()
        assert told[-1] == Halted(7, stops=True)

    def test_a_halt_in_the_last_round_lets_the_run_finish(self) -> None:
        node, told = keeper()
        node.passed(LAST - 1)
        node.hear(Halt(True))
        node.hear(HaltAt(LAST, True))
        assert not node.due(LAST) and not node.stops_at(LAST)
        node.passed(LAST)
        assert told == [Begun(7, LAST), Halted(7, stops=False)]

    def test_asked_when_it_has_finished_it_has_begun_no_round_after_the_last(self) -> None:
        node, told = keeper()
        node.passed(LAST)
        node.hear(Halt(False))
        assert told == [Begun(7, LAST)]

    def test_a_halt_that_was_given_up_holds_nobody(self) -> None:
        node, told = keeper()
        node.passed(4)
        node.hear(Halt(True))
        node.hear(HaltAt(0, False))
        assert not node.held() and not node.due(5) and not node.stops_at(5)
        node.passed(5)
        assert told == [Begun(7, 5), Halted(7, stops=False)] and node.wanted is None

    def test_the_next_halt_is_answered_anew(self) -> None:
        node, told = keeper()
        for round in (1, 2):
            node.hear(Halt(False))
            assert node.held()
            node.hear(HaltAt(round, False))
            node.passed(round)
        assert told == [Begun(7, 1), Halted(7, stops=False), Begun(7, 2), Halted(7, stops=False)]

    def test_a_node_without_common_rounds_answers_when_it_has_them(self) -> None:
        node, told = keeper()
        node.synchronous = False
        node.hear(Halt(False))
        assert told == [] and node.wanted is False
        node.synchronous, node.begun = True, 6
        assert node.held()
        assert told == [Begun(7, 6)]

    def test_a_node_whose_rounds_are_its_own_asks_so_many_rounds_after_the_newest(self) -> None:
        node, _ = keeper(every=3)
        assert [node.overdue(round) for round in (2, 3, 9)] == [False, True, True]
        node.written(3)
        assert not node.overdue(5) and node.overdue(6)
        assert not keeper()[0].overdue(1000)

    def test_the_newest_check_point_that_all_have_never_goes_back(self) -> None:
        node, _ = keeper(number=4)
        assert node.committed == node.number == 4 and node.begun == 5
        for number in (8, 6):
            node.hear(Committed(number))
        assert node.committed == 8


def dpsgd(rounds: int) -> DPSGD.Config:
    return DPSGD.Config(name="dpsgd", rounds=rounds)


def numbers(run: SimulatedRun, node: int) -> set[int]:
    return {number for owner, number in run.saved if owner == node}


def check(run: SimulatedRun) -> None:
    """What holds for every run that nobody disturbed, however it was halted.

    While it runs, SimulatedRun checks that no halt is before a round that somebody has begun, and no promise broken.
    """
    rounds, stopped = run.algorithm.rounds, run.coordinator.stopped
    assert stopped is not None
    halts = [fact for fact in run.heard if isinstance(fact, HaltAt) and fact.round < rounds]
    end = stopped.number or rounds
    assert (stopped.number > 0) == any(halt.stop for halt in halts)
    assert all(halt.round == end for halt in halts if halt.stop)
    expected = {halt.round for halt in halts}
    if run.every:
        expected |= {round for round in range(run.every, end + 1, run.every) if round < rounds}
    for node in run.nodes:
        assert numbers(run, node) == expected
        assert [report.round for report in run.nodes[node].reports] == list(range(1, end + 1))
    committed = [fact.number for fact in run.heard if isinstance(fact, Committed)]
    assert committed == sorted(set(committed)) and committed[-1:] == sorted(expected)[-1:]


class TestRuns:
    @seeds(50)
    def test_halts_and_check_points_at_any_moment(self, seed: int) -> None:
        random = Random(seed)
        graph = connected(random, random.randint(1, 5))
        run = SimulatedRun(graph, dpsgd(random.randint(1, 7)), seed, random.choice([0, 1, 2, 3]))
        for _ in range(random.randint(1, 4)):
            stop = random.random() < 0.2
            run.at(random.randint(1, 150 * graph.nodes), lambda stop=stop: run.halt(stop))  # type: ignore[misc]
        check(run.run())

    @seeds(15)
    def test_a_stop_that_is_asked_for_during_a_halt_comes_after_it(self, seed: int) -> None:
        run = SimulatedRun(line(4), dpsgd(40), seed)
        for step, stop in ((60, False), (61, True), (62, False)):
            run.at(step, lambda stop=stop: run.halt(stop))  # type: ignore[misc]
        check(run.run())
        first, second = (fact for fact in run.heard if isinstance(fact, HaltAt))
        assert not first.stop and second.stop and first.round < second.round < 40

    @seeds(15)
    def test_a_halt_while_a_check_point_is_written(self, seed: int) -> None:
        run = SimulatedRun(line(3), dpsgd(9), seed, every=3)
        run.on_write = lambda node, number: run.halt(stop=seed % 2 == 0)
        check(run.run())

    @pytest.mark.parametrize("seed", range(6))
    def test_a_run_goes_on_from_where_it_was_stopped_and_ends_the_same(self, seed: int) -> None:
        graph = connected(Random(seed), 4)
        undisturbed = SimulatedRun(graph, dpsgd(8), seed).run()
        first = SimulatedRun(graph, dpsgd(8), seed)
        first.at(150, lambda: first.halt(stop=True))
        stopped = first.run().coordinator.stopped
        assert stopped is not None and 0 < stopped.number < 8
        second = SimulatedRun(graph, dpsgd(8), seed + 1, saved=first.saved, number=stopped.number).run()
        for node in range(4):
            assert second.nodes[node].learner.vector().equal(undisturbed.nodes[node].learner.vector())

    @seeds(15)
    def test_nodes_that_are_started_again_end_the_same(self, seed: int) -> None:
        random = Random(seed)
        graph = connected(random, random.randint(1, 4))
        undisturbed = SimulatedRun(graph, dpsgd(6), seed).run()
        run = SimulatedRun(graph, dpsgd(6), seed, random.choice([0, 1, 2]), on_peer_loss="wait")
        for _ in range(random.randint(1, 3)):
            victim, how = random.randrange(graph.nodes), random.choice([run.kill, run.fail, run.accuse])
            run.at(random.randint(1, 400), lambda victim=victim, how=how: how(victim))  # type: ignore[misc]
        run.run()
        assert run.coordinator.abort is None
        for node in run.nodes:
            assert run.nodes[node].learner.vector().equal(undisturbed.nodes[node].learner.vector())
