"""`decentralized resume`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from decentralized.build import BuiltIn
from decentralized.config import load
from decentralized.errors import RunDirectoryError
from decentralized.run_directory import RunDirectory
from launch.commands.output import say
from launch.liveness import living_agents

if TYPE_CHECKING:
    from launch.here import Here


def resume(path: Path, here: Here, data: Path | None, report: bool) -> None:
    """Go on with an interrupted run, from the newest check-point that all nodes have."""
    directory = RunDirectory.open(path.absolute())
    experiment = load(directory.config, BuiltIn(import_others=False))
    from decentralized.data.cards import data_root
    from launch import ip_map as maps
    from launch.commands.run import run_plan
    from launch.here import find
    from launch.key import RunKey
    from launch.plan import Plan

    machines, machine = find(here, maps.load(directory.ip_map) if directory.ip_map.is_file() else None)
    refuse(directory, machine)
    if not here.attached:  # else the launcher has said so
        say(f"resuming {directory.path}")
    root = data_root(str(data) if data else None).absolute()
    key = RunKey.load(here.key) if here.key else None
    plan = Plan(experiment, machines, machine, root, directory.path.parent, resumes=directory, key=key)
    run_plan(plan, here, report)


def refuse(directory: RunDirectory, machine: int = 0) -> None:
    """Raises RunDirectoryError for a run that has finished, or that is still going on as far as `machine` can know."""
    if directory.summary.is_file():
        summary = json.loads(directory.summary.read_text())
        if summary.get("outcome") == "finished":
            raise RunDirectoryError(f"{directory.path} has finished: there is nothing to go on with")
    # The other machines of this resume write here too, where they share the disk, but not before machine 0 has begun.
    alive = living_agents(directory, None if machine == 0 else machine)
    if alive:
        raise RunDirectoryError(
            f"{directory.path} is still running (process {alive[0]} on this machine)",
            "Stop it first, or wait for its end.",
        )
