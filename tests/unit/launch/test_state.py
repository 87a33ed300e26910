"""What is known of a running experiment, and how it is shown."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from decentralized import config
from decentralized.build import BuiltIn
from decentralized.control import Evaluated, Exited, Finished, Listening, RoundDone, Status
from decentralized.run_directory import RunDirectory
from launch.ip_map import LOCAL
from launch.plan import Plan
from launch.progress import View, duration, number, size
from launch.state import SILENT_S, RunState
from tests.unit.launch.conftest import DEMO


def test_the_slowest_node_gives_the_round() -> None:
    state = RunState(2, 10)
    state.hear(RoundDone(0, 4, 0.5, 100))
    assert state.slowest_round == 0
    state.hear(RoundDone(1, 3, 0.25, 50))
    assert state.slowest_round == 3
    assert state.bytes_sent == {0: 100, 1: 50} and state.train_loss == {0: 0.5, 1: 0.25}
    state.hear(Finished(1, 10, 1.0, {}, {"bytes_sent": 70}))
    assert state.slowest_round == 4 and state.bytes_sent[1] == 70


def test_a_loss_that_is_no_number_takes_the_old_one_away() -> None:
    state = RunState(1, 10)
    state.hear(RoundDone(0, 1, 0.5, 0))
    state.hear(RoundDone(0, 2, None, 0))
    assert state.train_loss == {}


def test_an_evaluation_counts_when_all_nodes_have_it() -> None:
    state = RunState(2, 100)
    assert state.newest_evaluation(2) is None
    for round in (0, 10, 20):
        state.hear(Evaluated(0, round, {"test_accuracy": round / 100}))
    state.hear(Evaluated(1, 0, {"test_accuracy": 0.5}))
    state.hear(Evaluated(1, 10, {"test_accuracy": None}))
    assert state.newest_evaluation(2) == (10, {0: {"test_accuracy": 0.1}, 1: {"test_accuracy": None}})


def test_nodes_may_be_many_evaluations_apart_and_memory_stays_bounded() -> None:
    state = RunState(2, 10_000)
    for round in range(0, 100, 10):
        state.hear(Evaluated(0, round, {}))
    state.hear(Evaluated(1, 0, {}))
    found = state.newest_evaluation(2)
    assert found is not None and found[0] == 0
    for round in range(5_000):
        state.hear(Evaluated(0, round, {}))
    assert len(state.evaluations) < 100


def test_nodes_that_begin_again_are_where_the_check_point_is() -> None:
    state = RunState(2, 10)
    for node in range(2):
        state.hear(Listening(node, "tcp://h:1", 100 + node))
        state.hear(RoundDone(node, 7 + node, 0.5, 100))
        state.hear(Status(node, "waiting", 1 - node, 99.0, None))
    state.hear(Finished(1, 10, 1.0, {}, {"bytes_sent": 5}))
    state.hear(Exited(0, -9))
    state.restart(5)
    assert state.round == {0: 5, 1: 5} and state.slowest_round == 5
    assert not state.addresses and not state.finished and not state.gone and state.waits() == {}
    state.hear(Listening(0, "tcp://h:2", 200))
    assert state.pids == {0: 200, 1: 101}


def test_who_waits_for_whom_and_for_how_long(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    state = RunState(4, 10)
    state.hear(Status(0, "waiting", 1, 5.0, None))
    now += SILENT_S  # node 0 says nothing any more: nobody knows whether it still waits
    state.hear(Status(1, "training", None, 50.0, None))
    state.hear(Status(2, "waiting", 3, 2.0, None))
    state.hear(Status(3, "waiting", 1, 20.0, None))
    assert state.waits() == {2: 3, 3: 1}
    assert state.waits(longer_than_s=2.0) == {3: 1}
    assert state.silence(0) == SILENT_S and state.silence(3) == 0.0
    state.hear(Status(3, "training", None, 0.0, None))
    assert state.waits() == {2: 3}


def test_a_node_that_is_gone_is_told_with_how_it_went() -> None:
    state = RunState(2, 10)
    state.hear(Exited(0, 0))
    state.hear(Exited(1, -9))
    assert state.gone == {0: "left", 1: "dead (-9)"}


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (1_234_567, "1.23 MB"), (5e12, "5 TB"), (12e15, "1.2e+04 TB")],
)
def test_bytes_for_people(count: float, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0.0 s"), (59.94, "59.9 s"), (59.96, "1:00"), (65, "1:05"), (7200, "2:00:00")]
)
def test_times_for_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.12345, "0.1235"), (-3, "-3.0000"), (2.5e30, "2.500e+30"), (None, "nan"), (float("nan"), "nan")],
)
def test_metrics_for_people(value: float | None, text: str) -> None:
    assert number(value) == text


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool, RunState], str]:
    """What a person has seen after one look at the state, in a terminal or in a file."""

    def show(terminal: bool, state: RunState) -> str:
        output = io.StringIO()
        console = Console(file=output, force_terminal=terminal, width=80)
        experiment = config.load(Path(DEMO), BuiltIn(), [f"nodes={state.nodes}"])
        plan = Plan(experiment, LOCAL, 0, Path(), Path())
        view = View(console)
        with view.showing(state, plan, RunDirectory("a-folder-with-a-long-name/" * 5)):
            view.refresh()
        return output.getvalue()

    return show


@pytest.mark.parametrize("terminal", [True, False])
def test_the_view_from_the_start_to_the_end(shown: Callable[[bool, RunState], str], terminal: bool) -> None:
    state = RunState(2, 60)
    assert "importing and loading data" in shown(terminal, state)
    state.hear(Listening(0, "tcp://h:1", 1))
    text = shown(terminal, state)
    assert "1 of 2 nodes are up" in text
    assert f"run directory: {'a-folder-with-a-long-name/' * 5}".rstrip("/") in text
    state.began = state.started
    for node in range(2):
        state.hear(RoundDone(node, 10, 1.0 + node, 500))
        state.hear(Evaluated(node, 10, {"test_accuracy": 0.25 + 0.5 * node, "test_loss": 3.0}))
    text = shown(terminal, state)
    assert "round 10/60" in text
    assert "train loss 1.5000, test_accuracy 0.5000 (0.2500 to 0.7500)" in text and "sent 1 kB" in text
    assert not terminal or ("left" in text and "fastest node at round 10" in text)


def test_the_picture_fits_a_terminal_of_80_columns(shown: Callable[[bool, RunState], str]) -> None:
    state = RunState(2, 10_000)
    state.began = state.started - 5_000
    for node in range(2):
        state.hear(RoundDone(node, 2_500, 12.5, 2**40))
        state.hear(Evaluated(node, 2_500, {"test_accuracy": 0.25}))
    text = shown(True, state)
    for whole in ("round 2500/10000", "1:23:20", "about 4:10:00 left", "after round 2500", "sent 2.2 TB, fastest node"):
        assert whole in text
