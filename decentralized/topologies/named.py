"""Graphs that the number of nodes (and a few settings) determine: no randomness.

All are undirected. One node alone is a graph without edges; two nodes in a ring or a torus are joined by one edge.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from math import isqrt
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from decentralized.errors import TopologyError
from decentralized.settings import Component
from decentralized.topologies.edges import undirected
from decentralized.types import Graph, NodeId

Edges = Iterator[tuple[NodeId, NodeId]]


class _WithoutSettings:
    """A graph whose only setting is its name."""

    class Config(Component):
        """This graph has no settings."""

    def __init__(self, config: Config) -> None:
        self._config = config


class Ring(_WithoutSettings):
    """Node i is joined with i - 1 and i + 1, and the last node with the first."""

    def graph(self, nodes: int, generator: np.random.Generator) -> Graph:
        return undirected(nodes, _ring(range(nodes)))


class Line(_WithoutSettings):
    """Node i is joined with i - 1 and i + 1; both ends have one neighbor."""

    def graph(self, nodes: int, generator: np.random.Generator) -> Graph:
        return undirected(nodes, ((i, i + 1) for i in range(nodes - 1)))


class Full(_WithoutSettings):
    """Every node is joined with every other."""

    def graph(self, nodes: int, generator: np.random.Generator) -> Graph:
        return undirected(nodes, combinations(range(nodes), 2))


class Hypercube(_WithoutSettings):
    """Nodes whose numbers differ in one binary digit are joined; the number of nodes is a power of two."""

    def graph(self, nodes: int, generator: np.random.Generator) -> Graph:
        """Raises TopologyError unless `nodes` is a power of two."""
        dimensions = nodes.bit_length() - 1
        if nodes != 2**dimensions:
            raise TopologyError(
                f"a hypercube has 1, 2, 4, 8, ... nodes, not {nodes}; "
                f"{2**dimensions} or {2 ** (dimensions + 1)} would fit"
            )
        return undirected(nodes, ((i, i ^ (1 << digit)) for i in range(nodes) for digit in range(dimensions)))


class Exponential(_WithoutSettings):
    """Node i is joined with i + 2^k and i - 2^k (mod n) for all 2^k < n.

    The static exponential graph of Ying et al., "Exponential graph is provably efficient for decentralized deep
    training", NeurIPS 2021, has only the edges i to i + 2^k; here each goes both ways, so that the mixing matrix is
    symmetric.
    """

    def graph(self, nodes: int, generator: np.random.Generator) -> Graph:
        hops = [1 << k for k in range((nodes - 1).bit_length())]
        return undirected(nodes, ((i, (i + hop) % nodes) for i in range(nodes) for hop in hops))


class Star:
    """One node in the center is joined with all others, which have no other neighbor."""

    class Config(Component):
        """Settings of the star."""

        center: Annotated[int, Field(ge=0)] = 0
        """Number of the node in the center."""

    def __init__(self, config: Config) -> None:
        self._center = config.center

    def graph(self, nodes: int, generator: np.random.Generator) -> Graph:
        """Raises TopologyError when there is no node `center`."""
        _check_node("center", self._center, nodes)
        return undirected(nodes, ((self._center, other) for other in range(nodes)))


class Isolated:
    """One node has no neighbors; the others form a graph without it."""

    class Config(Component):
        """Settings of the graph with an isolated node."""

        node: Annotated[int, Field(ge=0)] = 0
        """Number of the isolated node."""
        others: Literal["full", "ring"] = "full"
        """Graph of the other nodes; in the ring they are joined in the order of their numbers."""

    def __init__(self, config: Config) -> None:
        self._config = config

    def graph(self, nodes: int, generator: np.random.Generator) -> Graph:
        """Raises TopologyError when there is no node `node`."""
        _check_node("node", self._config.node, nodes)
        others = [node for node in range(nodes) if node != self._config.node]
        return undirected(nodes, combinations(others, 2) if self._config.others == "full" else _ring(others))


class Grid:
    """Nodes in rows and columns, numbered row by row; each is joined with the next in its row and in its column."""

    class Config(Component):
        """Settings of the grid."""

        rows: Annotated[int, Field(ge=1)] | None = None
        """Rows; when not given, those of the most square grid (a prime number of nodes then makes one row)."""

    def __init__(self, config: Config) -> None:
        self._rows = config.rows

    def graph(self, nodes: int, generator: np.random.Generator) -> Graph:
        """Raises TopologyError when `nodes` do not fill the rows."""
        rows = _rows(self._rows, nodes)
        return undirected(nodes, _grid(rows, nodes // rows))


class Torus(Grid):
    """The grid whose rows and columns are closed to rings."""

    def graph(self, nodes: int, generator: np.random.Generator) -> Graph:
        """Raises TopologyError when `nodes` do not fill the rows."""
        rows = _rows(self._rows, nodes)
        columns = nodes // rows
        closing_rows = ((row * columns, row * columns + columns - 1) for row in range(rows))
        closing_columns = ((column, nodes - columns + column) for column in range(columns))
        return undirected(nodes, [*_grid(rows, columns), *closing_rows, *closing_columns])


def _ring(members: range | list[NodeId]) -> Edges:
    return ((members[k - 1], members[k]) for k in range(len(members)))


def _grid(rows: int, columns: int) -> Edges:
    for node in range(rows * columns):
        if (node + 1) % columns:
            yield node, node + 1
        if node + columns < rows * columns:
            yield node, node + columns


def _rows(asked: int | None, nodes: int) -> int:
    fitting = [rows for rows in range(1, nodes + 1) if nodes % rows == 0]
    if asked is None:
        return max(rows for rows in fitting if rows <= isqrt(nodes))
    if asked not in fitting:
        choices = ", ".join(map(str, fitting))
        raise TopologyError(f"{nodes} nodes do not fill {asked} rows evenly; rows = {choices} would fit")
    return asked


def _check_node(setting: str, node: NodeId, nodes: int) -> None:
    if node >= nodes:
        raise TopologyError(f"{setting} = {node}: with {nodes} nodes the last one is {nodes - 1}")
