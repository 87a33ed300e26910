"""Figures 3 to 5 and 7 to 9: curves, heat maps of mixing weights, and the graph that was learned."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from scripts.l2c.weights import Weights

COLORS_BY_SHARED = ("#bbbbbb", "#009E73", "#0072B2")  # none, some, two and more

Points = Sequence[tuple[float, Sequence[float]]]  # of a curve: x, and the values there


def draw_weights(weights: Weights, rounds: Sequence[int], path: Path) -> None:
    """Figures 4 and 5: a heat map for each round."""
    with _figure((2.7 * len(rounds) + 0.6, 2.9), columns=len(rounds)) as (figure, axes):
        most = max(float(weights.by_round[round].max()) for round in rounds)
        for place, round in zip(axes, rounds, strict=True):
            image = place.imshow(weights.by_round[round], vmin=0, vmax=most, cmap="viridis")
            place.locator_params(integer=True)
            place.set_title(f"round {round}")
            place.set_xlabel("sender")
        axes[0].set_ylabel("node")
        figure.colorbar(image, ax=list(axes), label="mixing weight")
        _save(figure, path)


def draw_graph(weights: Weights, round: int, path: Path) -> None:
    """The edges that are left, on a circle of the nodes; the thicker the larger the weight."""
    last = weights.by_round[round]
    angles = 2 * np.pi * np.arange(weights.nodes) / weights.nodes
    x, y = np.cos(angles), np.sin(angles)
    with _figure((4.5, 4.5)) as (figure, (axes,)):
        for node, other in np.argwhere(last > 0):
            if node != other:
                shared = len(weights.classes[node] & weights.classes[other])
                ends = {"xy": (x[node], y[node]), "xytext": (x[other], y[other])}
                look = {"lw": 6 * last[node, other], "color": COLORS_BY_SHARED[min(shared, 2)]}
                axes.annotate("", **ends, arrowprops={"arrowstyle": "->", "shrinkA": 8, "shrinkB": 8, **look})
        for node in range(weights.nodes):
            label = ",".join(map(str, sorted(weights.classes[node])))
            axes.annotate(label, (1.12 * x[node], 1.12 * y[node]), ha="center", va="center", fontsize=7)
        axes.plot(x, y, "o", color="black", ms=5)
        axes.set_xlim(-1.3, 1.3)
        axes.set_ylim(-1.3, 1.3)
        axes.set_axis_off()
        axes.set_title("blue: two or more classes shared, green: one, grey: none", fontsize=8)
        _save(figure, path)


def draw_curves(curves: Mapping[str, Points], x_label: str, path: Path, y_label: str = "Accuracy") -> None:
    """Figures 3 and 7 to 9: means with deviations."""
    from decentralized.report.plot import COLORS

    with _figure((6.4, 3.6)) as (figure, (axes,)):
        for number, (name, points) in enumerate(curves.items()):
            xs, found = [x for x, _ in points], [values for _, values in points]
            means, deviations = [np.mean(values) for values in found], [np.std(values) for values in found]
            dashes, color = "-" if number < len(COLORS) else "--", COLORS[number % len(COLORS)]
            axes.errorbar(xs, means, deviations, color=color, linestyle=dashes, marker="o", ms=3, label=name)
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        if all(x == int(x) for points in curves.values() for x, _ in points):
            axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(True, color="#d9d9d9", linewidth=0.6)
        axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
        _save(figure, path)


@contextmanager
def _figure(size: tuple[float, float], columns: int = 1) -> Iterator[tuple[Any, Any]]:
    """A figure of matplotlib, and its axes side by side (columns), which share the y axis."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    from decentralized.report.plot import STYLE

    with mpl.rc_context(STYLE):
        layout = "constrained" if columns == 1 else "compressed"  # the one for pictures whose shape is fixed
        figure, axes = plt.subplots(1, columns, figsize=size, dpi=150, layout=layout, squeeze=False, sharey=True)
        yield figure, axes[0]
        plt.close(figure)


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path)
    print(path)
