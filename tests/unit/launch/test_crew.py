"""Agents that a launcher follows: small shell scripts that obey, do not obey, or fail."""

from __future__ import annotations

import io
import os
import time
from pathlib import Path

import pytest
from rich.console import Console

from decentralized import config, control
from decentralized.build import BuiltIn
from decentralized.control import Begin, Opened, RoundDone, Said
from launch.ip_map import IpMap, Machine
from launch.plan import Plan
from launch.progress import View
from launch.signals import Signals
from launch.via import crew
from launch.via.crew import Crew

ROOT = Path(__file__).parents[3]
OBEYS = "read key; read order && exit 130; exit 131"
UNTIL_THE_END = "read key; while read order; do echo order $order; done; exit 131"
STUBBORN = "trap '' INT TERM; while :; do sleep 60; done"


class Presses:
    """Ctrl-C at these seconds from now."""

    def __init__(self, *seconds: float) -> None:
        self._moments = [time.monotonic() + second for second in seconds]

    def stops(self) -> int:
        due = [moment for moment in self._moments if moment <= time.monotonic()]
        self._moments = [moment for moment in self._moments if moment not in due]
        return len(due)


class Followed:
    """What has become of them."""

    def __init__(self, out: Path, presses: Presses, *scripts: str) -> None:
        experiment = config.load(ROOT / "configs" / "demo.toml", BuiltIn(import_others=False))
        ip_map = IpMap(tuple(Machine(host=f"127.0.0.{number + 1}") for number in range(len(scripts))))
        screen = io.StringIO()
        self.crew = Crew(Plan(experiment, ip_map, 0, out, out), View(Console(file=screen)), Signals(presses))
        began = time.monotonic()
        self.crew.run({machine: ["sh", "-c", script] for machine, script in enumerate(scripts)})
        self.seconds = time.monotonic() - began
        self.lines = screen.getvalue().splitlines()
        self.ends = [(end.machine, end.status, end.told) for end in self.crew.ends]


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew, "EXPLAIN_S", 0.2)
    monkeypatch.setattr(crew, "FINISH_S", 0.5)


def test_one_run_is_shown(tmp_path: Path) -> None:
    facts = [
        Opened("", 3),
        Opened("/far/demo-1", 3),
        Begin(1, 0),
        RoundDone(0, 1, 0.5, 100),
        Said("a line"),
        Said("all say this"),
    ]
    (tmp_path / "facts").write_bytes(b"".join(map(control.encode, facts)))
    scripts = (f"cat {tmp_path}/facts", 'echo "welcome"; echo "all say this"')
    done = Followed(tmp_path, Presses(), *scripts)
    assert sorted(done.ends) == [(0, 0, False), (1, 0, False)]
    assert done.crew.pids == {0: 3} and done.crew.directories == {0: "/far/demo-1"}
    assert done.crew.home is not None and done.crew.home.path == tmp_path / "demo-1"
    assert {"a line", "machine 1: welcome", f"run directory: {tmp_path}/demo-1"} <= set(done.lines)
    assert sum("all say this" in line for line in done.lines) == 1


def test_the_first_ctrl_c_asks_machine_0_alone(tmp_path: Path) -> None:
    done = Followed(tmp_path, Presses(0.1), OBEYS, UNTIL_THE_END)
    assert done.ends == [(0, 130, False), (1, 131, True)]
    assert not any("order" in line for line in done.lines)


def test_the_second_ctrl_c_ends_all_at_once(tmp_path: Path) -> None:
    done = Followed(tmp_path, Presses(0.1, 0.2), UNTIL_THE_END, UNTIL_THE_END)
    assert sorted(done.ends) == [(0, 131, True), (1, 131, True)]
    assert "order stop" in done.lines


def test_one_that_fails_ends_all(tmp_path: Path) -> None:
    done = Followed(tmp_path, Presses(), UNTIL_THE_END, "echo why >&2; exit 9", UNTIL_THE_END)
    assert done.ends[0] == (1, 9, False) and done.crew.ends[0].errors == "why"
    assert sorted(done.ends[1:]) == [(0, 131, True), (2, 131, True)]


def test_one_that_does_not_obey_is_killed(tmp_path: Path) -> None:
    done = Followed(tmp_path, Presses(0.1, 0.2), f"echo $$ > {tmp_path}/pid; {STUBBORN}", UNTIL_THE_END)
    assert (0, -9, True) in done.ends and done.seconds < 10
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_an_error_of_the_launcher_itself_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        if (tmp_path / "pid").exists() and (tmp_path / "pid").read_text():
            raise OSError("disk full")

    monkeypatch.setattr(View, "refresh", fail)
    with pytest.raises(OSError, match="disk full"):
        Followed(tmp_path, Presses(), f"echo $$ > {tmp_path}/pid; {STUBBORN}", UNTIL_THE_END)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)
