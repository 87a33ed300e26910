"""A long run whose nodes are killed again and again: does anything grow?"""

from __future__ import annotations

import random
import signal
import sys
import time
from pathlib import Path

import psutil

from scripts.killing.runs import (
    Run,
    left_over,
    new_folder,
    settings_of,
    with_signal,
)


def soak(seconds: float, rng: random.Random, folder: Path) -> None:
    """32 nodes under "wait", a kill every 20 s; what the agent and the fork server hold at the start and at the end."""
    settings = settings_of(32, "4-regular", "dpsgd", "wait", 10_000_000)
    settings[5:6] = ["checkpoint.every=50", "network.restarts=10"]
    run = Run(new_folder(folder), settings)
    run.wait_for(lambda: run.events("first-round"))
    time.sleep(10.0)
    start, count = holdings(run), 0
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(20.0)
        if run.process.poll() is not None:
            sys.exit(f"the run ended after {count} kills: {run.log.read_text()[-2000:]}")
        count += with_signal(rng.choice(run.pids()), signal.SIGKILL)
    time.sleep(10.0)
    end = holdings(run)
    processes = run.tree()
    run.process.send_signal(signal.SIGINT)
    code = run.end()
    print(f"soak: {seconds / 60:.0f} minutes, {count} kills, {len(run.events('rollback'))} new lives, exit code {code}")
    print(f"left over: {left_over(processes)} processes; check-point {run.events('committed')[-1]['checkpoint']}")
    print("\n| process | memory at start | at end | file descriptors | threads |\n|---|---|---|---|---|")
    for name, before in start.items():
        after = end[name]
        memory = f"{before['memory'] / 1e6:.1f} MB | {after['memory'] / 1e6:.1f} MB"
        print(f"| {name} | {memory} | {before['files']}, {after['files']} | {before['threads']}, {after['threads']} |")


def holdings(run: Run) -> dict[str, dict[str, int]]:
    """Memory, file descriptors and threads of the processes that survive kills, and of the largest node."""
    agent = psutil.Process(run.process.pid)
    (server,) = agent.children()
    nodes = server.children()
    held = {"agent": of(agent), "fork server": of(server)}
    held["largest node"] = max((of(node) for node in nodes), key=lambda item: item["memory"])
    return held


def of(process: psutil.Process) -> dict[str, int]:
    return {
        "memory": process.memory_full_info().uss,
        "files": process.num_fds(),
        "threads": process.num_threads(),
    }
