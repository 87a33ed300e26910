"""Launching on a Ray cluster of three machines that are this one."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.processes.ray_cluster import RayCluster, ray_cluster
from tests.processes.runs import PATIENCE_S, ROOT, models, run
from tests.processes.survival import records, resume

pytest.importorskip("ray", reason="needs Ray")

CONFIG = ROOT / "configs" / "demo.toml"
SETTINGS = ("nodes=6", "algorithm.rounds=120", "checkpoint.every=5", "evaluation.every=20")
LEAVE_S = 40.0


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayCluster]:
    with ray_cluster(tmp_path_factory.mktemp("hidden")) as made:
        yield made


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same on one machine, without Ray."""
    return run(CONFIG, tmp_path_factory.mktemp("alone"), *SETTINGS)


Launch = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def launch(cluster: RayCluster) -> Iterator[Launch]:
    """Starts a launcher; at the end neither it nor anything that it has started is there any more."""
    launchers: list[subprocess.Popen[str]] = []

    def start(out: Path, *settings: str, what: Path = CONFIG, address: str = cluster.address) -> subprocess.Popen[str]:
        sets = [part for setting in settings for part in ("--set", setting)]
        command = [sys.executable, "-m", "launch.cli", "launch", str(what), "--via", "ray", "--no-report"]
        launchers.append(
            subprocess.Popen(
                [*command, "--out", str(out), *sets],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT), "RAY_ADDRESS": address},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
        return launchers[-1]

    yield start
    for launcher in launchers:
        if launcher.poll() is None:
            launcher.kill()
            launcher.communicate()
    wait_until(lambda: not cluster.ours(), LEAVE_S)


def wait_until(condition: Callable[[], object], patience_s: float = PATIENCE_S) -> None:
    until = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.1)


def end(launcher: subprocess.Popen[str], code: int) -> str:
    output, _ = launcher.communicate(timeout=PATIENCE_S)
    assert launcher.returncode == code, output
    return output


def home(out: Path) -> Path:
    (directory,) = out.glob("demo-*")
    return directory


def test_a_shared_folder_holds_the_bits_of_a_run_on_one_machine(launch: Launch, tmp_path: Path, alone: Path) -> None:
    output = end(launch(tmp_path, *SETTINGS), 0)
    assert "6 nodes on 3 machines" in output and "round 120/120" in output
    assert models(home(tmp_path)) == models(alone) and records(home(tmp_path)) == records(alone)
    assert sorted(path.name for path in home(tmp_path).glob("agents/*")) == ["00", "01", "02"]
    assert [path.name for path in tmp_path.iterdir()] == [home(tmp_path).name]


@pytest.mark.slow
def test_ctrl_c_brings_check_points_home_from_which_it_goes_on(
    launch: Launch, cluster: RayCluster, tmp_path: Path, alone: Path
) -> None:
    if cluster.hidden is None:
        pytest.skip("needs root: a folder that the machines do not share")
    out = cluster.hidden / "runs"
    launcher = launch(out, *SETTINGS, "ray.machines=2")
    wait_until(lambda: len(cluster.agents()) == 2 and list(_scratch(cluster).glob("runs/*/nodes/*/checkpoint/*")))
    launcher.send_signal(signal.SIGINT)
    output = end(launcher, 130)
    directory = home(out)
    assert "stopping with a check-point" in output and f"decentralized launch {directory} --via ray" in output
    wait_until(lambda: not cluster.ours(), LEAVE_S)
    assert len(list(directory.glob("nodes/*/checkpoint/*"))) >= 6
    assert "does not see" in end(launch(out, what=directory), 9)
    (tmp_path / "one.json").write_text('{"0": "127.0.0.1"}')
    resume(directory, 0, "--ip-map", str(tmp_path / "one.json"))
    assert models(directory) == models(alone) and records(directory) == records(alone)


def _scratch(cluster: RayCluster) -> Path:
    """The folder of machine 0's own files, as its processes see it."""
    agent = cluster.agents()[0]
    words = agent.cmdline()
    return Path(f"/proc/{agent.pid}/root{Path(words[words.index('--out') + 1]).parent}")


@pytest.mark.slow
def test_a_lost_machine_ends_all_and_a_launch_goes_on(
    launch: Launch, cluster: RayCluster, tmp_path: Path, alone: Path
) -> None:
    launcher = launch(tmp_path, *SETTINGS)
    wait_until(lambda: list(tmp_path.glob("*/nodes/0000/checkpoint/*")))
    actor = cluster.agents()[2].parent()
    assert actor is not None
    actor.kill()
    output = end(launcher, 5)
    assert re.search(r"machine 2 \(.*\): its agent or the connection to it was lost", output), output
    end(launch(tmp_path, what=home(tmp_path)), 0)
    assert models(home(tmp_path)) == models(alone) and records(home(tmp_path)) == records(alone)


@pytest.mark.slow
def test_agents_end_when_the_launcher_is_gone(launch: Launch, cluster: RayCluster, tmp_path: Path) -> None:
    launcher = launch(tmp_path, *SETTINGS, "algorithm.rounds=100000")
    wait_until(lambda: list(tmp_path.glob("*/nodes/0000/checkpoint/*")))
    assert len(cluster.agents()) == 3 and len(cluster.ours()) >= 12
    launcher.kill()
    launcher.communicate()
    wait_until(lambda: not cluster.ours(), LEAVE_S)


@pytest.mark.slow
def test_mistakes_are_told_before_anything_starts(
    launch: Launch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DECENTRALIZED_DATA", str(tmp_path))  # where there is no MNIST
    crowded = launch(tmp_path, *SETTINGS, "ray.machines=4", "network.start_deadline_s=1")
    greedy = launch(tmp_path, *SETTINGS, "ray.gpus=3")
    wrong = launch(tmp_path, *SETTINGS, "data.name=mnist", "ray.machines=1")
    lost = launch(tmp_path, *SETTINGS, address="127.0.0.1:1")
    assert "4 machines of the Ray cluster with 1 CPU free" in end(crowded, 9)
    assert "no machine of the Ray cluster has 1 CPU and 3 GPU" in end(greedy, 9)
    assert "no Ray cluster: RAY_ADDRESS 127.0.0.1:1" in end(lost, 9)
    assert "mnist" in end(wrong, 3)
