"""Starting the program for real, and reading what it left behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 120


def start(
    config: Path, out: Path, *settings: str, ip_map: Path | None = None, machine: int = 0
) -> subprocess.Popen[str]:
    """The program on one machine, its output and errors in one stream."""
    command = [sys.executable, "-m", "launch.cli", "run", str(config), "--out", str(out), "--no-report"]
    for setting in settings:
        command += ["--set", setting]
    if ip_map is not None:
        command += ["--ip-map", str(ip_map), "--machine", str(machine)]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run(config: Path, out: Path, *settings: str) -> Path:
    """A whole run that must succeed; its run directory."""
    process = start(config, out, *settings)
    output, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, output
    (directory,) = out.glob("*-*")
    return directory


def models(directory: Path) -> dict[int, bytes]:
    """Each node's saved model, byte for byte."""
    found = {int(path.parent.name): path.read_bytes() for path in directory.glob("nodes/*/model.safetensors")}
    assert found
    return found
