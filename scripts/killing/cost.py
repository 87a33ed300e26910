"""How much longer a run takes for its check-points."""

from __future__ import annotations

import shutil
import statistics
import sys
from pathlib import Path

from scripts.killing.runs import (
    ROOT,
    Run,
    new_folder,
)

LONG_S = 1200.0


def cost(rounds: int, folder: Path) -> None:
    """MovieLens with 96 nodes, with check-points at the default interval and without, in turns."""
    config = ROOT / "configs" / "movielens.toml"
    times: dict[str, list[float]] = {"0": [], "100": []}
    for _ in range(3):
        for every, measured in times.items():
            run = Run(new_folder(folder), [f"algorithm.rounds={rounds}", f"checkpoint.every={every}"], config=config)
            if run.end(LONG_S) != 0:
                sys.exit(run.log.read_text())
            summary = run.summary()
            measured.append(summary["time_s"])
            if summary["totals"].get("checkpoints"):
                share = summary["totals"]["checkpoint_ms"] / 1000 / (summary["nodes"] * summary["time_s"])
                print(
                    f"{100 * share:.2f} % of the nodes' time went into {summary['totals']['checkpoints']} check-points"
                )
            shutil.rmtree(run.out)
    without, with_ = (statistics.median(times[every]) for every in ("0", "100"))
    print(f"96 nodes, {rounds} rounds: {without:.1f} s without, {with_:.1f} s with a check-point every 100 rounds")
    print(f"cost: {100 * (with_ / without - 1):+.2f} %  (single times: {times})")
