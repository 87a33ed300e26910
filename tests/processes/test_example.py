"""What docs/extending.md promises: the algorithm of examples/ and the components of the page, in real processes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.processes.runs import ROOT, models, run

CONFIG = ROOT / "configs" / "examples" / "periodic_averaging.toml"
SETTINGS = ("algorithm.rounds=8", "evaluation.every=0")
PAGE = ROOT / "docs" / "extending.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def summary(directory: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((directory / "summary.json").read_text())
    return content


@pytest.fixture(scope="module")
def every_round(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(CONFIG, tmp_path_factory.mktemp("every"), *SETTINGS, "algorithm.every=1")


def test_with_an_exchange_in_every_round_it_is_dpsgd(every_round: Path, tmp_path: Path) -> None:
    dpsgd = run(CONFIG, tmp_path, *SETTINGS, "algorithm.name=dpsgd", "algorithm.every=")
    assert len(models(dpsgd)) == 4
    assert models(every_round) == models(dpsgd)


def test_an_exchange_in_every_fourth_round_sends_a_quarter(every_round: Path, tmp_path: Path) -> None:
    directory = run(CONFIG, tmp_path, *SETTINGS, "algorithm.every=4")
    often, seldom = summary(every_round), summary(directory)
    assert seldom["bytes_values"] * 4 == often["bytes_values"]
    assert seldom["bytes_sent"] < often["bytes_sent"]
    assert models(directory) != models(every_round)


def test_the_components_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = BLOCK.findall(PAGE.read_text())
    code = "\n".join(text for language, text in blocks if language == "python")
    (config,) = (text for language, text in blocks if language == "toml" and "own-components" in text)
    (tmp_path / "my_components.py").write_text(code)
    (tmp_path / "own.toml").write_text(config)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    directory = run(tmp_path / "own.toml", tmp_path / "runs")
    graph = json.loads((directory / "topology.json").read_text())
    assert graph["targets"] == [[1, 2, 3, 4, 5], [0, 2, 5], [0, 1, 3], [0, 2, 4], [0, 3, 5], [0, 1, 4]]
    result = summary(directory)
    parameters, rounds, messages = 2 * 8 + 8 + 8 * 2 + 2, 20, 20
    assert result["bytes_values"] == rounds * messages * parameters * 2
    assert result["final"]["test_accuracy"]["min"] > 0.85  # the best possible is 0.933
