"""One figure: a metric of one or several runs against rounds, time or bytes.

A run is a line, the mean over its nodes, in a band that reaches from its worst to its best node.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from decentralized.errors import RunDirectoryError
from decentralized.report.labels import Quantity, quantity, run_labels
from decentralized.report.series import Curve, Run, unknown_metric
from decentralized.run_directory import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

AXES = ("round", "time", "bytes")

# Okabe and Ito, "Color Universal Design", 2008: told apart with every kind of colour vision. The yellow is left out
# (too pale on white).
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
LINES: tuple[Literal["-", "--", "-.", ":"], ...] = (
    "-",
    "--",
    "-.",
    ":",
)  # a second round through the colours takes the next kind of line
MARKED_POINTS = 15  # a curve with no more points than this shows each of them
LEGEND_INSIDE = 4  # entries; more go below the axes
LEGEND_COLUMN = 34  # characters; longer entries stand one below the other

STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.labelsize": 11,
    "axes.titlesize": 11,
    "legend.fontsize": 9,
    "axes.linewidth": 0.8,
    "pdf.fonttype": 42,  # journals refuse the default, Type 3
    "ps.fonttype": 42,
}


@dataclass(frozen=True)
class PlotOptions:
    """How a figure looks."""

    title: str = ""
    """Above the axes; none when empty, as papers have captions."""
    log_x: bool = False
    log_y: bool = False
    band: bool = True
    """Whether to shade the range from the worst to the best node."""
    width_in: float = 5.0
    """Inches."""
    height_in: float = 3.4
    """Inches."""
    dots_per_inch: int = 200


def plot(runs: Sequence[Run], x: str, y: str, out: Path, options: PlotOptions | None = None) -> Path:
    """Draw metric `y` of the runs against `x` ("round", "time" or "bytes") into `out`, and return `out`.

    The suffix of `out` chooses the format: .png, .pdf or .svg. Raises RunDirectoryError for an axis, metric or suffix
    that there is not, StorageError if the file cannot be written.
    """
    out = Path(out)
    kind = out.suffix.lstrip(".").lower()
    if kind not in ("png", "pdf", "svg"):
        raise RunDirectoryError(f"cannot draw {out}", advice="Name a file that ends in .png, .pdf or .svg.")
    write_atomically(out, draw(runs, x, y, options or PlotOptions(), kind))
    return out


def draw(runs: Sequence[Run], x: str, y: str, options: PlotOptions, kind: str = "png") -> bytes:
    """The figure as the content of a file of that kind; errors as in `plot`."""
    import matplotlib  # a second of import that only figures need
    from matplotlib.figure import Figure

    if x not in AXES:
        raise RunDirectoryError(f"no axis {x!r}", advice=f"There are: {', '.join(AXES)}.")
    if not any(y in run.metrics() for run in runs):
        raise unknown_metric(y, list(runs))
    content = io.BytesIO()
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(options.width_in, options.height_in), dpi=options.dots_per_inch, layout="constrained")
        _fill(figure, runs, x, y, options)
        figure.savefig(content, format=kind)
    return content.getvalue()


def _fill(figure: Figure, runs: Sequence[Run], x: str, y: str, options: PlotOptions) -> None:
    axes = figure.add_subplot()
    shown = quantity(y)
    curves = [run.curve(y) if y in run.metrics() else None for run in runs]
    band = options.band and any(len(run.nodes) > 1 for run in runs)
    for number, curve in enumerate(curves):
        if curve is not None:
            _draw_curve(axes, curve, x_values(curve, x), shown, number)
            if band:
                _draw_band(axes, curve, x_values(curve, x), shown, number)
    _label_axes(axes, x, shown, options)
    _scale_axes(axes, x, options)
    _add_legend(figure, axes, runs, curves, band)


def _draw_curve(axes: Axes, curve: Curve, across_T: np.ndarray, shown: Quantity, number: int) -> None:
    axes.plot(
        across_T,
        curve.mean_T / shown.unit,
        color=_color(number),
        linestyle=_line(number),
        linewidth=1.6,
        marker="o" if len(across_T) <= MARKED_POINTS else "",
        markersize=3.5,
    )


def _draw_band(axes: Axes, curve: Curve, across_T: np.ndarray, shown: Quantity, number: int) -> None:
    low_T, high_T = curve.min_T / shown.unit, curve.max_T / shown.unit
    # below all lines, so that no run's band hides another run's mean
    axes.fill_between(across_T, low_T, high_T, color=_color(number), alpha=0.18, linewidth=0, zorder=1)


def _color(number: int) -> str:
    return COLORS[number % len(COLORS)]


def _line(number: int) -> Literal["-", "--", "-.", ":"]:
    return LINES[number // len(COLORS) % len(LINES)]


def x_values(curve: Curve, x: str) -> np.ndarray:
    """Where the points of a curve stand: rounds, seconds, or megabytes sent per node."""
    if x == "time":
        return curve.time_s_T
    if x == "bytes":
        return curve.bytes_sent_T / quantity("bytes_sent").unit
    return curve.rounds_T


def _label_axes(axes: Axes, x: str, shown: Quantity, options: PlotOptions) -> None:
    axes.set_xlabel({"round": "Round", "time": "Time (s)", "bytes": quantity("bytes_sent").label}[x])
    axes.set_ylabel(shown.label)
    if options.title:
        axes.set_title(_literal(options.title))
    axes.grid(True, color="#d9d9d9", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _scale_axes(axes: Axes, x: str, options: PlotOptions) -> None:
    from matplotlib.ticker import MaxNLocator

    if options.log_x:
        axes.set_xscale("log", nonpositive="mask")  # round 0, before any byte was sent, has no place there
    else:
        axes.margins(x=0)
        axes.set_xlim(left=0)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=7, steps=[1, 2, 5, 10], integer=x == "round"))
    if options.log_y:
        axes.set_yscale("log", nonpositive="mask")


def _add_legend(figure: Figure, axes: Axes, runs: Sequence[Run], curves: Sequence[Curve | None], band: bool) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    labels = run_labels(runs) if len(runs) > 1 else [_mean_label(len(runs[0].nodes))]
    labels = [label if curve is not None else f"{label} (none)" for label, curve in zip(labels, curves, strict=True)]
    handles: list[Line2D | Patch] = [
        Line2D([], [], color=_color(number), linestyle=_line(number)) for number in range(len(runs))
    ]
    if band:
        shade = COLORS[0] if len(runs) == 1 else "#808080"
        handles.append(Patch(color=shade, alpha=0.25, linewidth=0))
        labels.append("worst to best node")
    texts = [_literal(label) for label in labels]
    if len(handles) <= LEGEND_INSIDE:
        axes.legend(handles, texts, frameon=True, framealpha=0.85, edgecolor="none")
    else:
        columns = 2 if max(map(len, labels)) <= LEGEND_COLUMN else 1
        figure.legend(handles, texts, loc="outside lower center", ncols=columns, frameon=False)


def _mean_label(nodes: int) -> str:
    return f"mean of {nodes} nodes" if nodes != 1 else "the only node"


def _literal(text: str) -> str:
    """Text that is drawn as it stands: no formulas between dollar signs, no label hidden by a leading underscore."""
    text = text.replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text
