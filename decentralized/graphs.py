"""The graph of a run, or its graphs where they change from round to round, and what does not go with them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from decentralized import build
from decentralized.config import Experiment
from decentralized.errors import ConfigError
from decentralized.interfaces import ChangingGraph, ChangingGraphMaker, GraphMaker
from decentralized.seeding import numpy_generator
from decentralized.settings import Component
from decentralized.topologies.changing import graph_of
from decentralized.types import Graph

SAMPLED = 16  # rounds of a changing graph that stand for all where all cannot be looked at


def make_topology(settings: Component, nodes: int, seed: int) -> Graph | ChangingGraph:
    """The graph of all rounds, or the graphs of each. Raises TopologyError."""
    maker: GraphMaker | ChangingGraphMaker = build.create("topology", settings)
    if isinstance(maker, ChangingGraphMaker):
        return maker.changing(nodes, seed, lambda other, own_seed: make_topology(other, nodes, own_seed))
    return maker.graph(nodes, numpy_generator(seed, "topology"))


def first_graphs(made: Graph | ChangingGraph, nodes: int) -> list[Graph]:
    """The graphs of the first few rounds; one of a graph that does not change."""
    if isinstance(made, Graph):
        return [made]
    return [graph_of(made, nodes, round) for round in range(1, SAMPLED + 1)]


def union(graphs: Sequence[Graph]) -> Graph:
    """All edges of graphs with the same nodes."""
    together = zip(*(graph.targets for graph in graphs), strict=True)
    return Graph(tuple(tuple(sorted(set().union(*of_node))) for of_node in together))


def needs_weights(experiment: Experiment) -> bool:
    """Whether the nodes mix with weights that come with the graph."""
    return _asks(experiment, "needs_weights")


def check_graphs(made: Graph | ChangingGraph, graphs: Sequence[Graph], experiment: Experiment) -> None:
    """Raises ConfigError, with all mistakes, for what does not go with a graph that changes or is directed.

    `graphs` are those of its first few rounds.
    """
    changes = not isinstance(made, Graph)
    mistakes = _of_changing(experiment) if changes else _of_one_way(graphs[0], experiment)
    if _asks(experiment, "undirected"):
        one_way = [number for number, graph in enumerate(graphs, 1) if not graph.undirected]
        if one_way:
            where = f"in round {one_way[0]} " if changes else ""
            mistakes.append(
                f'[mixing] {experiment.mixing.name}: {where}[topology] "{experiment.topology.name}" has edges that go '
                'one way only; name = "uniform" would fit, or [algorithm] name = "push-sum", which keeps the mean'
            )
    if needs_weights(experiment) and not _brings_weights(made):
        mistakes.append(
            f'[mixing] {experiment.mixing.name}: [topology] "{experiment.topology.name}" brings no weights of its own; '
            '"matcha" does, and name = "metropolis-hastings" or "uniform" need none'
        )
    if mistakes:
        raise ConfigError(mistakes)


def _asks(experiment: Experiment, what: str) -> bool:
    """Whether the mixing rule says that it needs this, and is used."""
    ignored = getattr(experiment.algorithm, "ignores", ())
    return getattr(experiment.mixing, what, False) and "mixing" not in ignored


def _brings_weights(made: Graph | ChangingGraph) -> bool:
    """In its first few rounds, which stand for all; one node stands for all, too."""
    rounds = range(1, SAMPLED + 1)
    return not isinstance(made, Graph) and all(made.neighbors(round, 0).weights is not None for round in rounds)


def _of_one_way(graph: Graph, experiment: Experiment) -> list[str]:
    algorithm, goes_on = experiment.algorithm, experiment.network.on_peer_loss == "continue"
    if graph.undirected or not goes_on or not getattr(algorithm, "changing_graphs", False):
        return []
    return [
        f'[network] on_peer_loss = "continue" and {algorithm.name} need edges that go both ways: who only sends to '
        'a lost node does not hear of its last round; "abort" or "wait" would fit'
    ]


def _of_changing(experiment: Experiment) -> list[str]:
    algorithm, topology, sharing = experiment.algorithm, experiment.topology.name, experiment.sharing
    needs: list[tuple[Any, str]] = [
        (
            getattr(algorithm, "changing_graphs", False),
            f'[algorithm] {algorithm.name} needs a graph that stays as it is; [topology] "{topology}" changes',
        ),
        (
            getattr(sharing, "payload", "values") == "values",
            f'[sharing] payload = "deltas" needs the same neighbors in each round; [topology] "{topology}" changes',
        ),
        (
            experiment.network.on_peer_loss != "continue",
            '[network] on_peer_loss = "continue" needs the same neighbors in each round, which agree on the last round '
            f'of a lost node; [topology] "{topology}" changes: "abort" or "wait" would fit',
        ),
    ]
    return [mistake for fits, mistake in needs if not fits]
