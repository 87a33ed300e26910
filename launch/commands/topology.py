"""`decentralized topology`."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from decentralized import config
from decentralized.build import BuiltIn
from decentralized.prepare import make_graph


def topology(path: Path, overrides: list[str], out: Path) -> None:
    """A picture, and what the graph means for gossip."""
    from decentralized.report.topology_picture import draw
    from decentralized.topologies.analysis import describe

    experiment = config.load(path, BuiltIn(import_others=False), overrides)
    graph = make_graph(experiment)
    facts = describe(graph)
    table = Table(title=f"{experiment.topology.name}, {graph.nodes} nodes", show_header=False)
    table.add_row("edges", str(facts.edges))
    table.add_row("degree (least, mean, most)", f"{facts.degree_min}, {facts.degree_mean:.3g}, {facts.degree_max}")
    table.add_row("connected pieces", ", ".join(f"{count} nodes" for count in facts.components))
    table.add_row("diameter", str(facts.diameter))
    table.add_row("spectral gap of the Metropolis-Hastings matrix", f"{facts.spectral_gap:.4g}")
    table.add_row("mixing time", f"{facts.mixing_time:.4g} rounds")
    draw(graph, out, f"{experiment.topology.name}, {graph.nodes} nodes")
    console = Console()
    console.print(table)
    console.print(f"picture {out}", highlight=False, markup=False)
    if len(facts.components) > 1:
        console.print("warning: the graph is in pieces; nodes learn only from their own piece", highlight=False)
