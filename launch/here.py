"""Which machine of the run this is, and how its agent is started."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from launch import ip_map as maps
from launch.commands.output import option_mistake
from launch.ip_map import IpMap
from launch.placement import detect


@dataclass(frozen=True)
class Here:
    """What the command line says; the environment fills in what it does not."""

    ip_map: Path | None = None
    machine: int | None = None
    key: Path | None = None
    attached: bool = False


def find(here: Here, recorded: IpMap | None = None) -> tuple[IpMap, int]:
    """The address book and this machine's id. `recorded`: of the run that goes on. Raises ConfigError, StartError."""
    given = maps.load(here.ip_map) if here.ip_map else None
    placement = detect(os.environ) if here.machine is None else None
    if placement is not None:
        return placement.checked(given or placement.ip_map or recorded), placement.machine
    ip_map, machine = given or recorded or maps.LOCAL, here.machine or 0
    count = len(ip_map.machines)
    if not 0 <= machine < count:
        known = f"the IP map has machines 0 to {count - 1}" if given or recorded else "it needs an --ip-map"
        raise option_mistake(f"--machine {machine}: {known}")
    return ip_map, machine
