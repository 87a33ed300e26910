"""What `decentralized launch` asks of a launcher."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from decentralized.config import Experiment
from decentralized.run_directory import RunDirectory
from launch.ip_map import IpMap


@dataclass(frozen=True)
class LaunchRequest:
    """The command line, read and checked. `experiment` is the configuration with all overrides."""

    config: Path
    overrides: list[str]
    ip_map: IpMap | None
    ip_map_path: Path | None
    out: Path
    data: Path | None
    report: bool
    dry_run: bool
    copy: bool
    experiment: Experiment
    resumes: RunDirectory | None = None
    """The run that goes on, instead of a new one."""
