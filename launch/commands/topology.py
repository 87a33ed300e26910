"""`decentralized topology`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from decentralized import config
from decentralized.build import BuiltIn
from launch.commands.output import check_picture, plain_table, say, show

if TYPE_CHECKING:
    from decentralized.topologies.analysis import GraphFacts


def topology(path: Path, overrides: list[str], out: Path) -> None:
    """A picture, and what the graph means for gossip."""
    experiment = config.load(path, BuiltIn(), overrides)
    check_picture(out, [".png"])
    from decentralized.prepare import make_graph  # from here on it may take seconds
    from decentralized.report.topology_picture import draw
    from decentralized.topologies.analysis import describe

    graph = make_graph(experiment)
    facts = describe(graph)
    title = f"{experiment.topology.name}, {graph.nodes} nodes"
    pieces = len(facts.components)
    table = plain_table(("", ""), words=1)
    table.show_header = False
    table.add_row("edges", str(facts.edges))
    table.add_row("neighbors of a node", _degrees(facts))
    table.add_row("connected pieces", "1" if pieces == 1 else f"{pieces} (of {_sizes(facts.components)} nodes)")
    table.add_row("diameter" if pieces == 1 else "diameter of the largest piece", str(facts.diameter))
    table.add_row("spectral gap (Metropolis-Hastings weights)", f"{facts.spectral_gap:.4g}")
    table.add_row("mixing time (1 / spectral gap)", f"{facts.mixing_time:.4g} rounds")
    draw(graph, out, title)
    show(title, table)
    if pieces > 1:
        say("warning: the graph is in pieces; nodes learn only from their own piece")
    say(f"picture {out}")


def _degrees(facts: GraphFacts) -> str:
    if facts.degree_min == facts.degree_max:
        return str(facts.degree_min)
    return f"{facts.degree_min} to {facts.degree_max}, mean {facts.degree_mean:.3g}"


def _sizes(components: tuple[int, ...]) -> str:
    """The sizes of the largest pieces."""
    shown = ", ".join(map(str, components[:8]))
    return shown + (f" and {len(components) - 8} smaller ones" if len(components) > 8 else "")
