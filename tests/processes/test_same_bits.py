"""One configuration and one seed give one result: over processes, threads, two machines, and any order of starting."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.processes.runs import ROOT, models, run, start

CONFIG = ROOT / "configs" / "demo.toml"
SETTINGS = ("nodes=6", "algorithm.rounds=4", "evaluation.every=2", "data.samples=240", "topology.name=small-world")
DROPOUT_MODEL = """
from torch import nn

class WithDropout(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(64, 16), nn.Dropout(0.5), nn.ReLU(), nn.Linear(16, 10))
"""


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> dict[int, bytes]:
    return models(run(CONFIG, tmp_path_factory.mktemp("reference"), *SETTINGS))


def test_again(reference: dict[int, bytes], tmp_path: Path) -> None:
    assert models(run(CONFIG, tmp_path, *SETTINGS)) == reference


def test_another_seed_gives_another_result(reference: dict[int, bytes], tmp_path: Path) -> None:
    other = models(run(CONFIG, tmp_path, *SETTINGS, "seed=91"))
    assert all(other[node] != reference[node] for node in reference)


def test_in_memory(reference: dict[int, bytes], tmp_path: Path) -> None:
    assert models(run(CONFIG, tmp_path, *SETTINGS, "network.transport=memory")) == reference


@pytest.mark.parametrize(
    "sharing",
    ["{name='top-k', alpha=0.1}", "{name='random-alpha', alphas=[0.1, 0.3, 1.0]}", "{name='sub-sampling', alpha=0.3}"],
)
def test_sparse_sharing_in_processes_and_in_memory(sharing: str, tmp_path: Path) -> None:
    settings = (*SETTINGS, f"sharing={sharing}")
    processes = models(run(CONFIG, tmp_path / "a", *settings))
    assert models(run(CONFIG, tmp_path / "b", *settings, "network.transport=memory")) == processes


def test_spawned(reference: dict[int, bytes], tmp_path: Path) -> None:
    assert models(run(CONFIG, tmp_path, *SETTINGS, "processes.start=spawn")) == reference


def test_evaluation_changes_nothing(reference: dict[int, bytes], tmp_path: Path) -> None:
    settings = (*SETTINGS, "evaluation.every=1", "evaluation.train=true", "evaluation.nodes=2", "evaluation.samples=50")
    assert models(run(CONFIG, tmp_path, *settings)) == reference


@pytest.mark.parametrize("first", [0, 1])
def test_two_machines_in_any_order(first: int, reference: dict[int, bytes], tmp_path: Path, two_machines: Path) -> None:
    earlier = start(CONFIG, tmp_path, *SETTINGS, ip_map=two_machines, machine=first)
    time.sleep(0.5)
    later = start(CONFIG, tmp_path, *SETTINGS, ip_map=two_machines, machine=1 - first)
    for process in (earlier, later):
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 0, output
    (directory,) = tmp_path.glob("demo-*")
    assert models(directory) == reference
    assert sorted(path.name for path in (directory / "agents").iterdir()) == ["00", "01"]


def test_dropout_draws_the_same_in_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_models.py").write_text(DROPOUT_MODEL)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    config = tmp_path / "dropout.toml"
    text = CONFIG.read_text().replace('name = "mlp"\nhidden = [64]', 'name = "my_models:WithDropout"')
    config.write_text(text)
    processes = models(run(config, tmp_path / "a", *SETTINGS))
    threads = models(run(config, tmp_path / "b", *SETTINGS, "network.transport=memory"))
    assert processes == threads


def test_machines_with_other_settings_refuse_each_other(tmp_path: Path, two_machines: Path) -> None:
    one = start(CONFIG, tmp_path, *SETTINGS, ip_map=two_machines, machine=0)
    two = start(CONFIG, tmp_path, *SETTINGS, "seed=1", ip_map=two_machines, machine=1)
    for process in (one, two):
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 5, output
        assert "machine 1" in output and "seed: 1 there, 90 on machine 0" in output


def test_the_program_runs_as_a_module() -> None:
    result = subprocess.run([sys.executable, "-m", "launch.cli", "--version"], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0 and result.stdout.startswith("decentralized ")
