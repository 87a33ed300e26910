"""L2C and meta-L2C over real TCP: the same bits in memory, and after a node failed and the run was resumed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes.runs import PATIENCE_S, ROOT, models, run

CONFIG = ROOT / "configs" / "demo.toml"
SETTINGS = (
    "nodes=5",
    "topology=full",
    "algorithm={name='NAME', rounds=6, weight_steps=2, prune=2, prune_after=3, validation_batch=5}",
    "checkpoint.every=2",
    "evaluation.every=2",
    "data.samples=240",
    "data.validation=0.2",
    "model.hidden=[8]",
)
DYING = """
import os
from pathlib import Path
from decentralized.learners.sgd import SGD

class Dying(SGD):
    def fit(self, round, progress):
        if round == 6 and Path(os.environ["DIES"]).exists():
            Path(os.environ["DIES"]).unlink(missing_ok=True)
            raise RuntimeError("once")
        return super().fit(round, progress)
"""


@pytest.mark.parametrize("name", [pytest.param("l2c", marks=pytest.mark.slow), "meta-l2c"])  # the second has all of it
def test_in_memory_and_after_a_resume(name: str, tmp_path: Path) -> None:
    settings = [setting.replace("NAME", name) for setting in SETTINGS]
    processes = run(CONFIG, tmp_path / "a", *settings)
    in_memory = run(CONFIG, tmp_path / "b", *settings, "network.transport=memory")
    assert models(in_memory) == models(processes)
    (tmp_path / "dying.py").write_text(DYING)
    (tmp_path / "dies").touch()
    path = os.pathsep.join([str(ROOT), str(tmp_path), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "DIES": str(tmp_path / "dies")}
    command = [sys.executable, "-m", "launch.cli", "run", str(CONFIG), "--out", str(tmp_path / "c"), "--no-report"]
    for setting in (*settings, "training.name=dying:Dying"):
        command += ["--set", setting]
    assert subprocess.run(command, cwd=ROOT, env=environment, timeout=PATIENCE_S, capture_output=True).returncode
    (directory,) = (tmp_path / "c").glob("*-*")
    resume = [sys.executable, "-m", "launch.cli", "resume", str(directory), "--no-report"]
    result = subprocess.run(resume, cwd=ROOT, env=environment, timeout=PATIENCE_S, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    assert models(directory) == models(processes)
    learned = [
        [path.read_bytes() for path in sorted(d.glob("nodes/*/learned.safetensors"))]
        for d in (processes, in_memory, directory)
    ]
    assert len(learned[0]) == 5 and learned[0] == learned[1] == learned[2]


@pytest.mark.slow
def test_nodes_that_join_later(tmp_path: Path) -> None:
    algorithm = "algorithm={name='l2c', rounds=4, latecomers=[1, 3], join_after=2}"
    settings = (*SETTINGS[:2], algorithm, *SETTINGS[3:])
    processes = run(CONFIG, tmp_path / "a", *settings)
    assert models(run(CONFIG, tmp_path / "b", *settings, "network.transport=memory")) == models(processes)
