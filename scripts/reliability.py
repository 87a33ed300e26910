"""Kill runs at random and see whether they end as they should: `python scripts/reliability.py kills --count 100`.

kills     a random node of a run is killed (SIGKILL): every policy, D-PSGD and random walks, four graphs, 8 and 16 nodes
resumes   the whole run is killed at a random moment, and resumed; the bits are compared with an undisturbed run
soak      32 nodes for half an hour with a kill every 20 seconds; memory, file descriptors and threads are watched
cost      how much longer a run takes for its check-points

What is measured goes to standard output. Every run is bounded in time, and its processes are counted after its end.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parent.parent
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

    def end(self) -> int | None:
        """The exit code, or None for a run that hangs; it is killed then."""
        try:
            return self.process.wait(PATIENCE_S)
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


@dataclass
class Tally:
    """What came of many runs."""

    good: int = 0
    bad: list[str] = field(default_factory=list)
    hangs: int = 0
    orphans: int = 0
    reactions_s: list[float] = field(default_factory=list)


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


def kills(count: int, rng: random.Random, folder: Path) -> None:
    """One kill in each run."""
    tally, references = Tally(), References(folder)
    cases = [(p, a, g, n) for n in (8, 16) for g in GRAPHS for a in ALGORITHMS for p in POLICIES]
    for number in range(count):
        policy, algorithm, graph, nodes = cases[number % len(cases)]
        settings = settings_of(nodes, graph, algorithm, policy, 60)
        wanted = references.models(settings) if policy == "wait" and algorithm == "dpsgd" else None
        what = f"{policy}, {algorithm}, {graph}, {nodes} nodes"
        judge_kill(Run(new_folder(folder), settings), policy, nodes, wanted, rng, tally, what)
        progress(number + 1, count, tally)
    print_tally("kills of one node", count, tally)


def judge_kill(
    run: Run, policy: str, nodes: int, wanted: list[bytes] | None, rng: random.Random, tally: Tally, what: str
) -> None:
    if not run.wait_for(run.pids):
        tally.bad.append(f"{what}: did not start")
        return
    time.sleep(rng.uniform(0.0, 1.2))
    processes = run.tree()
    finished = bool(run.summary())
    victim = rng.randrange(nodes)
    killed = with_signal(run.pids()[victim], signal.SIGKILL)
    when = time.time()
    code = run.end()
    tally.orphans += left_over(processes)
    why = verdict(run, policy, nodes, code, killed and not finished, wanted)
    if code is None:
        tally.hangs += 1
    if why:
        tally.bad.append(f"{what}, node {victim}: {why} ({run.directory})")
        return
    tally.good += 1
    seen = [event["time"] for event in (*run.events("lost"), *run.events("rollback"))]
    if policy == "abort" and code == 6:
        seen = [run.events("end")[-1]["time"]]
    tally.reactions_s += [max(0.0, seen[0] - when)] if seen else []
    shutil.rmtree(run.out)


def verdict(run: Run, policy: str, nodes: int, code: int | None, killed: bool, wanted: list[bytes] | None) -> str:
    """What is wrong with the end of a run, if anything."""
    reacted = run.events("lost") or run.events("rollback") or code == 6
    if code is None:
        return "hangs"
    if not killed or not reacted:  # it came too late, when every node had finished
        return "" if code == 0 else f"exit code {code}"
    if policy == "abort":
        return "" if code == 6 and "was killed by SIGKILL" in run.log.read_text() else f"exit code {code}"
    if code != 0:
        return f"exit code {code}"
    summary = run.summary()
    if not walks_add_up(summary):
        return f"walks do not add up: {summary['totals']}"
    if wanted is not None and models(run.directory) != wanted:
        return "other bits"
    expected = nodes - 1 if policy == "continue" else nodes
    found = len(models(run.directory))
    return "" if found >= expected else f"{found} models"


def resumes(count: int, rng: random.Random, folder: Path) -> None:
    """Kill agent, fork server and nodes together, up to three times in each run, and resume."""
    tally, references = Tally(), References(folder)
    for number in range(count):
        algorithm = ALGORITHMS[number % 2]
        settings = settings_of(8, rng.choice(list(GRAPHS)), algorithm, "abort", 60)
        settings[5] = "checkpoint.every=3"  # so that many kills come while one is being written
        wanted = references.models(settings) if algorithm == "dpsgd" else None
        run = Run(new_folder(folder), settings)
        why = kill_and_resume(run, rng, tally)
        if not why:
            summary = run.summary()
            same = wanted is None or models(run.directory) == wanted
            why = "" if same and walks_add_up(summary) else "other bits, or walks do not add up"
        if why:
            tally.bad.append(f"{' '.join(settings)}: {why} ({run.out})")
        else:
            tally.good += 1
            shutil.rmtree(run.out)
        progress(number + 1, count, tally)
    print_tally("kills of the whole run, each resumed", count, tally)


def kill_and_resume(run: Run, rng: random.Random, tally: Tally) -> str:
    """What is wrong with the end of a run that is killed once to three times, if anything."""
    current, lives = run, 0
    for _ in range(rng.choice((1, 1, 2, 3))):
        if not current.wait_for(partial(has_begun, current, lives)):
            break
        lives = len(current.events("run"))
        time.sleep(rng.uniform(0.0, 1.5))
        processes = current.tree()
        for process in processes:
            with_signal(process.pid, signal.SIGKILL)
        current.process.wait()
        tally.orphans += left_over(processes)
        if run.summary().get("outcome") == "finished":
            return ""
        current = Run(run.out, [], resume=run.directory)
    code = current.end()
    tally.hangs += code is None
    return "" if code == 0 else f"exit code {code}"


def has_begun(run: Run, lives: int) -> bool:
    """Whether its nodes are up once more than before."""
    return len(run.events("run")) > lives


def soak(seconds: float, rng: random.Random, folder: Path) -> None:
    """32 nodes under "wait", a kill every 20 s; what the agent and the fork server hold at the start and at the end."""
    settings = settings_of(32, "4-regular", "dpsgd", "wait", 10_000_000)
    settings[5] = "checkpoint.every=50"
    run = Run(new_folder(folder), settings)
    run.wait_for(lambda: run.events("first-round"))
    time.sleep(10.0)
    start, count = holdings(run), 0
    until = time.monotonic() + seconds
    while time.monotonic() < until and run.process.poll() is None:
        time.sleep(20.0)
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


def cost(rounds: int, folder: Path) -> None:
    """MovieLens with 96 nodes, with check-points at the default interval and without, in turns."""
    config = ROOT / "configs" / "movielens.toml"
    times: dict[str, list[float]] = {"0": [], "100": []}
    for _ in range(3):
        for every, measured in times.items():
            run = Run(new_folder(folder), [f"algorithm.rounds={rounds}", f"checkpoint.every={every}"], config=config)
            if run.end() != 0:
                sys.exit(run.log.read_text())
            measured.append(run.summary()["time_s"])
            shutil.rmtree(run.out)
    without, with_ = (statistics.median(times[every]) for every in ("0", "100"))
    print(f"96 nodes, {rounds} rounds: {without:.1f} s without, {with_:.1f} s with a check-point every 100 rounds")
    print(f"cost: {100 * (with_ / without - 1):+.2f} %  (single times: {times})")


def progress(done: int, count: int, tally: Tally) -> None:
    if done % 10 == 0 or done == count:
        print(f"{done} of {count}: {tally.good} good, {len(tally.bad)} bad", file=sys.stderr, flush=True)


def print_tally(what: str, count: int, tally: Tally) -> None:
    print(f"\n{what}: {tally.good} of {count} as they should, {tally.hangs} hangs, {tally.orphans} orphans")
    if tally.reactions_s:
        median, worst = statistics.median(tally.reactions_s), max(tally.reactions_s)
        print(f"from death to reaction: median {median * 1000:.0f} ms, worst {worst * 1000:.0f} ms")
    for line in tally.bad:
        print(f"- {line}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("kills", "resumes", "soak", "cost"))
    parser.add_argument("--count", type=int, help="runs; 100 for kills, 50 for resumes")
    parser.add_argument("--seconds", type=float, default=1800.0, help="length of the soak")
    parser.add_argument("--rounds", type=int, default=500, help="rounds of the runs that measure the cost")
    parser.add_argument("--seed", type=int, default=90)
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    folder = Path(tempfile.mkdtemp(prefix="reliability-"))
    if arguments.what == "kills":
        kills(arguments.count or 100, rng, folder)
    elif arguments.what == "resumes":
        resumes(arguments.count or 50, rng, folder)
    elif arguments.what == "soak":
        soak(arguments.seconds, rng, folder)
    else:
        cost(arguments.rounds, folder)
    if not any(folder.glob("*/*/config.toml")):
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
