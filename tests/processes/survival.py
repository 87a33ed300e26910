"""Runs whose nodes are killed while they go on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.processes.runs import PATIENCE_S, ROOT, start

CONFIG = ROOT / "configs" / "demo.toml"
SMALL = ("nodes=8", "algorithm.rounds=60", "checkpoint.every=10", "evaluation.every=20", "network.on_peer_loss=wait")
TIMES = ("_s", "bytes_control", "bytes_resent")  # ends of the names of metrics that no two runs share


class Live:
    """A run that is going on."""

    def __init__(self, out: Path, *settings: str, ip_map: Path | None = None, machine: int = 0) -> None:
        self.out, self._machine = out, machine
        self.agent = start(CONFIG, out, *settings, ip_map=ip_map, machine=machine)

    @property
    def directory(self) -> Path:
        (directory,) = self.out.glob("*-*")
        return directory

    def events(self, kind: str) -> list[dict[str, Any]]:
        files = self.out.glob(f"*/agents/{self._machine:02d}/events.jsonl")
        lines = [line for path in files for line in path.read_bytes().splitlines()]
        records = [json.loads(line) for line in lines if line.endswith(b"}")]
        return [record for record in records if record["event"] == kind]

    def wait(self, condition: Callable[[], object]) -> None:
        until = time.monotonic() + PATIENCE_S
        while not condition():
            assert self.agent.poll() is None, self.agent.communicate()[0]
            assert time.monotonic() < until
            time.sleep(0.02)

    def wait_for_checkpoint(self, count: int = 1) -> None:
        """Until all nodes have so many."""
        self.wait(lambda: len(self.events("committed")) >= count)

    def wait_for_life(self, life: int) -> None:
        self.wait(lambda: len(self.events("run")) >= life)

    def signal(self, node: int, number: signal.Signals) -> None:
        os.kill(self.events("run")[-1]["pids"][node], number)

    def end(self, code: int = 0) -> str:
        """The output, once the run has ended as it should."""
        output, _ = self.agent.communicate(timeout=PATIENCE_S)
        assert self.agent.returncode == code, output
        return output

    def summary(self) -> Any:
        return json.loads((self.directory / "summary.json").read_text())


def resume(directory: Path, code: int = 0, *options: str) -> str:
    command = [sys.executable, "-m", "launch.cli", "resume", str(directory), "--no-report", *options]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def records(directory: Path) -> dict[int, list[dict[str, Any]]]:
    """All metrics of all nodes, but for what depends on time."""
    found = {}
    for path in sorted(directory.glob("nodes/*/metrics.jsonl")):
        lines = [json.loads(line) for line in path.read_bytes().splitlines()]
        found[int(path.parent.name)] = [
            {name: value for name, value in line.items() if not name.endswith(TIMES)} for line in lines
        ]
    return found
