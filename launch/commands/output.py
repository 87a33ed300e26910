"""What commands print: lines that are never wrapped, and tables that fit a terminal of 80 columns."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from decentralized.errors import ConfigError

if TYPE_CHECKING:
    from rich.table import Table


def say(*lines: str) -> None:
    """Plain lines: a path can be copied whole, and brackets are not markup."""
    from rich.console import Console  # here as below, because mistakes are told without it

    console = Console()
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def show(title: str, table: Table) -> None:
    """A table under its title; where words do not fit, whole words go to the next line."""
    from rich.console import Console

    say(title)
    Console().print(table, highlight=False, markup=False)


def plain_table(columns: Sequence[str], words: int, gap: int = 2) -> Table:
    """An empty table without vertical lines, `gap` spaces between columns, of which the first `words` hold words."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=(0, gap - 1, 0, 0))
    for position, column in enumerate(columns):
        table.add_column(column, justify="left" if position < words else "right", overflow="fold")
    return table


def check_picture(out: Path, kinds: Sequence[str]) -> None:
    """Raises ConfigError when no picture can be written there, before any work is done."""
    if out.suffix.lower() not in kinds:
        raise option_mistake(f"--out {out}: name a file that ends in {' or '.join(kinds)}")
    if not out.parent.is_dir():
        raise option_mistake(f"--out {out}: there is no folder {out.parent}")


def option_mistake(message: str) -> ConfigError:
    """A mistake on the command line: looking into the file again, as ConfigError advises, would not help."""
    error = ConfigError([message])
    error.advice = ""
    return error
