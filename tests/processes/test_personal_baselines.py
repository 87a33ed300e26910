"""CGA and both forms of FOMO over real TCP: the same bits as in memory, and after a run that died and was resumed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes.runs import PATIENCE_S, ROOT, models, run

CONFIG = ROOT / "configs" / "demo.toml"
SMALL = (
    "nodes=5",
    "algorithm.rounds=6",
    "evaluation.every=2",
    "checkpoint.every=2",
    "model.hidden=[8]",
    "data={name='digits', samples=320, validation=0.25, partition={name='by-class', classes_per_node=2}}",
)
METHODS = {
    "cga": ("algorithm.name=cga", "training.local_epochs=", "training.local_steps=2"),
    "fomo of peers": ("mixing.name=fomo",),
    "fomo with a server": ("topology.name=star", "algorithm.name=fomo", "algorithm.clients_per_round=3"),
}
DYING = """
import os
from pathlib import Path
from decentralized.learners.sgd import SGD

class Dying(SGD):
    looks = 0

    def evaluate(self, split, progress):
        self.looks += split == "test"
        if self.looks == 3 and Path(os.environ["DIES"]).exists():  # after round 4, before its check-point
            Path(os.environ["DIES"]).unlink(missing_ok=True)
            raise RuntimeError("once")
        return super().evaluate(split, progress)
"""


@pytest.mark.parametrize(
    "method",
    # Beside its weights it is D-PSGD, which has tests of its own.
    [pytest.param(name, marks=pytest.mark.slow if name.startswith("fomo") else ()) for name in METHODS],
)
def test_in_memory_and_after_a_resume(method: str, tmp_path: Path) -> None:
    settings = (*SMALL, *METHODS[method])
    reference = models(run(CONFIG, tmp_path / "a", *settings))
    assert len(set(reference.values())) == 5, "every node has a model of its own"
    assert models(run(CONFIG, tmp_path / "b", *settings, "network.transport=memory")) == reference
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
    assert models(directory) == reference
