"""What runs on each machine of a Ray cluster: an actor that carries the machine's agent as its child.

When the launcher goes, Ray ends the actor; the agent's input ends with it, and then the agent ends everything.
"""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from dataclasses import dataclass
from pathlib import Path

import ray

from decentralized import __version__, control
from launch.key import RunKey
from launch.remote_agent import AttachedAgent
from launch.warm_parent import python

PIECE = 4 << 20  # bytes of a file that travel at once


@dataclass(frozen=True)
class Offer:
    """What a machine says of itself before the run."""

    host: str
    port: int
    version: str
    shares_out: bool
    """Whether it sees the launcher's --out."""
    folder: str
    """Where it keeps what it does not share."""


@dataclass(frozen=True)
class Order:
    """What to start on a machine."""

    machine: int
    config: str
    ip_map: str
    key: RunKey
    out: str
    """Where the machine shares it, else a folder of its own takes its place."""
    resumes: str | None
    """The directory of a run that goes on; all machines share it."""
    data: str
    folder: str
    python: str | None
    environment: dict[str, str]


@dataclass(frozen=True)
class News:
    """What an agent has said since the last look."""

    facts: bytes
    status: int | None
    """Its exit code, once it has ended."""
    errors: str


class Host:
    """One machine. All methods answer soon."""

    def __init__(self) -> None:
        self._agent: AttachedAgent | None = None
        self._scratch = Path(tempfile.mkdtemp(prefix="decentralized-"))  # only this user can look into it
        self._runs = self._scratch / "runs"
        self._shares_out = False
        self._port = socket.socket()
        self._port.bind(("", 0))

    def offer(self, probe: Path) -> Offer:
        """`probe`: a file that the launcher has just made in its --out."""
        self._shares_out = probe.is_file()
        port = self._port.getsockname()[1]
        return Offer(ray.util.get_node_ip_address(), port, __version__, self._shares_out, str(self._scratch))

    def start(self, order: Order) -> None:
        """Start the agent. Raises StartError."""
        config, ip_map = self._scratch / "config.toml", self._scratch / "ip_map.json"
        config.write_text(order.config, encoding="utf-8")
        ip_map.write_text(order.ip_map, encoding="utf-8")
        out = order.out if self._shares_out else str(self._runs)
        what = ["resume", order.resumes] if order.resumes else ["run", str(config), "--out", out]
        command = python("launch.cli", *what, "--ip-map", str(ip_map), "--machine", str(order.machine), "--attached")
        command = [order.python or command[0], *command[1:], "--data", order.data]
        folder = Path(order.folder) if Path(order.folder).is_dir() else self._scratch
        self._port.close()  # the agent takes the port over
        self._agent = AttachedAgent.start(command, order.key, {**os.environ, **order.environment}, folder)

    def news(self) -> News:
        """What has happened since the last call."""
        if self._agent is None:
            return News(b"", None, "")
        status = self._agent.status  # before the last facts are read, not after
        facts = b"".join(control.encode(fact) for fact in self._agent.poll())
        return News(facts, status, self._agent.errors)

    def stop(self) -> None:
        """Like one Ctrl-C."""
        if self._agent is not None:
            self._agent.stop()

    def leave(self) -> None:
        """The agent ends everything at once; `news` says when it has."""
        if self._agent is not None:
            self._agent.leave()

    def end(self) -> None:
        """End what is still there; takes some seconds. Files that nobody has brought home stay."""
        if self._agent is not None:
            self._agent.close()
        if self._shares_out or not self._runs.exists():
            self.clean()

    def files(self) -> list[str]:
        """What the agent left in this machine's own folder: paths below it."""
        return sorted(str(path.relative_to(self._runs)) for path in self._runs.rglob("*") if path.is_file())

    def read(self, name: str, offset: int) -> bytes:
        """A piece of a file; a short one is its end."""
        with open(self._runs / name, "rb") as file:
            file.seek(offset)
            return file.read(PIECE)

    def clean(self) -> None:
        """Remove this machine's own folder."""
        shutil.rmtree(self._scratch, ignore_errors=True)
