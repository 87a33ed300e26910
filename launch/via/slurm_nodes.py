"""The machines of a Slurm job step, in the order of their ids."""

from __future__ import annotations

import itertools
import re
import subprocess
from collections.abc import Mapping

from decentralized.errors import StartError

# A step can have fewer machines than its job, and SLURM_NODEID counts those of the step.
VARIABLES = ("SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST")
FIRST_PORT, PORTS = 20_000, 10_000  # below those that systems give to clients
PATIENCE_S = 30.0
MOST_HOSTS = 100_000

_ELEMENT = re.compile(r"(?:[^,\[\]\s]|\[[0-9,-]+\])+")  # commas between brackets do not end it
_LIST = re.compile(f"{_ELEMENT.pattern}(?:,{_ELEMENT.pattern})*")
_PIECE = re.compile(r"\[([^\]]*)\]|([^\[]+)")
_RANGE = re.compile(r"(\d+)(?:-(\d+))?")


def hosts(environ: Mapping[str, str]) -> list[str]:
    """The names of the machines among which this process was started; raises StartError."""
    name = next((variable for variable in VARIABLES if environ.get(variable)), None)
    if name is None:
        raise StartError(f"neither {' nor '.join(VARIABLES)} is set: this is no job step of Slurm")
    return _ask_slurm(environ[name]) or expand(environ[name])


def agent_port(environ: Mapping[str, str], machine: int) -> int:
    """Where a machine's agent listens: another port for each job step, since they can share machines."""
    job, step = int(environ.get("SLURM_JOB_ID", 0)), int(environ.get("SLURM_STEP_ID", 0))
    return FIRST_PORT + (97 * job + 31 * step + machine) % PORTS


def _ask_slurm(names: str) -> list[str]:
    """What Slurm itself makes of the list; nothing in a container without its tools."""
    command = ["scontrol", "show", "hostnames", names]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return done.stdout.split()


def expand(names: str) -> list[str]:
    """`rack1-[01-03,7],login` as single names; raises StartError."""
    if _LIST.fullmatch(names) is None:
        raise _unreadable(names)
    found: list[str] = []
    for element in _ELEMENT.findall(names):
        parts = [_choices(names, match) for match in _PIECE.finditer(element)]
        combinations = itertools.product(*parts)
        found += map("".join, itertools.islice(combinations, MOST_HOSTS + 1 - len(found)))
    if len(found) > MOST_HOSTS:
        raise _unreadable(names)
    return found


def _choices(names: str, match: re.Match[str]) -> list[str]:
    """A name's piece, or the numbers between two brackets: 01-03 keeps its zero."""
    if match[2] is not None:
        return [match[2]]
    numbers: list[str] = []
    for item in match[1].split(","):
        bounds = _RANGE.fullmatch(item)
        if bounds is None:
            raise _unreadable(names)
        first, last = int(bounds[1]), int(bounds[2] or bounds[1])
        if not first <= last < first + MOST_HOSTS:
            raise _unreadable(names)
        numbers += [str(number).zfill(len(bounds[1])) for number in range(first, last + 1)]
    return numbers


def _unreadable(names: str) -> StartError:
    return StartError(f"cannot read the list of machines {names[:200]!r}", "Give the addresses with --ip-map.")
