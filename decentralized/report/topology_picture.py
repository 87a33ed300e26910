"""A picture of a graph: who talks to whom."""

from __future__ import annotations

import io
from math import sqrt
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from decentralized.lazy import networkx
from decentralized.run_directory import write_atomically
from decentralized.types import Graph

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SIDE = 8.0  # inches
_DPI = 150
_LABELLED = 150  # nodes up to which their numbers can be read
_PLACED = 300  # nodes up to which the layout takes seconds and shows structure; above, a circle


def draw(graph: Graph, path: Path, title: str) -> None:
    """Write a PNG; edges that go one way only are arrows. The same graph gives the same picture.

    Raises StorageError when the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # heavy, and only the report draws
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_SIDE, _SIDE), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_title(title)
    axes.set_aspect("equal")
    axes.set_axis_off()
    places_N2 = _places(graph)
    _frame(axes, places_N2)
    diameter = float(np.clip(160 / sqrt(graph.nodes), 4, 24))  # of a node, in points
    _draw_edges(axes, graph, places_N2, diameter)
    _draw_nodes(axes, places_N2, diameter)
    content = io.BytesIO()
    figure.savefig(content, format="png")
    write_atomically(path, content.getvalue())


def _places(graph: Graph) -> np.ndarray:
    """(N, 2): distances that look like path lengths in the graph (Kamada & Kawai 1989); a circle for large graphs."""
    picture: networkx.Graph[int] = networkx.Graph()
    picture.add_nodes_from(range(graph.nodes))
    picture.add_edges_from((i, j) for i, targets in enumerate(graph.targets) for j in targets)
    places = networkx.circular_layout(picture)
    if graph.nodes <= _PLACED:
        places = networkx.kamada_kawai_layout(picture, pos=places)
    return np.array([places[node] for node in range(graph.nodes)])


def _frame(axes: Axes, places_N2: np.ndarray) -> None:
    """A square around all nodes, with room for the markers: a line is one dimension thin."""
    low, high = places_N2.min(axis=0), places_N2.max(axis=0)
    half = max(0.55 * float((high - low).max()), 0.1)
    (x, y) = (low + high) / 2
    axes.set_xlim(x - half, x + half)
    axes.set_ylim(y - half, y + half)


def _draw_edges(axes: Axes, graph: Graph, places_N2: np.ndarray, diameter: float) -> None:
    from matplotlib.collections import LineCollection
    from matplotlib.patches import FancyArrowPatch

    edges = {(i, j) for i, targets in enumerate(graph.targets) for j in targets}
    both_ways = sorted((i, j) for i, j in edges if i < j and (j, i) in edges)
    width = 0.9 if len(edges) < 2000 else 0.2
    lines = [places_N2[[i, j]] for i, j in both_ways]
    axes.add_collection(LineCollection(lines, colors="0.6", linewidths=width, zorder=1))
    for i, j in sorted((i, j) for i, j in edges if (j, i) not in edges):
        axes.add_patch(
            FancyArrowPatch(
                tuple(places_N2[i]),
                tuple(places_N2[j]),
                arrowstyle="-|>",
                mutation_scale=14,
                shrinkA=diameter / 2,
                shrinkB=diameter / 2,
                color="0.6",
                linewidth=width,
                zorder=1,
            )
        )


def _draw_nodes(axes: Axes, places_N2: np.ndarray, diameter: float) -> None:
    axes.scatter(places_N2[:, 0], places_N2[:, 1], s=diameter**2, color="tab:blue", zorder=2)
    if len(places_N2) > _LABELLED:
        return
    for node, (x, y) in enumerate(places_N2):
        axes.text(x, y, str(node), ha="center", va="center", fontsize=diameter * 0.48, color="white", zorder=3)
