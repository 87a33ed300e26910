"""`decentralized data`."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Table

from decentralized.data.cards import card_names, data_root, load_card
from decentralized.errors import DataCorrupt


def list_all(data: Path | None) -> None:
    """Every card, and whether its folder is there."""
    root = _root(data)
    table = Table(title=f"data root {root}")
    for column in ("name", "title", "folder", "here"):
        table.add_column(column)
    for name in card_names():
        card = load_card(name)
        place = card.place(root)
        here = "with scikit-learn" if not card.folder else "yes" if place.is_dir() else "no"
        table.add_row(name, card.title, card.folder or "", here)
    Console().print(table)


def fetch(name: str, data: Path | None) -> None:
    """Download with a progress bar."""
    from decentralized.data.fetch import FetchProgress
    from decentralized.data.fetch import fetch as download

    card = load_card(name)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn()) as bar:
        task = bar.add_task(name, total=None)

        def show(progress: FetchProgress) -> None:
            bar.update(task, description=progress.file, completed=progress.done_bytes, total=progress.total_bytes)

        place = download(card, _root(data), show)
    Console().print(f"{name} is in {place}", highlight=False, markup=False, soft_wrap=True)


def verify(name: str, data: Path | None) -> None:
    """Say that all is well, or raise with the list of what is not."""
    from decentralized.data.verify import verify as compare

    card = load_card(name)
    problems = compare(card, _root(data))
    if problems:
        raise DataCorrupt("\n".join(problems))
    Console().print(f"{name}: every known file is as its card says", highlight=False, markup=False)


def describe(path: Path, overrides: list[str], data: Path | None, out: Path) -> None:
    """A table with one row for each node, and a picture."""
    from decentralized import config
    from decentralized.build import BuiltIn
    from decentralized.data.describe import draw, who_gets_what
    from decentralized.prepare import prepare

    experiment = config.load(path, BuiltIn(import_others=False), overrides)
    prepared = prepare(experiment, _root(data))
    table = Table(title=f"{experiment.data.name} on {experiment.nodes} nodes")
    for column in ("node", "train", "validation", "test", "classes", "users"):
        table.add_column(column, justify="right")
    for row in who_gets_what(prepared.data, prepared.parts):
        numbers = (row.node, row.train, row.validation, row.test, row.classes, row.users)
        table.add_row(*(str(number) for number in numbers))
    draw(prepared.data, prepared.parts, out)
    console = Console()
    console.print(table)
    console.print(f"picture {out}", highlight=False, markup=False, soft_wrap=True)


def _root(data: Path | None) -> Path:
    return data_root(str(data) if data else None)
