"""The picture of a graph: a PNG with ink in it, the same each time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from decentralized.errors import StorageError
from decentralized.report.topology_picture import draw
from decentralized.topologies.named import Isolated, Ring
from decentralized.types import Graph

RING = Ring(Ring.Config(name="ring")).graph(16, np.random.default_rng(0))
ONE = Ring(Ring.Config(name="ring")).graph(1, np.random.default_rng(0))
ISOLATED = Isolated(Isolated.Config(name="isolated")).graph(5, np.random.default_rng(0))


def blue_and_grey(path: Path) -> tuple[int, int]:
    """Pixels of nodes and of edges."""
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
    red, blue = pixels[..., 0], pixels[..., 2]
    grey = (pixels.max(axis=2) - pixels.min(axis=2) < 3) & (red > 140) & (red < 170)
    return int((blue - red > 100).sum()), int(grey.sum())


@pytest.mark.parametrize(
    ("graph", "edges"), [(RING, True), (ONE, False), (ISOLATED, True), (Graph(((1,), (2,), (0,))), True)]
)
def test_draws_nodes_and_edges(tmp_path: Path, graph: Graph, edges: bool) -> None:
    path = tmp_path / "graph.png"
    draw(graph, path, "a graph")
    assert path.read_bytes().startswith(b"\x89PNG")
    nodes_ink, edges_ink = blue_and_grey(path)
    assert nodes_ink > 500 * graph.nodes
    assert (edges_ink > 500) == edges


def test_same_graph_same_picture(tmp_path: Path) -> None:
    for name in ("one.png", "two.png"):
        draw(RING, tmp_path / name, "ring")
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        draw(ONE, tmp_path / "absent" / "graph.png", "ring")
