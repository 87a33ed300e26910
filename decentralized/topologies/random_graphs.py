"""Undirected graphs that are drawn at random; equal generators give equal graphs.

All of them are drawn again until they are connected, unless `connected` is switched off: on a graph in pieces no
algorithm can agree on one model.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import numpy as np
from pydantic import Field

from decentralized.errors import TopologyError
from decentralized.lazy import networkx
from decentralized.settings import Component
from decentralized.topologies.edges import undirected
from decentralized.types import Graph, NodeId

_DRAWS = 100  # then the settings, not bad luck, are why the graph is in pieces


class RandomRegular:
    """Every node has the same number of neighbors, drawn uniformly (asymptotically: Steger & Wormald 1999)."""

    class Config(Component):
        """Settings of the regular graph."""

        degree: Annotated[int, Field(ge=0)] = 4
        """Neighbors of each node."""
        connected: bool = True
        """Draw again, up to 100 times, until there is a path between any two nodes."""

    def __init__(self, config: Config) -> None:
        self._config = config

    def graph(self, nodes: int, generator: np.random.Generator) -> Graph:
        """Raises TopologyError for degree >= nodes, an odd degree * nodes, or when every draw was in pieces."""
        degree = self._config.degree
        _check_degree(degree, nodes)
        if degree * nodes % 2:
            smaller = f"degree = {degree - 1}" + (f" or {degree + 1}" if degree + 1 < nodes else "")
            raise TopologyError(
                f"no graph has {nodes} nodes with {degree} neighbors each: one of the two numbers must be even; "
                f"{smaller}, or nodes = {nodes + 1} would fit"
            )

        def draw(seed: int) -> networkx.Graph[NodeId]:
            missing = nodes - 1 - degree
            drawn: networkx.Graph[NodeId] = networkx.random_regular_graph(min(degree, missing), nodes, seed=seed)
            # A dense graph is drawn as the edges that it lacks: drawing it directly may not end.
            return drawn if degree <= missing else networkx.complement(drawn)

        return _drawn(draw, nodes, generator, self._config.connected, "a degree of at least 2, better 3")


class ErdosRenyi:
    """Each pair of nodes is joined with the same probability, independently: G(n, p) of Gilbert 1959."""

    class Config(Component):
        """Settings of the graph."""

        probability: Annotated[float, Field(ge=0, le=1)]
        """Chance of each edge; below ln(n)/n the graph is mostly in pieces."""
        connected: bool = True
        """Draw again, up to 100 times, until there is a path between any two nodes."""

    def __init__(self, config: Config) -> None:
        self._config = config

    def graph(self, nodes: int, generator: np.random.Generator) -> Graph:
        """Raises TopologyError when every draw was in pieces."""

        def draw(seed: int) -> networkx.Graph[NodeId]:
            drawn: networkx.Graph[NodeId] = networkx.gnp_random_graph(nodes, self._config.probability, seed=seed)
            return drawn

        advice = f"a probability of {min(1.0, 2 * np.log(nodes) / nodes):.2g} or more"
        return _drawn(draw, nodes, generator, self._config.connected, advice)


class SmallWorld:
    """A ring in which each node is joined with its nearest nodes, and some edges are moved to a random end.

    Watts & Strogatz, "Collective dynamics of small-world networks", Nature 393 (1998).
    """

    class Config(Component):
        """Settings of the small world."""

        degree: Annotated[int, Field(ge=0, multiple_of=2)] = 4
        """Neighbors of each node before edges move, half of them on each side; even."""
        rewiring: Annotated[float, Field(ge=0, le=1)] = 0.1
        """Chance that an edge is moved: 0 keeps the ring lattice, 1 moves every edge."""
        connected: bool = True
        """Draw again, up to 100 times, until there is a path between any two nodes."""

    def __init__(self, config: Config) -> None:
        self._config = config

    def graph(self, nodes: int, generator: np.random.Generator) -> Graph:
        """Raises TopologyError for degree >= nodes, or when every draw was in pieces."""
        config = self._config
        _check_degree(config.degree, nodes)

        def draw(seed: int) -> networkx.Graph[NodeId]:
            drawn: networkx.Graph[NodeId] = networkx.watts_strogatz_graph(
                nodes, config.degree, config.rewiring, seed=seed
            )
            return drawn

        return _drawn(draw, nodes, generator, config.connected, "a higher degree or less rewiring")


def _check_degree(degree: int, nodes: int) -> None:
    if degree >= nodes:
        raise TopologyError(
            f"degree = {degree}: a node has at most {nodes - 1} neighbors among {nodes} nodes; "
            f"degree = {nodes - 1} or less, or nodes = {degree + 1} or more would fit"
        )


def _drawn(
    draw: Callable[[int], networkx.Graph[NodeId]],
    nodes: int,
    generator: np.random.Generator,
    connected: bool,
    advice: str,
) -> Graph:
    for _ in range(_DRAWS):
        drawn = draw(int(generator.integers(2**32)))
        if not connected or networkx.is_connected(drawn):
            return undirected(nodes, drawn.edges)
    raise TopologyError(
        f"none of {_DRAWS} random graphs with {nodes} nodes was connected; {advice} would fit, "
        "or connected = false takes a graph in pieces"
    )
