"""Graphs for simulated runs."""

from __future__ import annotations

from random import Random

from decentralized.types import Graph, NodeId


def undirected(nodes: int, edges: set[tuple[NodeId, NodeId]]) -> Graph:
    both = edges | {(j, i) for i, j in edges}
    return Graph(tuple(tuple(sorted(j for i, j in both if i == node)) for node in range(nodes)))


def connected(random: Random, nodes: int) -> Graph:
    """A random tree and up to `nodes` edges more."""
    order = random.sample(range(nodes), nodes)
    edges = {(order[i], order[random.randrange(i)]) for i in range(1, nodes)}
    for _ in range(random.randint(0, nodes) if nodes > 1 else 0):
        i, j = random.sample(range(nodes), 2)
        edges.add((i, j))
    return undirected(nodes, edges)


def line(nodes: int) -> Graph:
    return undirected(nodes, {(node, node + 1) for node in range(nodes - 1)})


def star(nodes: int) -> Graph:
    return undirected(nodes, {(0, node) for node in range(1, nodes)})


def full(nodes: int) -> Graph:
    return undirected(nodes, {(i, j) for i in range(nodes) for j in range(i)})
