"""One machine that is reached by ssh, and the commands that do something there. Nothing here runs them."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from launch.commands.output import option_mistake
from launch.ip_map import IpMap, Machine

SSH_VARIABLE = "DECENTRALIZED_SSH"
WORKDIR = "decentralized"  # below the home folder there
RUNS = "runs"  # below the workdir
SSH_FAILED = 255  # ssh's own status when there was no connection, or when it broke
# Nobody is there to answer questions, and a machine that is gone must be noticed.
OPTIONS = ("BatchMode=yes", "ConnectTimeout=10", "ServerAliveInterval=15", "ServerAliveCountMax=4")
ATTACHED = "--attached"  # in the command line of each agent; by it a process is known before it is killed


@dataclass(frozen=True)
class Remote:
    """Machine `machine` of the IP map."""

    machine: int
    entry: Machine

    def __str__(self) -> str:
        return f"machine {self.machine} ({self.target})"

    @property
    def target(self) -> str:
        """Where ssh goes."""
        return self.entry.ssh or self.entry.host

    @property
    def workdir(self) -> str:
        """Absolute, or below the home folder there."""
        return (self.entry.workdir or WORKDIR).removeprefix("~/")

    @property
    def python(self) -> str:
        """As a word of a shell command."""
        given = self.entry.python or "python3"
        return f'"$HOME"/{shlex.quote(given[2:])}' if given.startswith("~/") else shlex.quote(given)

    def shell(self, script: str) -> list[str]:
        """Run a script of the POSIX shell there, whatever the user's own shell is."""
        return [*ssh(), "-T", "--", self.target, f"exec sh -c {shlex.quote(script)}"]

    def inside(self, script: str) -> list[str]:
        """The same, in the workdir and with the settings of the IP map.

        A checkout in the workdir comes before a package that is installed there, for the fork server as well.
        """
        settings = [f"export {name}={shlex.quote(value)}" for name, value in self.entry.env.items()]
        checkout = "[ ! -f launch/cli.py ] || export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}"
        return self.shell("; ".join([f"cd -- {shlex.quote(self.workdir)} || exit", *settings, checkout, script]))

    def program(self, *arguments: str) -> str:
        """A call of our program, as a part of a script."""
        return f"{self.python} -m launch.cli {shlex.join(arguments)}"

    def push(self, sources: Sequence[str], folder: str, *options: str) -> list[str]:
        """Copy files or folders from here into a folder there, relative to the workdir."""
        return [*rsync(), *options, "--", *sources, self._place(f"{self.workdir}/{folder}")]

    def pull(self, folder: str, into: Path, *options: str) -> list[str]:
        """Copy what is in a folder there into one here."""
        return [*rsync(), *options, "--", self._place(folder), f"{into}/"]

    def _place(self, folder: str) -> str:
        user, at, host = self.target.rpartition("@")
        bracketed = f"[{host}]" if ":" in host else host
        return f"{user}{at}{bracketed}:{folder}/"


def remotes(ip_map: IpMap) -> list[Remote]:
    """All machines, in order."""
    return [Remote(machine, entry) for machine, entry in enumerate(ip_map.machines)]


def ssh() -> list[str]:
    """The user's ssh. What DECENTRALIZED_SSH says comes first, and the first one counts."""
    try:
        own = shlex.split(os.environ.get(SSH_VARIABLE, "")) or ["ssh"]
    except ValueError as error:
        raise option_mistake(f"{SSH_VARIABLE} is not a command: {error}") from None
    return [*own, *(f"-o{option}" for option in OPTIONS)]


def rsync() -> list[str]:
    """Over the same ssh; with -s names need no quotes there."""
    return ["rsync", "-a", "-s", "--timeout=60", "-e", shlex.join(ssh())]
