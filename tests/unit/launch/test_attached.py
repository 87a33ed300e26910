"""Attached agents: orders in, facts out, and nothing that a slow or dead launcher could hold up."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from decentralized import config, control
from decentralized.build import BuiltIn
from decentralized.control import Addresses, AnyFact, Evaluated, Finished, Lines, Opened, RoundDone, Said, Status
from decentralized.errors import KeyFileError, StartError
from decentralized.run_directory import RunDirectory
from launch import attached
from launch.attached import AttachedView, Orders
from launch.ip_map import IpMap, Machine
from launch.key import RunKey
from launch.plan import Plan
from launch.remote_agent import AttachedAgent
from launch.signals import Signals
from launch.state import RunState

ROOT = Path(__file__).parents[3]
TWO = IpMap((Machine(host="127.0.0.1"), Machine(host="127.0.0.2")))


class Pipe:
    """Both ends; closed by the fixture."""

    def __init__(self) -> None:
        self.out, self.into = os.pipe()
        self._lines = Lines()

    def write(self, data: bytes) -> None:
        os.write(self.into, data)

    def end(self) -> None:
        os.close(self.into)
        self.into = -1

    def facts(self) -> list[AnyFact]:
        """All that is in it now."""
        os.set_blocking(self.out, False)
        data = b""
        try:
            while piece := os.read(self.out, 1 << 16):
                data += piece
        except BlockingIOError:
            pass
        return [control.decode(line) for line in self._lines.feed(data)]


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    for descriptor in (pipe.out, pipe.into):
        if descriptor >= 0:
            os.close(descriptor)


def plan(tmp_path: Path, machine: int = 0) -> Plan:
    experiment = config.load(ROOT / "configs" / "demo.toml", BuiltIn(import_others=False))
    return Plan(experiment, TWO, machine, tmp_path, tmp_path)


def round_done(node: int, round: int) -> RoundDone:
    return RoundDone(node, round, 0.5, 100 * round)


def test_orders_are_the_key_and_then_stops(pipe: Pipe) -> None:
    orders = Orders(os.dup(pipe.out))
    pipe.write(b"the key\nstop\nst")
    assert orders.first_line(1.0) == "the key"
    assert orders.stops() == 1
    assert orders.stops() == 0
    pipe.write(b"op\nnonsense\nstop\n")
    assert orders.stops() == 2
    pipe.write(b"stop\nstop")
    pipe.end()
    assert orders.stops() == 3, "a whole order, half of one, and the end, which counts like two"
    assert orders.stops() == 0


def test_signals_count_orders(pipe: Pipe) -> None:
    signals = Signals(Orders(os.dup(pipe.out)))
    assert signals.stops == 0
    pipe.write(b"stop\n")
    assert signals.stops == 1
    assert signals.stops == 1
    pipe.end()
    assert signals.stops == 3


@pytest.mark.parametrize("what", [b"", b"no line", b"x" * 10_000], ids=["nothing", "no end", "too long"])
def test_an_input_without_a_key_is_an_error_in_bounded_time(pipe: Pipe, what: bytes) -> None:
    orders = Orders(os.dup(pipe.out))
    pipe.write(what)
    with pytest.raises(StartError, match="no key"):
        orders.first_line(0.05)
    pipe.end()
    with pytest.raises(StartError, match="no key"):
        orders.first_line(60.0)


def test_a_view_tells_what_its_state_hears_in_order(pipe: Pipe, tmp_path: Path) -> None:
    view = AttachedView(pipe.into)
    view.say("two [red]words[/red]")
    finished = Finished(0, 3, 1.0, {"test_accuracy": 0.5}, {"bytes_sent": 300})
    with view.showing(RunState(2, 3), plan(tmp_path), RunDirectory(tmp_path / "run")):
        view.hear(Addresses({0: "tcp://127.0.0.1:1"}, {0: "public"}))
        for round in (1, 2, 3):
            view.hear(round_done(0, round))
        view.hear(round_done(1, 2))
        view.hear(finished)
        view.hear(round_done(1, 3))
    assert pipe.facts() == [
        Said("two [red]words[/red]"),
        Opened(str(tmp_path / "run"), os.getpid()),
        Addresses({}, {}),
        round_done(0, 3),  # of rounds that nobody has read yet only the newest
        round_done(1, 2),
        finished,
        round_done(1, 3),
    ]


def test_only_machine_0_tells_facts_of_nodes(pipe: Pipe, tmp_path: Path) -> None:
    view = AttachedView(pipe.into)
    with view.showing(RunState(1, 3), plan(tmp_path, machine=1), RunDirectory(tmp_path)):
        view.hear(round_done(1, 1))
        view.say("here")
    assert [type(fact) for fact in pipe.facts()] == [Opened, Said]


def test_a_launcher_that_does_not_read_holds_up_nothing(
    pipe: Pipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attached, "LAST_WORDS_S", 0.2)
    view = AttachedView(pipe.into)
    began = time.monotonic()
    with view.showing(RunState(2, 3), plan(tmp_path), RunDirectory(tmp_path)):
        for round in range(5_000):
            view.hear(round_done(0, round))
            view.hear(Status(0, "training", None, 0.1, None))
            view.hear(Evaluated(0, round, {"test_accuracy": 0.5, "test_loss": 1.0}))
            view.refresh()
        assert len(view._out) < 2 * control.MAX_BACKLOG_BYTES
        view.hear(round_done(0, 5_000))
        while round_done(0, 5_000) not in pipe.facts():
            assert time.monotonic() - began < 20
            view._told = 0.0  # as if a while had passed
            view.refresh()
    pipe.facts()


def test_a_launcher_that_is_gone_is_no_error(pipe: Pipe, tmp_path: Path) -> None:
    view = AttachedView(os.dup(pipe.into))
    os.close(pipe.out)
    pipe.out = -1
    with view.showing(RunState(2, 3), plan(tmp_path), RunDirectory(tmp_path)):
        view.say("is anybody there?")


CHILD = """
import os, subprocess, sys
from launch.attached import attach
key, view, orders = attach()
print("a stray print")
subprocess.Popen(["sleep", "30"]) if "child" in sys.argv else None
view.say(key.text()[:8])
import time
stops = 0
while stops < 2:
    stops += orders.stops()
    if stops: view.say(f"stops {stops}")
    time.sleep(0.01)
