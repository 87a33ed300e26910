"""Where all nodes halt, and which check-point all of them have."""

from __future__ import annotations

from itertools import permutations

import pytest

from decentralized.control import Begun, Checkpointed, Committed, Fact, Halt, HaltAt, Halted
from launch.halts import Halts


def asked(nodes: int, stop: bool = False) -> Halts:
    halts = Halts(nodes)
    assert halts.hear(Halt(stop)) == [Halt(stop)]
    return halts


def hear_all(halts: Halts, facts: list[Begun] | list[Halted]) -> list[Fact]:
    """The answers to the last fact; there are none to those before."""
    for fact in facts[:-1]:
        assert halts.hear(fact) == []
    return halts.hear(facts[-1])


@pytest.mark.parametrize("rounds", list(permutations([2, 7, 5])))
@pytest.mark.parametrize("stop", [False, True])
def test_all_halt_at_the_largest_round_that_any_has_begun(rounds: tuple[int, ...], stop: bool) -> None:
    halts = asked(3, stop)
    assert hear_all(halts, [Begun(node, round) for node, round in enumerate(rounds)]) == [HaltAt(7, stop)]


def test_one_halt_at_a_time_and_a_stop_is_not_forgotten() -> None:
    halts = asked(2)
    for stop in (False, True, False):
        assert halts.hear(Halt(stop)) == []
    hear_all(halts, [Begun(0, 1), Begun(1, 3)])
    assert hear_all(halts, [Halted(1, False), Halted(0, False)]) == [Halt(True)]
    assert hear_all(halts, [Begun(0, 4), Begun(1, 4)]) == [HaltAt(4, True)]
    assert hear_all(halts, [Halted(1, True), Halted(0, True)]) == []
    assert halts.stopped


def test_a_second_wish_for_what_is_being_done_is_one_wish() -> None:
    halts = asked(1)
    assert halts.hear(Halt(False)) == []
    halts.hear(Begun(0, 1))
    assert halts.hear(Halted(0, False)) == []
    assert halts.hear(Halt(False)) == [Halt(False)], "the first one is over"


def test_the_run_stops_only_if_every_node_does() -> None:
    halts = asked(2, stop=True)
    hear_all(halts, [Begun(0, 9), Begun(1, 9)])
    assert halts.hear(Halted(0, True)) == [] and not halts.stopped
    assert halts.hear(Halted(1, False)) == [] and not halts.stopped


def test_nodes_that_are_not_all_up_cannot_halt() -> None:
    halts = Halts(2)
    assert halts.hear(Halt(True), running=False) == []
    assert halts.hear(Halt(False)) == [Halt(False)]


def test_a_check_point_counts_when_every_node_has_it() -> None:
    halts = Halts(3)
    for node in (2, 0):
        assert halts.hear(Checkpointed(node, 10)) == []
        assert halts.hear(Checkpointed(node, 20)) == []
        assert halts.hear(Checkpointed(node, 20)) == []
    assert halts.committed == 0
    assert halts.hear(Checkpointed(1, 10)) == [Committed(10)]
    assert halts.hear(Checkpointed(1, 20)) == [Committed(20)]
    assert halts.committed == 20


def test_nothing_is_kept_of_old_check_points() -> None:
    halts = Halts(2)
    halts.hear(Checkpointed(0, 5))  # node 1 goes on from a later one
    for number in range(10, 1000, 10):
        for node in (0, 1):
            halts.hear(Checkpointed(node, number))
    assert halts.committed == 990 and not halts._written


def test_nobody_is_held_by_a_halt_that_a_lost_node_will_never_answer() -> None:
    halts = asked(3, stop=True)
    assert halts.hear(Begun(0, 5)) == []
    assert halts.give_up() == [HaltAt(0, stop=False)]
    assert Halts(3).give_up() == []


def test_what_was_given_up_is_not_taken_up_again() -> None:
    """The lost node had answered, and then the answers of the living come."""
    halts = asked(3, stop=True)
    halts.hear(Begun(0, 5))
    halts.give_up()
    assert hear_all(halts, [Begun(1, 5), Begun(2, 4)]) == []
    assert halts.give_up() == [], "they have been told"
