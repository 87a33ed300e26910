"""Disks fill, processes stand still, clocks jump, memory ends: a run says so, or does not mind."""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from decentralized import checkpoint
from decentralized.metrics import read_metrics
from decentralized.run_directory import RunDirectory
from launch.commands.status import status
from tests.processes.faults import (
    JUMPING_CLOCK,
    Disk,
    assert_gone,
    assert_same,
    family,
    node,
    stopped,
    torn_files,
)
from tests.processes.runs import PATIENCE_S, ROOT, run
from tests.processes.survival import CONFIG, Live, resume

FEW = ("nodes=3", "model.hidden=[256]", "algorithm.rounds=100", "checkpoint.every=10", "evaluation.every=0")
ENDLESS = ("nodes=3", "algorithm.rounds=1000000", "checkpoint.every=10", "evaluation.every=0")
DEADLINE_S = 2.0
SHORT = f"network.deadline_s={DEADLINE_S}"
LESS_THAN_A_CHECKPOINT = 100_000  # bytes; and far more than what the metrics of ten rounds take

Start = Callable[..., Live]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(CONFIG, tmp_path_factory.mktemp("undisturbed"), *FEW)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Begins a run, which ends with the test."""
    runs: list[Live] = []

    def begin(*settings: str, out: Path = tmp_path) -> Live:
        runs.append(Live(out, *settings))
        return runs[-1]

    yield begin
    for one in runs:
        if one.agent.stdout is not None and not one.agent.stdout.closed:
            one.agent.kill()
            one.agent.communicate()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    disk = Disk(tmp_path / "disk", size=8_000_000)
    try:
        yield disk
    finally:
        disk.close()


def message(output: str) -> list[str]:
    """The lines of the error."""
    assert "Traceback" not in output
    return output[output.index("error: ") :].splitlines()


def test_a_disk_that_takes_no_metrics(start: Start, disk: Disk, capsys: pytest.CaptureFixture[str]) -> None:
    run = start(*FEW, "algorithm.rounds=1000000", "network.on_peer_loss=wait", out=disk.place)
    run.wait_for_checkpoint()
    processes = family(run)
    disk.fill(run, leave=0)
    what, *_, advice = message(run.end(7))
    found = re.search(rf"could not write ({run.directory}/.*): (No space left on device|File too large)", what)
    assert found
    if disk.mounted:
        assert f"(the disk at {disk.place} has 0.0 of 8.0 MB free)" in what and "Free space" in advice
    assert not run.events("rollback"), "a new life would end the same way"
    assert_gone(processes)
    for path in run.directory.glob("nodes/*/metrics.jsonl"):
        assert path.read_bytes().endswith(b"}\n") and len(read_metrics(path)) > 10
    assert not list(Path(found[1]).parent.glob(".*")), "others may have been ended while they wrote"
    status(run.directory, watch=False, stacks=False)
    assert capsys.readouterr().out


def test_a_disk_that_takes_no_checkpoint(start: Start, disk: Disk, undisturbed: Path) -> None:
    run = start(*FEW, "network.on_peer_loss=continue", out=disk.place)
    run.wait_for_checkpoint(2)
    disk.fill(run, LESS_THAN_A_CHECKPOINT)
    what, *_ = message(run.end(7))
    found = re.search(rf"could not write ({run.directory}/nodes/000[0-2]/checkpoint)/\d+\.safetensors: ", what)
    assert found and not torn_files(Path(found[1])), "others may have been ended while they wrote"
    assert not run.events("lost")
    newest = run.events("committed")[-1]["checkpoint"]
    nodes = [RunDirectory(run.directory).node(node) for node in range(3)]
    assert all(checkpoint.is_good(directory.checkpoint, newest) for directory in nodes)
    disk.make_room()
    (nodes[1].path / ".model.safetensors.0123456789ab.tmp").touch()  # of writers that were killed
    (nodes[1].checkpoint / ".0000000020.safetensors.999999999-0123456789ab.tmp").touch()
    resume(run.directory)
    assert_same(run.directory, undisturbed)
    assert not torn_files(run.directory)


def test_a_run_directory_that_is_removed(start: Start) -> None:
    run = start(*ENDLESS, "checkpoint.every=0", "network.on_peer_loss=wait")
    run.wait(lambda: run.events("first-round"))
    directory, processes = run.directory, family(run)
    shutil.rmtree(directory.rename(directory.with_name("removed")))
    what, *_ = message(run.end(7))
    assert what == f"error: the run directory {directory} is gone: it was removed or moved while the run went on"
    assert_gone(processes)
    assert not directory.exists(), "nothing of it comes back"


def test_a_standstill_and_a_clock_that_jumps_change_nothing(
    start: Start, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All stand still, as when a laptop sleeps; a node, for less than the deadline; the agent, for more than that."""
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "sitecustomize.py").write_text(JUMPING_CLOCK)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "path"))
    run = start(*FEW, SHORT)
    run.wait_for_checkpoint()
    with stopped(family(run), seconds=DEADLINE_S + 1):
        pass
    run.wait_for_checkpoint(3)
    with stopped([node(run, 1)], seconds=DEADLINE_S / 2):
        pass
    run.wait_for_checkpoint(5)
    with stopped([psutil.Process(run.agent.pid)], seconds=DEADLINE_S + 1):
        pass
    run.end()
    assert_same(run.directory, undisturbed)
    lines = (run.directory / "agents" / "00" / "events.jsonl").read_text().splitlines()
    times = [json.loads(line)["time"] for line in lines]
    assert times != sorted(times), "the clock has jumped"


