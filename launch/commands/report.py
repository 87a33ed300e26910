"""`decentralized report` and `decentralized plot`."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table as RichTable

from decentralized.report.html import make_report
from decentralized.report.plot import PlotOptions
from decentralized.report.plot import plot as draw_plot
from decentralized.report.series import load_run
from decentralized.report.tables import final_table


def report(runs: list[Path], out: Path | None) -> None:
    """The final table here, everything else in the page."""
    console = Console()
    page = make_report(runs, out)
    table = final_table([load_run(path) for path in runs])
    shown = RichTable(title=table.title, caption=table.note)
    for position, column in enumerate(table.columns):
        shown.add_column(column, justify="left" if position < table.left else "right")
    for row in table.rows:
        shown.add_row(*row)
    console.print(shown)
    console.print(f"report {page}", highlight=False, markup=False, soft_wrap=True)


def plot(runs: list[Path], x: str, y: str, out: Path, title: str, log_x: bool, log_y: bool) -> None:
    """One figure."""
    options = PlotOptions(title=title, log_x=log_x, log_y=log_y)
    written = draw_plot([load_run(path) for path in runs], x, y, out, options)
    Console().print(f"plot {written}", highlight=False, markup=False, soft_wrap=True)
