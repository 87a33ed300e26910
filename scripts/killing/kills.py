"""A random node is killed: does the run end as its policy says?"""

from __future__ import annotations

import random
import shutil
import signal
import time
from pathlib import Path

from scripts.killing.runs import (
    ALGORITHMS,
    GRAPHS,
    POLICIES,
    References,
    Run,
    left_over,
    models,
    new_folder,
    settings_of,
    walks_add_up,
    with_signal,
)
from scripts.killing.tally import Tally, print_tally, progress


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