def test_of_those_who_wait_for_a_node_that_stands_still_none_is_accused(start: Start) -> None:
    run = start(*FEW, "nodes=5", SHORT, "network.on_peer_loss=continue")
    run.wait_for_checkpoint()
    with stopped([node(run, 2)]):
        run.end()
    assert [event["node"] for event in run.events("lost")] == [2]
    assert run.summary()["rounds"] == 100


def test_nodes_that_pause_do_not_wait_for_ever(start: Start) -> None:
    """They hear of the pause from the agent, and of the end of it too: nobody waits for a message of the silent one."""
    run = start(*ENDLESS, "algorithm.name=random-walk", SHORT)
    run.wait_for_checkpoint()
    processes = family(run)
    with stopped([node(run, 2)]):
        what, *_ = message(run.end(5))
        assert_gone(processes)
    assert re.match(r"error: node 2 has been silent for \d s after round \d+, says node [01]", what)


def test_ports_that_others_have(start: Start) -> None:
    with contextlib.ExitStack() as others:
        first = neighboring_ports(others, 3)
        run = start(*FEW, f"network.ports=[{first}, {first + 4}]", "nodes=5", "network.on_peer_loss=wait")
        what, *_, advice = message(run.end(9))
    assert f"no free port on 127.0.0.1 in {first} to {first + 4}" in what and "network.ports" in advice
    assert "started again 3 times" in what
    assert not run.events("run")


def neighboring_ports(stack: contextlib.ExitStack, count: int) -> int:
    """Listen on so many ports that follow each other; returns the first one."""
    for first in range(20_000 + os.getpid() % 10_000, 32_000, 10):
        with contextlib.ExitStack() as attempt:
            try:
                for port in range(first, first + count):
                    attempt.enter_context(socket.create_server(("127.0.0.1", port)))
            except OSError:
                continue
            stack.push(attempt.pop_all())
            return first
    pytest.skip("no neighboring ports are free")


def test_too_few_open_files(tmp_path: Path) -> None:
    settings = ["nodes=9", "topology={name='full'}"]
    command = [sys.executable, "-m", "launch.cli", "run", str(CONFIG), "--out", str(tmp_path)]
    done = subprocess.run(
        [*command, *(word for setting in settings for word in ("--set", setting))],
        cwd=ROOT,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (80, 80)),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 9
    what, advice = message(done.stderr)
    assert what == "error: 88 open files are needed for 9 nodes with up to 8 neighbors each; 80 are allowed"
    assert "ulimit -n 88" in advice
    assert not list(tmp_path.glob("*/nodes/*"))


@pytest.fixture
def greedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A model that needs 256 MB more than it says, for a moment in each step."""
    (tmp_path / "greedy.py").write_text(GREEDY)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return "model=greedy:Greedy"


GREEDY = """
import torch

class Greedy(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(64, 10)

    def forward(self, inputs):
        torch.empty(2**28, dtype=torch.uint8)
        return self.layer(inputs.flatten(1))
"""


@pytest.mark.skipif(not hasattr(psutil.Process, "rlimit"), reason="limits of other processes are set on Linux only")
def test_a_node_that_may_not_have_more_memory(start: Start, greedy: str) -> None:
    run = start(*ENDLESS, greedy)
    run.wait_for_checkpoint()
    victim = node(run, 1)
    most = min(_now_and_again(lambda: victim.memory_info().vms)) + 2**26
    victim.rlimit(psutil.RLIMIT_AS, (most, most))
    what, *_, advice = message(run.end(6))
    assert re.match(r"error: node 1 failed after round \d+: RuntimeError: .*allocate 268435456 bytes", what)
    assert "out of memory" in advice and "decentralized check" in advice


def _now_and_again(look: Callable[[], int]) -> Iterator[int]:
    for _ in range(20):
        yield look()
        time.sleep(0.01)


def test_no_orphan_of_a_killed_agent_though_all_stand_still(start: Start) -> None:
    run = start(*ENDLESS)
    run.wait_for_checkpoint()
    _, *others = family(run)
    for process in others:
        process.suspend()
    run.agent.kill()
    assert_gone(others)


def test_no_orphan_of_an_agent_killed_while_nodes_are_started(start: Start) -> None:
    run = start(*ENDLESS, "processes.start=spawn")
    run.wait(lambda: len(family(run)) == 5)
    _, *others = family(run)
    run.agent.kill()
    assert_gone(others)
