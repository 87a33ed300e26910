"""`decentralized report` and `decentralized plot`."""

from __future__ import annotations

from pathlib import Path

from decentralized.report.html import make_report
from decentralized.report.labels import run_labels
from decentralized.report.plot import PlotOptions
from decentralized.report.plot import plot as draw_plot
from decentralized.report.series import load_run
from decentralized.report.tables import final_table
from launch.commands.output import plain_table, say, show


def report(runs: list[Path], out: Path | None) -> None:
    """The final table here, everything else in the page."""
    page = make_report(runs, out)
    loaded = [load_run(path) for path in runs]
    labels = run_labels(loaded)
    numbers = {label: str(number) for number, label in enumerate(labels, 1)}
    table = final_table(loaded)
    first = 0 if len(labels) > 1 else 1  # one run needs no column that says which
    columns = [name.replace(" 10 %", "\n10 %") for name in table.columns[first:]]  # a row just fits 80 columns
    shown = plain_table(columns, table.left - first, gap=1)
    for label, *cells in table.rows:
        shown.add_row(*[numbers[label], *cells][first:])
    show(table.title, shown)
    if len(labels) > 1:
        say(*(f"run {number}: {label}" for label, number in numbers.items()))
    say(table.note, f"report {page}")


def plot(runs: list[Path], x: str, y: str, out: Path, title: str, log_x: bool, log_y: bool) -> None:
    """One figure."""
    options = PlotOptions(title=title, log_x=log_x, log_y=log_y)
    written = draw_plot([load_run(path) for path in runs], x, y, out, options)
    say(f"plot {written}")
