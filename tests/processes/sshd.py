"""Machines that are reached by ssh: one sshd on each of several loopback addresses, and a folder for each."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.processes.runs import PATIENCE_S, ROOT

ADDRESSES = ("127.0.0.2", "127.0.0.3", "127.0.0.4")
SERVER = """
Port {port}
ListenAddress {address}
HostKey {folder}/host_key
PidFile none
AuthorizedKeysFile {folder}/key.pub
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
"""
CLIENT = """
IdentityFile {folder}/key
IdentitiesOnly yes
UserKnownHostsFile {folder}/known_hosts
StrictHostKeyChecking accept-new
LogLevel ERROR
"""


def find_sshd() -> str:
    """Skips the test where something is missing."""
    sshd = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")
    for name, found in (("sshd", sshd), *((name, shutil.which(name)) for name in ("ssh", "ssh-keygen", "rsync"))):
        if found is None:
            pytest.skip(f"needs {name} (Debian: openssh-server, openssh-client, rsync)")
    if not sys.platform.startswith("linux"):
        pytest.skip("needs loopback addresses other than 127.0.0.1, and /proc")
    return str(sshd)


@dataclass
class Machines:
    """Several machines that are this one."""

    folder: Path
    ports: list[int]
    environment: dict[str, str]
    entries: dict[str, dict[str, Any]] = field(default_factory=dict)

    def workdir(self, machine: int) -> Path:
        return self.folder / f"machine {machine}" / "work"

    @property
    def folders(self) -> list[Path]:
        return [self.workdir(machine).parent for machine in range(len(self.ports))]

    def ip_map(self, name: str = "ip_map.json") -> Path:
        path = self.folder / name
        path.write_text(json.dumps(self.entries))
        return path

    def launch(self, what: Path, *options: str, settings: tuple[str, ...] = ()) -> subprocess.Popen[str]:
        """`decentralized launch`, with its output and errors in one stream."""
        command = [sys.executable, "-m", "launch.cli", "launch", str(what), "--via", "ssh", "--no-report", *options]
        for setting in settings:
            command += ["--set", setting]
        return subprocess.Popen(
            command, cwd=ROOT, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def processes(self) -> list[int]:
        """All that run in a folder of these machines."""
        found = []
        for link in Path("/proc").glob("[0-9]*/cwd"):
            with contextlib.suppress(OSError):
                if os.readlink(link).startswith(str(self.folder)):
                    found.append(int(link.parent.name))
        return found

    def wait_until_empty(self, patience_s: float = 15.0) -> None:
        until = time.monotonic() + patience_s
        while left := self.processes():
            assert time.monotonic() < until, [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in left]
            time.sleep(0.05)
        assert not list(self.folder.glob("machine*/work/runs/.launch-*"))


@contextlib.contextmanager
def machines(folder: Path, count: int = len(ADDRESSES)) -> Iterator[Machines]:
    """They are up while this lasts."""
    sshd = find_sshd()
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # sshd wants it, and makes it only as a service
    for name in ("host_key", "key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True, timeout=20)
    with contextlib.ExitStack() as stack:
        addresses = ADDRESSES[:count]
        ports = [_free_port(address) for address in addresses]
        for address, port in zip(addresses, ports, strict=True):
            stack.enter_context(_sshd(sshd, folder, address, port))
        hosts = [f"Host {address}\n  Port {port}" for address, port in zip(addresses, ports, strict=True)]
        client = folder / "client config"
        client.write_text(CLIENT.format(folder=folder) + "\n".join(hosts) + "\n")
        environment = {**os.environ, "DECENTRALIZED_SSH": f'ssh -F "{client}"', "PYTHONPATH": str(ROOT)}
        made = Machines(folder, ports, environment)
        for machine, address in enumerate(addresses):
            made.workdir(machine).mkdir(parents=True)
            env = {"DECENTRALIZED_DATA": str(folder / "no data here"), "PYTHONPATH": str(ROOT)}
            made.entries[str(machine)] = {
                "host": address,
                "port": _free_port(address),
                "workdir": str(made.workdir(machine)),
                "python": sys.executable,
                "env": env,
            }
        yield made


@contextlib.contextmanager
def _sshd(program: str, folder: Path, address: str, port: int) -> Iterator[None]:
    file = folder / f"sshd-{address}"
    file.write_text(SERVER.format(folder=folder, address=address, port=port))
    process = subprocess.Popen([program, "-D", "-e", "-f", file], stderr=subprocess.PIPE, text=True)
    try:
        _wait_for_listener(process, address, port)
        yield
    finally:
        process.terminate()
        process.communicate(timeout=PATIENCE_S)


def _wait_for_listener(process: subprocess.Popen[str], address: str, port: int) -> None:
    until = time.monotonic() + 20
    while True:
        with socket.socket() as client:
            if client.connect_ex((address, port)) == 0:
                return
        if process.poll() is not None:
            pytest.skip(f"sshd does not start here: {process.communicate()[0]}")
        assert time.monotonic() < until
        time.sleep(0.02)


def _free_port(address: str) -> int:
    with socket.socket() as listener:
        listener.bind((address, 0))
        return int(listener.getsockname()[1])
