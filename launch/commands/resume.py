"""`decentralized resume`."""

from __future__ import annotations

import json
from pathlib import Path

from decentralized.build import BuiltIn
from decentralized.config import load
from decentralized.errors import RunDirectoryError
from decentralized.run_directory import RunDirectory
from launch.commands.output import option_mistake, say
from launch.liveness import living_agents


def resume(path: Path, ip_map: Path | None, machine: int, data: Path | None, report: bool) -> None:
    """Go on with an interrupted run, from the newest check-point that all nodes have."""
    directory = RunDirectory.open(path.absolute())
    _refuse(directory)
    experiment = load(directory.config, BuiltIn(import_others=False))
    from decentralized.data.cards import data_root
    from launch import ip_map as maps
    from launch.plan import Plan

    machines = maps.load(ip_map or directory.ip_map) if ip_map or directory.ip_map.is_file() else maps.LOCAL
    if not 0 <= machine < len(machines.machines):
        raise option_mistake(f"--machine {machine}: the IP map has machines 0 to {len(machines.machines) - 1}")
    root = data_root(str(data) if data else None).absolute()
    plan = Plan(experiment, machines, machine, root, directory.path.parent, resumes=directory)
    from launch.commands.run import run_plan

    run_plan(plan, report)


def _refuse(directory: RunDirectory) -> None:
    if directory.summary.is_file():
        summary = json.loads(directory.summary.read_text())
        if summary.get("outcome") == "finished":
            raise RunDirectoryError(f"{directory.path} has finished: there is nothing to go on with")
    alive = living_agents(directory)
    if alive:
        raise RunDirectoryError(
            f"{directory.path} is still running (process {alive[0]} on this machine)",
            "Stop it first, or wait for its end.",
        )
    say(f"resuming {directory.path}")