print("the end", file=sys.stderr)
sys.exit(7)
"""


def attached_child(key: RunKey, *arguments: str) -> AttachedAgent:
    return AttachedAgent.start([sys.executable, "-c", CHILD, *arguments], key, folder=ROOT)


def wait_for(agent: AttachedAgent, line: str) -> list[AnyFact]:
    facts: list[AnyFact] = []
    until = time.monotonic() + 20
    while Said(line) not in facts:
        assert time.monotonic() < until and agent.status is None, (facts, agent.errors)
        facts += agent.poll()
        time.sleep(0.01)
    return facts


def test_both_sides_together() -> None:
    key = RunKey.new()
    with attached_child(key) as agent:
        wait_for(agent, key.text()[:8])
        shown = Path(f"/proc/{agent.pid}/cmdline")
        if shown.exists():
            assert key.text() not in shown.read_text() + Path(f"/proc/{agent.pid}/environ").read_text()
        agent.stop()
        wait_for(agent, "stops 1")
        agent.leave()
        assert agent.wait(10) == 7
        assert "a stray print" in agent.errors and agent.errors.endswith("the end")
        assert agent.poll()[-1] == Said("stops 3")


def test_children_do_not_keep_the_launchers_pipes() -> None:
    """Else a launcher would wait for nodes that were left over, and an agent would not see its launcher go."""
    key = RunKey.new()
    with attached_child(key, "child") as agent:
        wait_for(agent, key.text()[:8])
        (child,) = _children(agent.pid)
        ends = {os.readlink(f"/proc/{agent.pid}/fd/{name}") for name in (0, 2)}
        kept = {os.readlink(link) for link in Path(f"/proc/{child}/fd").iterdir()}
        os.kill(child, 9)
    assert os.devnull in ends
    assert len([link for link in kept if link.startswith("pipe:")]) == 1, "standard error alone"


def _children(pid: int) -> list[int]:
    path = Path(f"/proc/{pid}/task/{pid}/children")
    if not path.exists():
        pytest.skip("needs /proc")
    until = time.monotonic() + 10
    while not (found := path.read_text().split()):
        assert time.monotonic() < until
    return [int(child) for child in found]


def test_a_bad_key_is_told_and_not_shown() -> None:
    with AttachedAgent.start([sys.executable, "-c", CHILD], _Wrong(b""), folder=ROOT) as agent:
        assert agent.wait(20) == 1
        assert "is not a key" in agent.errors and "ab12" not in agent.errors
    with pytest.raises(KeyFileError):
        RunKey.parse("ab12")


class _Wrong(RunKey):
    def text(self) -> str:
        return "ab12"


def test_what_is_no_fact_is_a_line_for_people() -> None:
    script = 'echo welcome to this machine; printf \'\\377\\n\'; echo \'{"type":"Opened","directory":"","pid":3}\''
    with AttachedAgent.start(["sh", "-c", script], RunKey.new()) as agent:
        assert agent.wait(10) == 0
        assert agent.poll() == [Said("welcome to this machine"), Said("\ufffd"), Opened("", 3)]


def test_one_that_does_not_leave_is_killed_with_its_children() -> None:
    agent = AttachedAgent.start(["sh", "-c", "trap '' TERM INT; sleep 60 & echo $!; wait"], RunKey.new())
    child = ""
    until = time.monotonic() + 10
    while not child and time.monotonic() < until:
        child = "".join(fact.line for fact in agent.poll() if isinstance(fact, Said))
    assert agent.wait(0.05) is None
    agent.close(patience_s=0.1)
    assert agent.status == -9
    while _alive(int(child)) and time.monotonic() < until:
        time.sleep(0.02)
    assert not _alive(int(child))


def _alive(pid: int) -> bool:
    done = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return done.returncode == 0 and not done.stdout.startswith("Z")


def test_a_program_that_is_not_there() -> None:
    with pytest.raises(StartError, match="cannot be started"):
        AttachedAgent.start(["/no/such/program"], RunKey.new())
