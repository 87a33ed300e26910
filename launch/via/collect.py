"""Bringing every machine's part of the run directory home."""

from __future__ import annotations

import secrets
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from launch.via.parallel import run_all
from launch.via.remote import Remote

ASK_S = 60.0
FETCH_S = 3600.0
ELSEWHERE = 1  # the status of a `test` that fails


def collect(
    machines: Sequence[Remote], directories: Mapping[int, str], home: Path, heed: Callable[[], None]
) -> list[str]:
    """Copy the `directories` (machine to absolute path there) into `home`; returns what went wrong.

    A folder that is `home` itself, on a shared disk, stays as it is. Machine 0 comes last: what all machines write is
    then its copy.
    """
    marker = home / f".launch-{secrets.token_hex(8)}"
    marker.touch()
    try:
        looks = {
            machine: machines[machine].shell(_has(directory, marker)) for machine, directory in directories.items()
        }
        answers = run_all(looks, ASK_S, heed)
    finally:
        marker.unlink()
    fetches = {
        machine: machines[machine].pull(directory, home, "--exclude=/.launch-*")
        for machine, directory in directories.items()
        if answers[machine].status == ELSEWHERE
    }
    last = {machine: fetches.pop(machine) for machine in (0,) if machine in fetches}
    answers |= run_all(fetches, FETCH_S, heed)
    answers |= run_all(last, FETCH_S, heed)
    return [
        f"{machines[machine]}: its part of the run stays in {directories[machine]}: {done.reason}"
        for machine, done in sorted(answers.items())
        if done.status
    ]


def _has(directory: str, marker: Path) -> str:
    return f"test -e {shlex.quote(f'{directory}/{marker.name}')}"
