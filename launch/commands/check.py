"""`decentralized check`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from decentralized.build import BuiltIn
from launch.commands.import_ini import load
from launch.commands.run import make_plan, warnings_of

if TYPE_CHECKING:
    from decentralized.prepare import Memory, Prepared

BASE_BYTES = 8 * 1024 * 1024  # private memory of a forked node besides its model, measured; see docs/benchmarks.md


def check(path: Path, overrides: list[str], ip_map: Path | None, data: Path | None) -> None:
    """First the file, which needs no torch; then data, graph and model, with one step of training."""
    from launch.here import Here

    plan = make_plan(path, overrides, Here(ip_map, machine=0), Path("runs"), data)
    from decentralized.prepare import prepare, try_out  # from here on it may take seconds
    from launch.commands.output import say
    from launch.progress import title

    say(f"{path}: the file is fine")
    # The second reading knows the settings of classes that users wrote.
    experiment = load(path, BuiltIn(), overrides, tell=False)
    prepared = prepare(experiment, plan.data_root)
    memory = try_out(prepared)
    say(title(plan), *_warnings(prepared), *_needs(prepared, memory))


def _warnings(prepared: Prepared) -> list[str]:
    from decentralized.graphs import union

    warnings = warnings_of(prepared.experiment)
    pieces = len(union(prepared.graphs).pieces())
    if pieces > 1:
        warnings.append(f"warning: the graph is in {pieces} pieces; nodes learn only from their own piece")
    return warnings


def _needs(prepared: Prepared, memory: Memory) -> list[str]:
    from launch.progress import size

    nodes, node = prepared.experiment.nodes, node_bytes(memory)
    parts = {"gradient": memory.gradient, "optimizer": memory.optimizer, "messages at most": memory.messages}
    if memory.algorithm:
        parts["held by the algorithm"] = memory.algorithm
    return [
        f"parameters: {memory.parameters // 4:,} ({size(memory.parameters)})",
        f"memory of a node: about {size(node)}",
        f"  {', '.join(f'{name} {size(count)}' for name, count in parts.items())}",
        f"memory of all {nodes} nodes: about {size(nodes * node)}",
        f"  and {size(data_bytes(prepared))} of data, once for each machine",
    ]


def node_bytes(memory: Memory) -> int:
    """What a node takes for itself."""
    own = memory.parameters + memory.gradient + memory.optimizer
    return BASE_BYTES + own + memory.messages + memory.algorithm


def data_bytes(prepared: Prepared) -> int:
    """What the data takes, once for each machine."""
    arrays = [
        array
        for part in (prepared.data.train, prepared.data.test)
        for array in (part.inputs, part.targets, part.users)
        if array is not None
    ]
    return sum(array.nbytes for array in arrays)
