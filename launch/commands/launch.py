"""`decentralized launch`."""

from __future__ import annotations

import importlib
from pathlib import Path

from decentralized.build import BuiltIn
from decentralized.errors import ConfigError
from decentralized.run_directory import RunDirectory
from launch.commands.import_ini import load
from launch.commands.output import option_mistake, say

NEED_IP_MAP = ("ssh",)
CAN_RESUME = ("ssh", "ray")
CAN_DRY_RUN = ("slurm", "kubernetes")


def launch(
    path: Path,
    overrides: list[str],
    via: str,
    ip_map: Path | None,
    out: Path,
    data: Path | None,
    *,
    report: bool,
    dry_run: bool,
    copy: bool,
) -> None:
    """Everything that can be known here is checked; then the launcher takes over."""
    resumes = _resumed(path, overrides, via) if path.is_dir() else None
    experiment = load(resumes.config if resumes else path, BuiltIn(import_others=False), overrides)
    from launch import ip_map as maps
    from launch.via.request import LaunchRequest

    if resumes is not None and resumes.ip_map.is_file():
        ip_map = ip_map or resumes.ip_map
    if ip_map is None and via in NEED_IP_MAP:
        raise option_mistake(f"--via {via} needs an --ip-map")
    if dry_run and via not in CAN_DRY_RUN:
        raise option_mistake(f"--dry-run is for --via {' and '.join(CAN_DRY_RUN)}")
    if copy and via != "ssh":
        raise option_mistake("--copy is for --via ssh")
    if experiment.network.transport == "memory":
        raise ConfigError(['network.transport = "memory" runs in one process; a launcher needs "tcp"'])
    machines = maps.load(ip_map) if ip_map else None
    if machines is not None:
        machines.split(experiment.nodes)
        machines.check_ports(experiment.nodes, experiment.network.ports)
    request = LaunchRequest(path, overrides, machines, ip_map, out, data, report, dry_run, copy, experiment, resumes)
    importlib.import_module(f"launch.via.{via}").launch(request)


def _resumed(path: Path, overrides: list[str], via: str) -> RunDirectory:
    """The run that goes on, if it can."""
    from launch.commands.resume import refuse

    if via not in CAN_RESUME:
        raise option_mistake(f"{path} is a folder: --via {via} needs a configuration")
    if overrides:
        raise option_mistake("--set: a run goes on with the configuration that it has")
    directory = RunDirectory.open(path.absolute())
    refuse(directory)
    say(f"resuming {directory.path}")
    return directory
