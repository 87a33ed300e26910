"""What a graph means for gossip: degrees, components, diameter, and how fast it mixes."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

import numpy as np

from decentralized.lazy import networkx
from decentralized.mixing.matrices import metropolis_hastings
from decentralized.topologies.edges import as_networkx
from decentralized.types import Graph


@dataclass(frozen=True)
class GraphFacts:
    """Properties of an undirected graph.

    components: sizes of the connected components, the largest first.
    diameter: longest shortest path, in edges, inside the largest component (the first, if several are as large).
    spectral_gap: 1 - max(|lambda_2|, |lambda_N|), eigenvalues of the Metropolis-Hastings matrix in decreasing order; 0
        when the graph is in pieces, 1 when one round of mixing averages exactly (and for one node, without lambda_2).
    mixing_time: 1 / spectral_gap, in rounds; infinite when the graph is in pieces. After so many rounds of mixing alone
        the distance of all nodes from their mean is at most 1/e of what it was.
    """

    nodes: int
    edges: int
    degree_min: int
    degree_mean: float
    degree_max: int
    components: tuple[int, ...]
    diameter: int
    spectral_gap: float
    mixing_time: float


def describe(graph: Graph) -> GraphFacts:
    """The properties of an undirected graph with at least one node; raises TopologyError for a directed one."""
    gap = _spectral_gap(metropolis_hastings(graph))
    picture = as_networkx(graph)
    components = sorted(networkx.connected_components(picture), key=len, reverse=True)
    if len(components) > 1:
        gap = 0.0  # not the 1e-16 that rounding leaves of it
    degrees = [len(targets) for targets in graph.targets]
    return GraphFacts(
        nodes=graph.nodes,
        edges=sum(degrees) // 2,
        degree_min=min(degrees),
        degree_mean=sum(degrees) / graph.nodes,
        degree_max=max(degrees),
        components=tuple(len(component) for component in components),
        diameter=networkx.diameter(picture.subgraph(components[0])),
        spectral_gap=gap,
        mixing_time=1 / gap if gap else inf,
    )


def _spectral_gap(weights: np.ndarray) -> float:
    """weights (N, N): symmetric and doubly stochastic, so that the largest eigenvalue is 1."""
    if len(weights) == 1:
        return 1.0
    ascending = np.linalg.eigvalsh(weights)
    return max(0.0, 1.0 - max(abs(float(ascending[-2])), abs(float(ascending[0]))))
