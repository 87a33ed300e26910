"""Runs that are started, watched and killed, and what is left of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = [sys.executable, "-m", "launch.cli"]
DEMO = ROOT / "configs" / "demo.toml"
PATIENCE_S = 240.0
GRAPHS = {
    "ring": "topology={name='ring'}",
    "4-regular": "topology={name='random-regular', degree=4}",
    "star": "topology={name='star'}",
    "full": "topology={name='full'}",
}
POLICIES = ("abort", "continue", "wait")
ALGORITHMS = ("dpsgd", "random-walk")


class Run:
    """A run that is going on, or being resumed."""

    def __init__(self, out: Path, settings: list[str], resume: Path | None = None, config: Path = DEMO) -> None:
        self.out = out
        command = [*PROGRAM, "resume", str(resume)] if resume else [*PROGRAM, "run", str(config), "--out", str(out)]
        command.append("--no-report")
        for setting in [] if resume else settings:
            command += ["--set", setting]
        self.began = time.monotonic()
        self.log = out / "output.txt"
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output)

    @property
    def directory(self) -> Path:
        return next(path.parent for path in self.out.glob("*/config.toml"))

    def events(self, kind: str) -> list[dict[str, Any]]:
        lines = [line for path in self.out.glob("*/agents/00/events.jsonl") for line in path.read_bytes().splitlines()]
        records = [json.loads(line) for line in lines if line.endswith(b"}")]
        return [record for record in records if record["event"] == kind]

    def wait_for(self, condition: Callable[[], object], patience_s: float = PATIENCE_S) -> bool:
        """False when the run ends, or the patience, before the condition holds."""
        until = time.monotonic() + patience_s
        while not condition():
            if self.process.poll() is not None or time.monotonic() > until:
                return False
            time.sleep(0.01)
        return True

    def pids(self) -> list[int]:
        runs = self.events("run")
        return list(runs[-1]["pids"]) if runs else []

    def tree(self) -> list[psutil.Process]:
        """All processes of the run."""
        try:
            agent = psutil.Process(self.process.pid)
            return [agent, *agent.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def end(self, patience_s: float = PATIENCE_S) -> int | None:
        """The exit code, or None for a run that hangs; it is killed then."""
        try:
            return self.process.wait(patience_s)
        except subprocess.TimeoutExpired:
            for pid in self.pids():
                with_signal(pid, signal.SIGUSR2)
            time.sleep(1.0)
            self.process.kill()
            self.process.wait()
            return None

    def summary(self) -> dict[str, Any]:
        path = self.directory / "summary.json"
        summary: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
        return summary


def with_signal(pid: int, number: signal.Signals) -> bool:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def left_over(processes: list[psutil.Process]) -> int:
    """Processes of a run that live on after it; each is ended."""
    _, alive = psutil.wait_procs(processes, timeout=3.0)
    for process in alive:
        process.kill()
    return len(alive)


def settings_of(nodes: int, graph: str, algorithm: str, policy: str, rounds: int) -> list[str]:
    return [
        f"nodes={nodes}",
        GRAPHS[graph],
        f"algorithm.name={algorithm}",
        f"network.on_peer_loss={policy}",
        f"algorithm.rounds={rounds}",
        "checkpoint.every=10",
        "evaluation.every=0",
    ]


def models(directory: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(directory.glob("nodes/*/model.safetensors"))]


def walks_add_up(summary: dict[str, Any]) -> bool:
    """Every model that a living node sent to a living one was taken there, or waits."""
    totals = summary.get("totals", {})
    if "walks_sent" not in totals:
        return True
    sent = totals["walks_sent"] - totals.get("walks_sent_to_lost", 0)
    arrived = totals["walks_taken"] + totals["walks_waiting_at_end"] - totals.get("walks_received_from_lost", 0)
    return bool(sent == arrived)


class References:
    """Undisturbed runs, each made once, whose models others must equal."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[tuple[str, ...], list[bytes]] = {}

    def models(self, settings: list[str]) -> list[bytes]:
        key = tuple(settings)
        if key not in self._known:
            run = Run(new_folder(self._folder), settings)
            if run.end() != 0:
                sys.exit(f"an undisturbed run failed: {run.log.read_text()}")
            self._known[key] = models(run.directory)
        return self._known[key]


def new_folder(parent: Path) -> Path:
    return Path(tempfile.mkdtemp(dir=parent))
