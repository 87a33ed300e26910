"""A real run to attack: two agents and their nodes on this machine, as two machines of a cluster would be."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from decentralized.transport.security import Curve
from launch.key import RunKey
from scripts.attacks.insider import BOOK, GO_ON, LEAKED_FROM, SENT, Insider

ROOT = Path(__file__).resolve().parents[2]
LISTENS = "127.0.0.3"
PORTS = range(20_000, 30_000)  # below those that the system gives to clients
PATIENCE_S = 300.0
MACHINES = range(2)
INSIDER = f"{Insider.__module__}:{Insider.__name__}"


@dataclass(frozen=True)
class Settings:
    """What is run."""

    config: Path
    overrides: tuple[str, ...]
    nodes: int
    security: str = "curve"
    host: str = LISTENS
    """Where others are told to connect; a wiretap may sit there."""
    leaks: Path | None = None
    payloads: bool = False
    impostor: int = -1
    holds: bool = False

    def words(self, ports: range) -> list[str]:
        """As options of the program."""
        sets = [*self.overrides, f"nodes={self.nodes}", f"network.security={self.security}"]
        sets += [f"network.ports=[{ports.start},{ports.stop - 1}]", "evaluation.every=0", "checkpoint.every=0"]
        if self.leaks is not None:
            sets += [f"algorithm.name={INSIDER}", f"algorithm.leaks={self.leaks}"]
            sets += [f"algorithm.payloads={str(self.payloads).lower()}", f"algorithm.impostor={self.impostor}"]
            sets += [f"algorithm.holds={str(self.holds).lower()}"]
        return [word for setting in sets for word in ("--set", setting)]


@dataclass
class Outcome:
    """What came of a run."""

    ended: bool
    bits: str = ""
    """One digest over the models of all nodes."""
    seconds: float = 0.0
    """For the last nine tenths of the rounds, on node 0."""
    counts: dict[str, int] = field(default_factory=dict)
    """What nodes dropped and refused, by reason."""
    said: str = ""


class Target:
    """One run that is going on. Ports are those of the nodes, and then one for each agent."""

    def __init__(self, folder: Path, settings: Settings, ports: range) -> None:
        folder.mkdir(parents=True)
        self._folder, self._settings, self.ports = folder, settings, ports
        if settings.leaks is not None:
            settings.leaks.mkdir(parents=True)
        self._key = RunKey.new()
        self._key.write(folder / "key")
        self.agent_port = ports.stop - len(MACHINES)
        entries = {m: {"host": settings.host, "bind": LISTENS, "port": self.agent_port + m} for m in MACHINES}
        (folder / "ip_map.json").write_text(json.dumps(entries))
        self._agents = [self._start(machine) for machine in MACHINES]

    def _start(self, machine: int) -> subprocess.Popen[bytes]:
        where = ["--ip-map", str(self._folder / "ip_map.json"), "--machine", str(machine)]
        out = ["--out", str(self._folder / "runs"), "--no-report", "--key", str(self._folder / "key")]
        nodes = range(self.ports.start, self.ports.stop - len(MACHINES))
        words = ["run", str(self._settings.config), *where, *out, *self._settings.words(nodes)]
        with open(self._folder / f"said-{machine}.txt", "wb") as said:
            return subprocess.Popen(
                [sys.executable, "-m", "launch.cli", *words],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdout=said,
                stderr=subprocess.STDOUT,
            )

    def wait_for_book(self) -> None:
        """Until the nodes begin."""
        self._wait(lambda: (self._leaks / BOOK).exists())

    def wait_for_round(self, number: int) -> None:
        """Until node 0 has completed it."""
        self._wait(lambda: [line for line in self._metrics() if line.get("round", 0) >= number])

    def _wait(self, condition: Callable[[], object]) -> None:
        until = time.monotonic() + PATIENCE_S
        while not condition():
            if self.ended or time.monotonic() > until:
                raise RuntimeError(f"the run does not get so far:\n{self._said()}")
            time.sleep(0.05)

    @property
    def ended(self) -> bool:
        return any(agent.poll() is not None for agent in self._agents)

    @property
    def agent_pid(self) -> int:
        """Of the agent that decides for all."""
        return self._agents[0].pid

    @property
    def victim_pid(self) -> int:
        """Of the node whose address is leaked."""
        events = self._lines("agents/00/events.jsonl")
        return next(int(line["pids"][LEAKED_FROM]) for line in events if line["event"] == "run")

    @property
    def book(self) -> dict[int, tuple[str, str]]:
        """The address and public key of each node, as leaked."""
        book = json.loads((self._leaks / BOOK).read_text())
        return {int(node): (address, book["keys"].get(node, "")) for node, address in book["addresses"].items()}

    @property
    def _leaks(self) -> Path:
        if self._settings.leaks is None:
            raise RuntimeError("nobody leaks")
        return self._settings.leaks

    @property
    def agent_address(self) -> str:
        return f"tcp://{LISTENS}:{self.agent_port}"

    @property
    def agents_security(self) -> Curve:
        """With the key pair of machine 1's agent."""
        return self._key.curve(1, len(MACHINES))

    def go_on(self) -> None:
        """The last round may come."""
        (self._leaks / GO_ON).touch()

    def sent(self) -> bytes:
        """All parameters that any node has sent to any other."""
        return b"".join(path.read_bytes() for path in sorted((self._leaks / SENT).iterdir()))

    def end(self) -> Outcome:
        """Waits for the end of the run."""
        until = time.monotonic() + PATIENCE_S
        with contextlib.suppress(subprocess.TimeoutExpired):
            for agent in self._agents:
                agent.wait(max(0.1, until - time.monotonic()))
        good = all(agent.poll() == 0 for agent in self._agents)
        outcome = Outcome(good, said=self._said())
        if good:
            models = sorted(self._folder.glob("runs/*/nodes/*/model.safetensors"))
            outcome.bits = hashlib.sha256(b"".join(path.read_bytes() for path in models)).hexdigest()
            times = [line["time_s"] for line in self._metrics() if line["kind"] == "round"]
            outcome.seconds = times[-1] - times[len(times) // 10]
            (summary,) = self._folder.glob("runs/*/summary.json")
            outcome.counts = json.loads(summary.read_text())["totals"]
        return outcome

    def kill(self) -> None:
        """Whatever still runs: nodes end with their agents."""
        for agent in self._agents:
            if agent.poll() is None:
                agent.send_signal(signal.SIGKILL)
            agent.wait()

    def _metrics(self) -> list[dict[str, Any]]:
        return self._lines(f"nodes/{LEAKED_FROM:04d}/metrics.jsonl")

    def _lines(self, name: str) -> list[dict[str, Any]]:
        files = self._folder.glob(f"runs/*/{name}")
        return [json.loads(line) for path in files for line in path.read_bytes().splitlines() if line.endswith(b"}")]

    def _said(self) -> str:
        return "".join((self._folder / f"said-{machine}.txt").read_text() for machine in MACHINES)


@contextlib.contextmanager
def target(folder: Path, settings: Settings, ports: range | None = None) -> Iterator[Target]:
    """A run; nothing of it is left afterwards."""
    made = Target(folder, settings, ports or free_ports(settings.nodes))
    try:
        yield made
    finally:
        made.kill()


def free_ports(nodes: int, *hosts: str) -> range:
    """As many ports in a row as a run needs, which nobody uses on any of these hosts."""
    count = nodes + len(MACHINES)
    for _ in range(100):
        first = random.randrange(PORTS.start, PORTS.stop - count)
        ports = range(first, first + count)
        if all(_is_free(host, port) for host in (LISTENS, *hosts) for port in ports):
            return ports
    raise RuntimeError(f"no {count} ports in a row are free")


def _is_free(host: str, port: int) -> bool:
    with socket.socket() as one:
        try:
            one.bind((host, port))
        except OSError:
            return False
    return True


def resident_bytes(pid: int) -> int:
    """What a process holds in memory."""
    return int(psutil.Process(pid).memory_info().rss)
