"""The report of one or several runs: report.html, and its figures as files of their own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from decentralized.report.labels import quantity
from decentralized.report.page import Picture, page
from decentralized.report.plot import AXES, PlotOptions, draw
from decentralized.report.series import Run, load_run
from decentralized.report.tables import Table, final_table, result_metrics, settings_table, time_table, traffic_table
from decentralized.run_directory import RunDirectory, write_atomically

AGAINST = {"round": "against rounds", "time": "against time", "bytes": "against the data that each node sent"}
PAGE_FIGURE = PlotOptions(width_in=5.0, height_in=3.6, dots_per_inch=160)


def make_report(paths: Sequence[Path], out: Path | None = None) -> Path:
    """Write report.html and plots/*.png, and return the page's path.

    out: the folder to write into; without it the run's own folder, or for several runs `report-<time>` where you are.
    Raises RunDirectoryError for a path that is no run, StorageError for a disk that does not take the files.
    """
    runs = [load_run(path) for path in paths]
    if out is None:
        out = runs[0].path if len(runs) == 1 else Path(f"report-{datetime.now():%Y%m%d-%H%M%S}")
    directory = RunDirectory.join(out)
    RunDirectory.join(directory.plots)
    groups = [(quantity(metric).label, _pictures(runs, metric, directory.plots)) for metric in _drawn(runs)]
    write_atomically(directory.report, page(runs, _tables(runs), groups).encode("utf-8"))
    return directory.report


def _drawn(runs: Sequence[Run]) -> list[str]:
    recorded = {name for run in runs for name in run.metrics()}
    return [name for name in result_metrics(runs) if name in recorded]


def _pictures(runs: Sequence[Run], metric: str, folder: Path) -> list[Picture]:
    pictures = []
    for x in AXES:
        png = draw(runs, x, metric, PAGE_FIGURE)
        write_atomically(folder / f"{re.sub(r'[^A-Za-z0-9_-]+', '-', metric)}-{x}.png", png)
        pictures.append(Picture(f"{quantity(metric).label} {AGAINST[x]}", png))
    return pictures


def _tables(runs: Sequence[Run]) -> list[Table]:
    tables = [final_table(runs), traffic_table(runs), time_table(runs)]
    return [settings_table(runs), *tables] if len(runs) > 1 else tables
