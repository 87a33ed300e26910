"""Personal parameters over real TCP: none of them leaves, a federated run is the same in memory and after a resume."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes.runs import PATIENCE_S, ROOT, models, run

CONFIG = ROOT / "configs" / "demo.toml"
SMALL = ("nodes=5", "algorithm.rounds=6", "evaluation.every=2", "data.samples=240", "model.hidden=[8]")
FEDERATED = ("topology.name=star", "algorithm.name=federated", "algorithm.clients_per_round=3")
PERSONAL = "training={name='partial', personal='output', optimizer={name='SGD', lr=0.1, momentum=0.9}}"
RECORDING = '''
"""A partial learner whose process writes down what it sends, and what must not be sent."""
import os
from pathlib import Path
from decentralized.learners.partial import Partial
from decentralized.transport.zeromq import ZeroMqTransport

FOLDER = Path(os.environ["RECORDS"])
send = ZeroMqTransport.send

def note(kind, data):
    with open(FOLDER / f"{kind}-{os.getpid()}", "ab") as file:
        file.write(data)

def recorded(transport, to, frames):
    for frame in frames:
        note("sent", bytes(frame))
    send(transport, to, frames)

ZeroMqTransport.send = recorded

class Recording(Partial):
    def fit(self, round, progress):
        metrics = super().fit(round, progress)
        note("kept", self.parameters.personal.numpy().tobytes())
        note("shared", self.vector().numpy().tobytes())
        return metrics
'''


@pytest.mark.parametrize("algorithm", [(), FEDERATED], ids=["dpsgd", "federated"])
def test_no_byte_of_what_is_personal_leaves_over_tcp(
    algorithm: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "recording.py").write_text(RECORDING)
    records = tmp_path / "records"
    records.mkdir()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("RECORDS", str(records))
    run(CONFIG, tmp_path / "runs", *SMALL, *algorithm, PERSONAL.replace("partial", "recording:Recording"))
    sent = [path.read_bytes() for path in records.glob("sent-*")]
    travelled = {data[start : start + 8] for data in sent for start in range(len(data) - 7)}
    kept, shared = (
        {data[start : start + 8] for path in records.glob(f"{kind}-*") for data in [path.read_bytes()]
         for start in range(0, len(data) - 4, 4)} for kind in ("kept", "shared")
    )  # fmt: skip
    assert len(sent) >= 5 and len(kept) > 1000
    assert not kept & travelled
    assert len(shared & travelled) > len(shared) / 3, "the search finds what does travel"


def test_a_federated_run_in_memory_and_after_a_resume(tmp_path: Path) -> None:
    settings = (*SMALL, *FEDERATED, PERSONAL, "checkpoint.every=2", "algorithm.send_all_every=3")
    reference = models(run(CONFIG, tmp_path / "a", *settings))
    assert models(run(CONFIG, tmp_path / "b", *settings, "network.transport=memory")) == reference
    killed = "training.name=dying:Dying"
    (tmp_path / "dying.py").write_text(DYING)
    path = os.pathsep.join([str(ROOT), str(tmp_path), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "DIES": str(tmp_path / "dies")}
    (tmp_path / "dies").touch()
    command = [sys.executable, "-m", "launch.cli", "run", str(CONFIG), "--out", str(tmp_path / "c"), "--no-report"]
    for setting in (*settings, killed):
        command += ["--set", setting]
    assert subprocess.run(command, cwd=ROOT, env=environment, timeout=PATIENCE_S, capture_output=True).returncode
    (directory,) = (tmp_path / "c").glob("*-*")
    resume = [sys.executable, "-m", "launch.cli", "resume", str(directory), "--no-report"]
    result = subprocess.run(resume, cwd=ROOT, env=environment, timeout=PATIENCE_S, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    assert models(directory) == reference


DYING = """
import os
from pathlib import Path
from decentralized.learners.partial import Partial

class Dying(Partial):
    def fit(self, round, progress):
        if round == 5 and Path(os.environ["DIES"]).exists():
            Path(os.environ["DIES"]).unlink(missing_ok=True)
            raise RuntimeError("once")
        return super().fit(round, progress)
"""
