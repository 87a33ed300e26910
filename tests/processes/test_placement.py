"""Agents that Open MPI, torchrun and Kubernetes start know which machine they are."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests.processes.runs import PATIENCE_S, ROOT, models, run

CONFIG = ROOT / "configs" / "demo.toml"
SETTINGS = ("nodes=4", "algorithm.rounds=5", "evaluation.every=0")
AS_ROOT = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[int, bytes]:
    """The models of the same run on one machine, started by hand."""
    return models(run(CONFIG, tmp_path_factory.mktemp("alone"), *SETTINGS))


def agent(out: Path, ip_map: Path | None) -> list[str]:
    """The command for each machine; it does not say which one it is."""
    command = [sys.executable, "-m", "launch.cli", "run", str(CONFIG), "--out", str(out), "--no-report"]
    for setting in SETTINGS:
        command += ["--set", setting]
    return command if ip_map is None else [*command, "--ip-map", str(ip_map)]


def start(command: Sequence[str], **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def outputs(processes: Sequence[subprocess.Popen[str]], code: int = 0) -> list[str]:
    """What they printed, once all have ended as they should."""
    try:
        found = [process.communicate(timeout=PATIENCE_S)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert [process.returncode for process in processes] == [code] * len(processes), "\n".join(found)
    return found


def assert_same(out: Path, alone: Mapping[int, bytes]) -> None:
    (directory,) = out.glob("demo-*")
    assert models(directory) == alone
    assert sorted(path.name for path in directory.glob("agents/*")) == ["00", "01"]


@pytest.mark.skipif(shutil.which("mpirun") is None, reason="needs Open MPI")
def test_open_mpi(two_machines: Path, tmp_path: Path, alone: dict[int, bytes]) -> None:
    mpirun = ["mpirun", "-n", "2", "--oversubscribe"]
    lonely = start([*mpirun, *agent(tmp_path, None)], **AS_ROOT)
    assert "Open MPI started this as machine" in lonely.communicate(timeout=PATIENCE_S)[0] and lonely.returncode == 9
    outputs([start([*mpirun, *agent(tmp_path, two_machines)], **AS_ROOT)])
    assert_same(tmp_path, alone)


def test_kubernetes(two_machines: Path, tmp_path: Path, alone: dict[int, bytes]) -> None:
    pods = [
        start(agent(tmp_path, two_machines), JOB_COMPLETION_INDEX=index, KUBERNETES_SERVICE_HOST="127.0.0.1")
        for index in "10"
    ]
    outputs(pods)
    assert_same(tmp_path, alone)


@pytest.mark.slow
def test_torchrun(two_machines: Path, tmp_path: Path, alone: dict[int, bytes]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1", "--no-python"]
    torchrun += ["--master-addr=127.0.0.1", f"--master-port={port}"]
    outputs([start([*torchrun, f"--node-rank={rank}", *agent(tmp_path, two_machines)]) for rank in "01"])
    assert_same(tmp_path, alone)
