"""`decentralized check`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from decentralized import config
from decentralized.build import BuiltIn
from decentralized.types import Graph
from launch.commands.run import make_plan

if TYPE_CHECKING:
    from decentralized.prepare import Memory, Prepared

BASE_BYTES = 8 * 1024 * 1024  # private memory of a forked node besides its model, measured; see docs/benchmarks.md


def check(path: Path, overrides: list[str], ip_map: Path | None, data: Path | None) -> None:
    """First the file, which needs no torch; then data, graph and model, with one step of training."""
    plan = make_plan(path, overrides, ip_map, 0, Path("runs"), data)
    from decentralized.prepare import prepare, try_out  # from here on it may take seconds
    from launch.commands.output import say
    from launch.progress import title

    say(f"{path}: the file is fine")
    # The second reading knows the settings of classes that users wrote.
    experiment = config.load(path, BuiltIn(), overrides)
    prepared = prepare(experiment, plan.data_root)
    memory = try_out(prepared)
    say(title(plan), *_warnings(prepared), *_needs(prepared, memory))


def _warnings(prepared: Prepared) -> list[str]:
    pieces = len(components(prepared.graph))
    if pieces > 1:
        return [f"warning: the graph is in {pieces} pieces; nodes learn only from their own piece"]
    return []


def _needs(prepared: Prepared, memory: Memory) -> list[str]:
    from launch.progress import size

    nodes = prepared.experiment.nodes
    node = BASE_BYTES + memory.parameters + memory.gradient + memory.optimizer + memory.messages
    arrays = [
        array
        for part in (prepared.data.train, prepared.data.test)
        for array in (part.inputs, part.targets, part.users)
        if array is not None
    ]
    parts = {"gradient": memory.gradient, "optimizer": memory.optimizer, "messages at most": memory.messages}
    return [
        f"parameters: {memory.parameters // 4:,} ({size(memory.parameters)})",
        f"memory of a node: about {size(node)}",
        f"  {', '.join(f'{name} {size(count)}' for name, count in parts.items())}",
        f"memory of all {nodes} nodes: about {size(nodes * node)}",
        f"  and {size(sum(array.nbytes for array in arrays))} of data, once for each machine",
    ]


def components(graph: Graph) -> list[set[int]]:
    """The connected pieces of a graph, edges taken both ways."""
    pieces: list[set[int]] = []
    unseen = set(range(graph.nodes))
    around: list[set[int]] = [set(targets) for targets in graph.targets]
    for node, targets in enumerate(graph.targets):
        for target in targets:
            around[target].add(node)
    while unseen:
        piece, front = set(), {min(unseen)}
        while front:
            piece |= front
            front = {other for node in front for other in around[node]} - piece
        pieces.append(piece)
        unseen -= piece
    return pieces
