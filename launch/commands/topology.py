"""`decentralized topology`."""

from __future__ import annotations

from collections.abc import Iterator
from math import isinf
from pathlib import Path
from typing import TYPE_CHECKING

from decentralized import config
from decentralized.build import BuiltIn
from decentralized.errors import DataError
from launch.commands.output import check_picture, plain_table, say, show

if TYPE_CHECKING:
    from decentralized.config import Experiment
    from decentralized.interfaces import ChangingGraph
    from decentralized.topologies.analysis import GraphFacts, Weights
    from decentralized.topologies.rounds_analysis import RoundsFacts
    from decentralized.types import Graph

FLOAT_BYTES = 4
Row = tuple[str, str]


def topology(path: Path, overrides: list[str], out: Path, rounds: int, data: Path | None) -> None:
    """A picture, and what the graph means for gossip."""
    experiment = config.load(path, BuiltIn(), overrides)
    check_picture(out, [".png"])
    from decentralized.graphs import check_graphs, first_graphs, make_topology  # from here on it may take seconds
    from decentralized.types import Graph

    made = make_topology(experiment.topology, experiment.nodes, experiment.seed)
    check_graphs(made, first_graphs(made, experiment.nodes), experiment)
    title = f"{experiment.topology.name}, {experiment.nodes} nodes"
    if isinstance(made, Graph):
        rows, pieces, degree = _still(made, experiment, out, title)
    else:
        rows, pieces, degree = _changing(made, experiment, rounds, out, title)
    table = plain_table(("", ""), words=1)
    table.show_header = False
    for row in (*rows, _bytes(experiment, degree, data)):
        table.add_row(*row)
    show(title, table)
    if pieces > 1:
        say("warning: the graph is in pieces; nodes learn only from their own piece")
    say(f"picture {out}")


def _still(graph: Graph, experiment: Experiment, out: Path, title: str) -> tuple[list[Row], int, float]:
    """The rows of a graph that stays as it is, its pieces and its mean degree."""
    from decentralized.report.topology_picture import draw
    from decentralized.topologies.analysis import describe

    name, weights = _weights(experiment, graph.undirected)
    facts = describe(graph, weights)
    draw(graph, out, title)
    return list(_rows(facts, name)), len(facts.components), facts.degree_mean


def _rows(facts: GraphFacts, weights: str) -> Iterator[Row]:
    pieces = len(facts.components)
    yield "edges, which go one way" if facts.directed else "edges", str(facts.edges)
    degrees = _range(facts.degree_min, facts.degree_mean, facts.degree_max)
    yield "nodes to which a node sends" if facts.directed else "neighbors of a node", degrees
    yield "connected pieces", "1" if pieces == 1 else f"{pieces} (of {_sizes(facts.components)} nodes)"
    diameter = "no path between some nodes" if isinf(facts.diameter) else str(facts.diameter)
    yield "diameter" if pieces == 1 else "diameter of the largest piece", diameter
    yield f"spectral gap ({weights} weights)", f"{facts.spectral_gap:.4g}"
    yield "mixing time (1 / spectral gap)", f"{facts.mixing_time:.4g} rounds"


def _changing(
    made: ChangingGraph, experiment: Experiment, rounds: int, out: Path, title: str
) -> tuple[list[Row], int, float]:
    """The same of a graph that changes."""
    from decentralized.graphs import needs_weights
    from decentralized.report.topology_picture import draw_rounds
    from decentralized.topologies.changing import graph_of, weights_of
    from decentralized.topologies.rounds_analysis import describe_rounds

    nodes, numbers = experiment.nodes, range(1, rounds + 1)
    graphs = [graph_of(made, nodes, round) for round in numbers]
    if needs_weights(experiment):
        name, matrices = "its own", [weights_of(made, nodes, round) for round in numbers]
    else:
        name, weights = _weights(experiment, all(graph.undirected for graph in graphs))
        matrices = [weights(graph) for graph in graphs]
    facts = describe_rounds(graphs, matrices)
    draw_rounds(graphs, out, title)
    return list(_rows_of_rounds(facts, name)), facts.pieces, facts.sends_mean


def _rows_of_rounds(facts: RoundsFacts, weights: str) -> Iterator[Row]:
    yield "means over rounds", f"1 to {facts.rounds}"
    degrees = _range(facts.sends_min, facts.sends_mean, facts.sends_max)
    yield "nodes to which a node sends" if facts.directed else "neighbors of a node", degrees
    if facts.directed:
        yield "nodes from which it receives", f"at most {facts.receives_max}, mean {facts.sends_mean:.3g}"
    yield "connected pieces of all rounds together", str(facts.pieces)
    spread = "does not come in these rounds" if isinf(facts.spread) else f"{facts.spread:.3g} rounds"
    yield "until each node has heard of all others", spread
    yield f"spectral gap ({weights} weights)", f"{facts.spectral_gap:.4g}"
    if facts.exact_after is None:
        yield "mixing time (1 / spectral gap)", f"{facts.mixing_time:.4g} rounds"
    else:
        yield "mixing alone averages exactly", f"in {facts.exact_after} rounds"


def _weights(experiment: Experiment, undirected: bool) -> tuple[str, Weights]:
    """The mixing matrix of the configuration, or one that fits the graph where weights depend on what is learned."""
    from decentralized.mixing import matrices

    if experiment.algorithm.name == "push-sum":
        return "push-sum", matrices.push_sum
    if experiment.mixing.name == "uniform" or not undirected:
        return "uniform", matrices.uniform
    return "Metropolis-Hastings", matrices.metropolis_hastings


def _bytes(experiment: Experiment, degree: float, data: Path | None) -> Row:
    """What a node sends in a round on average, when it sends one message to each neighbor."""
    from decentralized.data.cards import data_root
    from launch.progress import size

    name = "sent by a node in a round, once to each"
    try:
        from decentralized.cost import message_bytes  # imports torch
        from decentralized.prepare import prepare

        each = message_bytes(prepare(experiment, data_root(str(data) if data else None)))
    except DataError:
        return name, f"{FLOAT_BYTES * degree:.3g} bytes a parameter (no data here)"
    return name, f"{size(round(degree * each))} ({size(each)} each)"


def _range(least: int, mean: float, most: int) -> str:
    return str(least) if least == most else f"{least} to {most}, mean {mean:.3g}"


def _sizes(components: tuple[int, ...]) -> str:
    """The sizes of the largest pieces."""
    shown = ", ".join(map(str, components[:8]))
    return shown + (f" and {len(components) - 8} smaller ones" if len(components) > 8 else "")
