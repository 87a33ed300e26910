"""Launching over ssh, on three machines that are this one."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.processes.runs import PATIENCE_S, ROOT, models, run
from tests.processes.sshd import ADDRESSES, Machines, machines
from tests.processes.survival import records

CONFIG = ROOT / "configs" / "demo.toml"
SETTINGS = ("nodes=6", "algorithm.rounds=40", "checkpoint.every=10", "evaluation.every=20")


@pytest.fixture
def three(tmp_path: Path) -> Iterator[Machines]:
    with machines(tmp_path) as made:
        yield made


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Machines]:
    with machines(tmp_path, 2) as made:
        yield made


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same on one machine."""
    return run(CONFIG, tmp_path_factory.mktemp("alone"), *SETTINGS)


def launch(machines: Machines, *options: str, settings: tuple[str, ...] = SETTINGS) -> subprocess.Popen[str]:
    ip_map = str(machines.ip_map())
    out = str(machines.folder / "home")
    return machines.launch(CONFIG, "--ip-map", ip_map, "--out", out, *options, settings=settings)


def end(launcher: subprocess.Popen[str], code: int) -> str:
    output, _ = launcher.communicate(timeout=PATIENCE_S)
    assert launcher.returncode == code, output
    return output


def wait_for(launcher: subprocess.Popen[str], condition: Callable[[], object]) -> None:
    until = time.monotonic() + PATIENCE_S
    while not condition():
        assert launcher.poll() is None, launcher.communicate()[0]
        assert time.monotonic() < until
        time.sleep(0.02)


def going_on(machines: Machines) -> bool:
    """Whether there is a first check-point on every machine."""
    return all(list(folder.glob("work/runs/*/nodes/*/checkpoint/*")) for folder in machines.folders)


def agent_of(machines: Machines, machine: int) -> int:
    """The process that its machine's sshd has started."""
    (found,) = [
        pid
        for pid in machines.processes()
        if {b"--attached", str(machine).encode()} <= set(Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"))
    ]
    return found


def home(machines: Machines) -> Path:
    (directory,) = (machines.folder / "home").glob("demo-*")
    return directory


def test_a_launch_brings_the_bits_of_a_run_on_one_machine_home(three: Machines, alone: Path) -> None:
    for machine in range(3):
        del three.entries[str(machine)]["env"]["PYTHONPATH"]
        shutil.rmtree(three.workdir(machine).parent)
    output = end(launch(three, "--copy"), 0)
    assert models(home(three)) == models(alone)
    assert records(home(three)) == records(alone)
    assert sorted(path.name for path in home(three).glob("agents/*")) == ["00", "01", "02"]
    assert output.count("run directory") == 2 and str(home(three)) in output
    assert re.search(r"round 40/40|test_accuracy", output), output
    assert (three.workdir(2) / "launch" / "cli.py").is_file() and not (three.workdir(2) / ".git").exists()
    assert not list(home(three).glob(".launch-*"))
    three.wait_until_empty()


def test_all_that_is_wrong_is_told_before_anything_starts(three: Machines) -> None:
    for package in ("decentralized", "launch"):
        shutil.copytree(ROOT / package, three.workdir(0) / package, ignore=shutil.ignore_patterns("__pycache__"))
    (three.workdir(0) / "decentralized" / "__init__.py").write_text('__version__ = "0.0.9"\n')
    client = Path(three.environment["DECENTRALIZED_SSH"].split('"')[1])
    client.write_text(client.read_text().replace(f"Port {three.ports[1]}", "Port 1"))
    with socket.create_server((ADDRESSES[2], three.entries["2"]["port"])):
        output = end(launch(three, settings=("data.name=mnist",)), 9)
    said = {machine: [line for line in output.splitlines() if f"machine {machine}" in line] for machine in range(3)}
    assert re.search(r"version 0\.0\.9 .* there", said[0][0]) and len(said[0]) == 1, output
    assert "cannot be reached" in said[1][0] and "refused" in said[1][0] and len(said[1]) == 1, output
    assert any("no data set mnist" in line for line in said[2]), output
    assert any("Address already in use" in line for line in said[2]), output
    assert "Nothing was started" in output
    assert not list(three.folder.glob("machine*/work/runs/*")) and not list((three.folder / "home").iterdir())
    three.wait_until_empty()


def test_ctrl_c_stops_with_a_check_point_from_which_a_launch_goes_on(two: Machines, alone: Path) -> None:
    launcher = launch(two, settings=(*SETTINGS, "checkpoint.every=5"))
    wait_for(launcher, lambda: going_on(two))
    launcher.send_signal(signal.SIGINT)
    output = end(launcher, 130)
    two.wait_until_empty()
    hint = re.search(r"Go on with: decentralized launch (.*) --via ssh", output)
    assert hint and Path(hint[1]) == home(two), output
    assert "stopping with a check-point" in output
    assert sorted(path.name for path in home(two).glob("nodes/*")) == [f"{node:04d}" for node in range(6)]
    output = end(two.launch(home(two)), 0)
    assert "going on from check-point" in output
    assert models(home(two)) == models(alone)
    two.wait_until_empty()


def test_an_agent_that_is_killed_ends_everything(two: Machines) -> None:
    launcher = launch(two, settings=(*SETTINGS, "algorithm.rounds=4000"))
    wait_for(launcher, lambda: going_on(two))
    os.kill(agent_of(two, 1), signal.SIGKILL)
    began = time.monotonic()
    output = end(launcher, 5)
    assert "machine 1 (127.0.0.3): its agent or the connection to it was lost" in output
    assert time.monotonic() - began < 30
    assert len(list(home(two).glob("nodes/*"))) == 6, "what there is has come home"
    two.wait_until_empty()


def test_a_launcher_that_is_killed_leaves_nothing(two: Machines) -> None:
    launcher = launch(two, settings=(*SETTINGS, "algorithm.rounds=4000"))
    wait_for(launcher, lambda: going_on(two))
    launcher.kill()
    launcher.communicate(timeout=PATIENCE_S)
    for folder in two.folder.glob("machine*/work/runs/.launch-*"):
        shutil.rmtree(folder)
    two.wait_until_empty()
