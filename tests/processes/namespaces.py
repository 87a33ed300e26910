"""Several 'machines' on one: network namespaces, each with its own addresses, whose links meet in a switch.

The switch is a bridge in a namespace of its own. So nothing of it is seen outside, and any number of tests can use the
same addresses at the same time.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path

import pytest

from tests.processes.runs import ROOT

PATIENCE_S = 20.0
HOSTS = Path("/etc/netns")  # `ip netns exec` shows a file there as the namespace's own /etc/hosts
WIRE = Path(__file__).with_name("wire.py")
_numbers = count()


class Namespaces:
    """`machines` namespaces 0, 1, ... with the addresses 10.99.0.1 and fd99::1, 10.99.0.2 and fd99::2, ..."""

    def __init__(self, machines: int) -> None:
        self._prefix = f"decentralized-{os.getpid()}-{next(_numbers)}-"
        self._switch = self._prefix + "switch"
        self._machines = range(machines)
        self._wire: subprocess.Popen[str] | None = None
        self._started: list[subprocess.Popen[bytes]] = []
        try:
            self._make()
        except BaseException:
            self.remove()
            raise

    def _make(self) -> None:
        for name in (self._switch, *map(self.name, self._machines)):
            _ip("netns", "add", name)
        _ip("-n", self._switch, "link", "add", "bridge", "type", "bridge", "stp_state", "0")
        _ip("-n", self._switch, "link", "set", "bridge", "up")
        for machine in self._machines:
            inside, port = ("-n", self.name(machine)), _port(machine)
            _ip(*inside, "link", "add", "eth0", "type", "veth", "peer", "name", port, "netns", self._switch)
            _ip("-n", self._switch, "link", "set", port, "master", "bridge", "up")
            _ip(*inside, "addr", "add", f"{ipv4(machine)}/24", "dev", "eth0")
            _ip(*inside, "addr", "add", f"{ipv6(machine)}/64", "dev", "eth0", "nodad")
            for link in ("lo", "eth0"):
                _ip(*inside, "link", "set", link, "up")

    def name(self, machine: int) -> str:
        return f"{self._prefix}{machine}"

    def start(self, machine: int, *words: str, output: Path) -> subprocess.Popen[bytes]:
        """A program on that machine; it ends with the namespaces at the latest."""
        with open(output, "wb") as file:
            program = subprocess.Popen(
                ["ip", "netns", "exec", self.name(machine), *words],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        self._started.append(program)
        return program

    def hosts(self, names: Mapping[str, str]) -> None:
        """From now on commands on any of the machines know these names and their addresses."""
        lines = "".join(f"{address} {name}\n" for name, address in {"localhost": "127.0.0.1", **names}.items())
        for machine in self._machines:
            folder = HOSTS / self.name(machine)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "hosts").write_text(lines)

    def cut(self, machine: int) -> None:
        """Pull the machine's plug out of the switch."""
        _ip("-n", self._switch, "link", "set", _port(machine), "down")

    def heal(self, machine: int) -> None:
        _ip("-n", self._switch, "link", "set", _port(machine), "up")

    def impair(self, delay_ms: int, loss_percent: float) -> None:
        """From now on every packet takes longer, and some are lost: by netem, or by a program where there is none."""
        try:
            for machine in self._machines:
                device = ("dev", _port(machine), "root", "netem")
                _tc(self._switch, "qdisc", "add", *device, "delay", f"{delay_ms}ms", "loss", f"{loss_percent}%")
        except subprocess.CalledProcessError:
            self._wire = self._start_wire(delay_ms, loss_percent)

    def lost_packets(self) -> int:
        """How many packets were lost on purpose until now; call it once, at the end."""
        if self._wire is None:
            disciplines = json.loads(_tc(self._switch, "-s", "-j", "qdisc", "show"))
            return sum(item["drops"] for item in disciplines if item["kind"] == "netem")
        self._wire.terminate()
        output, _ = self._wire.communicate(timeout=PATIENCE_S)
        return int(output)

    def _start_wire(self, delay_ms: int, loss_percent: float) -> subprocess.Popen[str]:
        """In place of the switch."""
        ports = [_port(machine) for machine in self._machines]
        for machine, port in zip(self._machines, ports, strict=True):
            _ip("-n", self.name(machine), "link", "set", "eth0", "gso_max_segs", "1")  # packets as on a real wire
            _ip("-n", self._switch, "link", "set", port, "nomaster")
        command = [sys.executable, str(WIRE), str(delay_ms / 1000), str(loss_percent / 100), *ports]
        return subprocess.Popen(["ip", "netns", "exec", self._switch, *command], stdout=subprocess.PIPE, text=True)

    def processes(self, machine: int) -> list[int]:
        """What runs there."""
        return [int(pid) for pid in _ip("netns", "pids", self.name(machine)).split()]

    def kill(self, machine: int) -> None:
        """End everything that runs there, at once."""
        _kill(self.name(machine))

    def remove(self) -> None:
        """End whatever runs in the namespaces and take them away."""
        if self._wire is not None:
            self._wire.kill()
            self._wire.communicate()
        for name in (self._switch, *map(self.name, self._machines)):
            _remove(name)
        for program in self._started:
            program.wait(PATIENCE_S)


def ipv4(machine: int) -> str:
    return f"10.99.0.{machine + 1}"


def ipv6(machine: int) -> str:
    return f"fd99::{machine + 1}"


def skip_where_impossible() -> None:
    """Namespaces need Linux, root and the program ip."""
    if sys.platform != "linux":
        pytest.skip("network namespaces are Linux's")
    if os.geteuid() != 0:
        pytest.skip("only root may make network namespaces")
    for program in ("ip", "tc"):
        if shutil.which(program) is None:
            pytest.skip(f"the program {program} is not here (Debian's package iproute2)")


@contextlib.contextmanager
def namespaces(machines: int) -> Iterator[Namespaces]:
    """They are gone afterwards, with everything that ran in them; so are those of tests that were killed."""
    skip_where_impossible()
    _sweep()
    try:
        made = Namespaces(machines)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no network namespaces here: {' '.join(error.cmd)}: {error.stderr.strip()}")
    try:
        yield made
    finally:
        made.remove()


def _sweep() -> None:
    for line in _ip("netns", "list").splitlines():
        found = re.match(r"decentralized-(\d+)-\d+-\w+", line)
        if found and not Path("/proc", found[1]).exists():
            _remove(found[0])


def _port(machine: int) -> str:
    """The switch's end of the machine's link."""
    return f"port{machine}"


def _ip(*words: str) -> str:
    return _output("ip", *words)


def _tc(namespace: str, *words: str) -> str:
    return _output("tc", "-n", namespace, *words)


def _output(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    if done.returncode:
        raise subprocess.CalledProcessError(done.returncode, command, done.stdout, done.stderr)
    return done.stdout


def _kill(name: str) -> None:
    until = time.monotonic() + PATIENCE_S
    while pids := _ip("netns", "pids", name).split():
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        if time.monotonic() > until:
            raise TimeoutError(f"processes {pids} in namespace {name} cannot be killed")
        time.sleep(0.01)


def _remove(name: str) -> None:
    """Another test may sweep away the same one."""
    with contextlib.suppress(subprocess.CalledProcessError):
        _kill(name)
    with contextlib.suppress(subprocess.CalledProcessError):
        _ip("netns", "delete", name)
    shutil.rmtree(HOSTS / name, ignore_errors=True)
    with contextlib.suppress(OSError):  # not empty: other namespaces have files there, too
        HOSTS.rmdir()
