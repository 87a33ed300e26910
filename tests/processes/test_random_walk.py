"""Random walks over real processes: what was sent has arrived, and everything ends when the first node has finished."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.processes.runs import ROOT, models, run

CONFIG = ROOT / "configs" / "demo.toml"


@pytest.mark.parametrize(
    "settings",
    [
        ("algorithm={name='random-walk', rounds=20}",),
        ("algorithm={name='random-walk', rounds=20}", "sharing={name='top-k', alpha=0.2}", "topology.name=star"),
        ("algorithm={name='random-walk', rounds=20, mode='periodic', period_rounds=3}",),
        ("algorithm={name='hybrid', rounds=20, switch_round=10}",),
    ],
)
def test_no_model_is_lost(settings: tuple[str, ...], tmp_path: Path) -> None:
    directory = run(CONFIG, tmp_path, "nodes=6", "evaluation.every=0", *settings)
    summary = json.loads((directory / "summary.json").read_text())
    totals = summary["totals"]
    assert summary["outcome"] == "finished" and len(models(directory)) == 6
    assert totals["walks_sent"] == totals["walks_taken"] + totals["walks_waiting_at_end"] > 0
    assert totals["dropped"] == 0
    assert summary["final"]["test_accuracy"]["mean"] > 0.5
