"""One HTML page that needs nothing but itself: no script, no other file, no network.

Everything that comes from a run is escaped; a name or a setting is never markup.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from decentralized.report.labels import flatten, run_labels
from decentralized.report.series import Run
from decentralized.report.statistics import FAILED, FINISHED, INTERRUPTED
from decentralized.report.tables import Table, outcome

CSS = """
:root { color-scheme: light dark; --ink: #1c1e21; --soft: #5d646d; --paper: #ffffff; --line: #dfe3e8; --tint: #f5f7f9;
  --good: #006b4a; --bad: #b03a00; --open: #7a5b00; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8eb; --soft: #a0a8b2; --paper: #16181b; --line: #343a41;
  --tint: #1f2327; --good: #4fd1a5; --bad: #ff9a66; --open: #f0c75e; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 76rem; padding: 2.5rem 1.5rem 4rem; color: var(--ink); background: var(--paper);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .5rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .75rem; padding-bottom: .3rem; border-bottom: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.5rem 0 .5rem; }
p { margin: .4rem 0; } .soft { color: var(--soft); font-size: .875rem; }
.outcome { font-weight: 600; } .finished { color: var(--good); } .failed { color: var(--bad); }
.interrupted, .unknown { color: var(--open); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .9rem .35rem 0; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { color: var(--soft); font-weight: 600; } .word { text-align: left; }
.figures { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(20rem, 1fr)); }
figure { margin: 0; } img { width: 100%; height: auto; display: block; background: #fff; border-radius: 6px; }
figcaption { color: var(--soft); font-size: .875rem; padding: .25rem 0; }
pre { background: var(--tint); padding: 1rem; border-radius: 6px; overflow-x: auto; font-size: .825rem; }
summary { cursor: pointer; font-weight: 600; padding: .3rem 0; }
@media print { body { max-width: none; padding: 0; } figure, tr { break-inside: avoid; } }
"""


@dataclass(frozen=True)
class Picture:
    """A figure with its caption."""

    caption: str
    png: bytes


def page(runs: Sequence[Run], tables: Sequence[Table], pictures: Sequence[tuple[str, Sequence[Picture]]]) -> str:
    """The whole page. `pictures` are groups of figures, each with its heading."""
    title = ", ".join(dict.fromkeys(run.name for run in runs))
    labels = run_labels(runs)
    parts = [
        f"<h1>{escape(title)}</h1>",
        *(_outcome(run, label if len(runs) > 1 else "") for run, label in zip(runs, labels, strict=True)),
        *(_table(table) for table in tables if table.rows),
        *(_figures(heading, group) for heading, group in pictures),
        *(_details(run, f" of {label}" if len(runs) > 1 else "") for run, label in zip(runs, labels, strict=True)),
    ]
    if not pictures:
        parts.insert(-len(runs), "<p>There are no metrics to draw yet.</p>")
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{CSS}</style>\n</head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body>\n</html>\n"
    )


def _outcome(run: Run, label: str) -> str:
    word = outcome(run)
    kind = word if word in (FINISHED, FAILED, INTERRUPTED) else "unknown"
    before = f"{escape(label)}: " if label else ""
    lines = [f'<p>{before}<span class="outcome {kind}">{escape(word)}</span>, {_extent(run)}</p>']
    message = (run.summary or {}).get("message")
    if isinstance(message, str) and message:
        lines.append(f"<pre>{escape(message)}</pre>")
    if len(run.nodes) < run.expected_nodes:
        lines.append(
            f"<p>Only {len(run.nodes)} of {run.expected_nodes} nodes have metrics here. If the run used several "
            "machines, copy the other machines' nodes folders into this one and make the report again.</p>"
        )
    lines.extend(f"<p>{escape(problem)}</p>" for problem in run.problems)
    lines.append(f'<p class="soft">{escape(str(run.path))}</p>')
    return "\n".join(lines)


def _extent(run: Run) -> str:
    nodes = "1 node" if run.expected_nodes == 1 else f"{run.expected_nodes} nodes"
    rounds = "1 round" if run.rounds == 1 else f"{run.rounds} rounds"
    return f"{nodes}, {rounds}"


def _table(table: Table) -> str:
    body = "\n".join(f"<tr>{_cells(cells, 'td', table.left)}</tr>" for cells in table.rows)
    note = f'\n<p class="soft">{escape(table.note)}</p>' if table.note else ""
    head = f"<thead><tr>{_cells(table.columns, 'th', table.left)}</tr></thead>"
    return (
        f'<h2>{escape(table.title)}</h2>\n<div class="scroll"><table>\n{head}\n'
        f"<tbody>\n{body}\n</tbody></table></div>{note}"
    )


def _cells(cells: Sequence[str], tag: str, left: int) -> str:
    starts = [f'<{tag} class="word">' if column < left else f"<{tag}>" for column in range(len(cells))]
    return "".join(f"{start}{escape(cell)}</{tag}>" for start, cell in zip(starts, cells, strict=True))


def _figures(heading: str, group: Sequence[Picture]) -> str:
    figures = "\n".join(
        f'<figure><img src="data:image/png;base64,{base64.b64encode(picture.png).decode("ascii")}" '
        f'alt="{escape(picture.caption)}"><figcaption>{escape(picture.caption)}</figcaption></figure>'
        for picture in group
    )
    return f'<h2>{escape(heading)}</h2>\n<div class="figures">\n{figures}\n</div>'


def _details(run: Run, whose: str) -> str:
    rows = tuple(flatten(run.environment).items())
    environment = _table(Table(f"Environment{whose}", ("what", "value"), rows, left=2)) if rows else ""
    config = f"<details open><summary>config.toml</summary>\n<pre>{escape(run.config_text)}</pre></details>"
    return f"<h2>Configuration{escape(whose)}</h2>\n{config}\n{environment}"
