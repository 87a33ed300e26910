"""The program answers at once: what needs no training imports nothing that takes seconds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SLOW = {"torch", "numpy", "networkx", "matplotlib", "scipy", "sklearn", "PIL", "zmq", "safetensors"}

# Runs the program in this process; the last line of standard error tells what it has imported.
PROGRAM = """
import json, sys
from launch.cli import main
code = 0
try:
    main()
except SystemExit as left:
    code = left.code or 0
print(json.dumps([code, sorted({name.partition(".")[0] for name in sys.modules})]), file=sys.stderr)
"""


def imported_by(*arguments: str, **variables: str) -> tuple[int, set[str]]:
    """The exit code, and which of the slow packages the program has imported."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        cwd=ROOT,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=60,
    )
    code, names = json.loads(done.stderr.splitlines()[-1])
    return code, SLOW & set(names)


COMMANDS = [
    [],
    ["run"],
    ["resume"],
    ["check"],
    ["topology"],
    ["report"],
    ["plot"],
    ["status"],
    ["import-ini"],
    ["data"],
    ["data", "describe"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help(command: list[str]) -> None:
    assert imported_by(*command, "--help") == (0, set())


def test_version() -> None:
    assert imported_by("--version") == (0, set())


def test_data_list(tmp_path: Path) -> None:
    assert imported_by("data", "list", "--data", str(tmp_path)) == (0, set())


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str) -> None:
    assert imported_by(_DECENTRALIZED_COMPLETE=f"source_{shell}") == (0, set())
    words = {"COMP_WORDS": "decentralized da", "COMP_CWORD": "1", "_TYPER_COMPLETE_ARGS": "decentralized da"}
    code, slow = imported_by(_DECENTRALIZED_COMPLETE=f"complete_{shell}", **words)
    assert code == 0 and not slow


@pytest.mark.parametrize("command", ["check", "run", "topology"])
def test_mistakes_in_the_file_are_told_without_importing_more_than_settings_need(command: str) -> None:
    """The files of the chosen components hold their settings, and some of them use numpy."""
    assert imported_by(command, "configs/demo.toml", "--set", "model.hiden=[3]") == (2, {"numpy"})


def test_a_file_that_is_not_there() -> None:
    code, slow = imported_by("check", "nothing.toml")
    assert code == 2 and slow <= {"numpy"}
