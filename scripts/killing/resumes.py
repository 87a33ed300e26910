"""The whole run is killed and resumed: does it end as if nothing had happened?"""

from __future__ import annotations

import random
import shutil
import signal
import time
from functools import partial
from pathlib import Path

from scripts.killing.runs import (
    ALGORITHMS,
    GRAPHS,
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
