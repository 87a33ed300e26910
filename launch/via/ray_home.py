"""Bringing home, through Ray, what machines wrote into folders of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from decentralized.errors import DecentralizedError, StorageError
from launch.via.ray_cluster import Actor, Wait
from launch.via.ray_host import PIECE


def collect(hosts: Mapping[int, Actor], out: Path, wait: Wait) -> dict[int, str]:
    """Copy all files below `out`; returns what went wrong, by machine.

    Machine 0 comes last: what all machines write is then its copy.
    """
    problems = {}
    for machine, host in sorted(hosts.items(), reverse=True):
        part = _Part(machine, host, wait)
        try:
            for name in part.names():
                part.copy(name, out)
            part.remove()
        except DecentralizedError as error:
            problems[machine] = str(error)
        except OSError as error:
            problems[machine] = f"{error.filename} cannot be written: {error.strerror}"
    return problems


@dataclass(frozen=True)
class _Part:
    """The files of one machine."""

    machine: int
    host: Actor
    wait: Wait

    def names(self) -> list[str]:
        names: list[str] = self._answer(self.host.files.remote())
        return names

    def copy(self, name: str, out: Path) -> None:
        target = out / name
        if not target.resolve().is_relative_to(out.resolve()):
            raise StorageError(f"{name} is not below the folder of runs")
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(target, "wb") as file:
            while len(piece := self._answer(self.host.read.remote(name, file.tell()))) == PIECE:
                file.write(piece)  # one at a time: a large file must not fill the memory
            file.write(piece)

    def remove(self) -> None:
        self._answer(self.host.clean.remote())

    def _answer(self, call: Any) -> Any:
        return self.wait.answers({self.machine: call})[self.machine]
