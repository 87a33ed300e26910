"""What one machine is to run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from decentralized.config import Experiment
from decentralized.run_directory import RunDirectory
from launch.ip_map import IpMap
from launch.key import RunKey


@dataclass(frozen=True)
class Plan:
    """What this machine is to run. `ip_map` has one entry for each machine."""

    experiment: Experiment
    ip_map: IpMap
    machine: int
    data_root: Path
    out: Path
    resumes: RunDirectory | None = None
    """The run that goes on, instead of a new one."""
    key: RunKey | None = None
    """What the agents of several machines share, if it was given."""

    @property
    def encrypted(self) -> bool:
        """Whether agents and nodes talk CURVE."""
        wanted = self.experiment.network.security
        return wanted == "curve" or (wanted == "auto" and not self.ip_map.loopback)

    @property
    def share(self) -> range:
        """The nodes of this machine."""
        return self.ip_map.split(self.experiment.nodes)[self.machine]

    @property
    def heard(self) -> range:
        """The nodes whose facts this agent hears: all of them on machine 0."""
        return self.share if self.machine else range(self.experiment.nodes)

    @property
    def rounds(self) -> int:
        return int(getattr(self.experiment.algorithm, "rounds", 0))
