"""`decentralized data`."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from decentralized.data.cards import Card, card_names, data_root, load_card
from decentralized.errors import DataCorrupt
from launch.commands.output import check_picture, plain_table, say, show

if TYPE_CHECKING:
    from rich.progress import Progress


def list_all(data: Path | None) -> None:
    """Every card, and whether its files are there."""
    root = _root(data)
    table = plain_table(("name", "here", "what"), words=3)
    table.columns[0].no_wrap = table.columns[1].no_wrap = True
    for name in card_names():
        card = load_card(name)
        table.add_row(name, presence(card, root), card.title)
    show(f"data sets below {root}", table)
    say("`decentralized data fetch NAME` gets one, or says how to get it.")


def presence(card: Card, root: Path) -> str:
    """yes, no, in part or built in. Looks at names only: `verify` reads the files."""
    folder = card.place(root)
    if card.source == "package":
        return "built in"
    if not folder.is_dir():
        return "no"
    whole = all((folder / file.path).is_file() for file in card.known_files)
    return "yes" if whole and all(any(folder.glob(pattern)) for pattern in card.expects) else "in part"


def fetch(name: str, data: Path | None) -> None:
    """Download with a progress bar, or say how to get what no program may download."""
    from decentralized.data.fetch import FetchProgress
    from decentralized.data.fetch import fetch as download

    card, root = load_card(name), _root(data)
    if card.source == "package":
        say(f"{name} is built in: there is nothing to fetch")
        return
    with _progress_bar() if card.source == "download" else contextlib.nullcontext() as bar:
        task = bar.add_task(name, total=None) if bar else None

        def show_progress(progress: FetchProgress) -> None:
            if bar and task is not None:
                bar.update(task, description=progress.file, completed=progress.done_bytes, total=progress.total_bytes)

        place = download(card, root, show_progress)
    say(f"{name} is in {place}")


def _progress_bar() -> Progress:
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    return Progress(*columns, TimeRemainingColumn())


def verify(name: str, data: Path | None) -> None:
    """Say that all is well, or raise with the list of what is not."""
    from decentralized.data.files import missing
    from decentralized.data.verify import verify as compare

    card, root = load_card(name), _root(data)
    if card.source == "package":
        say(f"{name} is built in: there are no files to verify")
        return
    if not card.place(root).is_dir():
        raise missing(card.place(root), name)
    problems = compare(card, root)
    if problems:
        advice = f"Run `decentralized data fetch {name}` again, or compare with its owner's copy: {card.homepage}"
        raise DataCorrupt("\n".join([f"{name} is not as its card says", *problems]), advice)
    sums = "" if card.known_files else " (no checksums are known)"
    say(f"{name} is as its card says, in {card.place(root)}{sums}")


def describe(path: Path, overrides: list[str], data: Path | None, out: Path) -> None:
    """A table with one row for each node, and a picture."""
    from decentralized import config
    from decentralized.build import BuiltIn

    experiment = config.load(path, BuiltIn(), overrides)
    check_picture(out, [".png", ".pdf", ".svg"])
    from decentralized.data.describe import draw, who_gets_what  # from here on it may take seconds
    from decentralized.prepare import prepare

    prepared = prepare(experiment, _root(data))
    title = f"{experiment.data.name} on {experiment.nodes} nodes, in samples"
    table = plain_table(("node", "train", "validation", "test", "classes", "users"), words=0)
    for row in who_gets_what(prepared.data, prepared.parts):
        known = (row.train, row.validation, row.test)
        table.add_row(str(row.node), *map(str, known), str(row.classes or "-"), str(row.users or "-"))
    draw(prepared.data, prepared.parts, out)
    show(title, table)
    say("classes, users: how many there are among the training samples", f"picture {out}")


def _root(data: Path | None) -> Path:
    return data_root(str(data) if data else None)
