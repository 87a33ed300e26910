"""How much slower a run becomes while people without a key open connections to one of its listeners."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil

from scripts.attacks import flood
from scripts.attacks.insider import LEAKED_FROM
from scripts.attacks.target import Settings, Target, target

SAMPLE_S = 0.2
PATIENCE_S = 20.0
ENDLESS_S = 3600.0


@dataclass
class Pace:
    """One run, disturbed by connections or not: how long it took, and what the victim grew and worked."""

    seconds: float
    grown_bytes: int
    processor_s: float
    bits: str
    ended: bool
    counts: dict[str, int] = field(default_factory=dict)
    flood: dict[str, object] = field(default_factory=dict)


@dataclass
class Slowdown:
    """Pairs of a run that was left alone and one that was flooded."""

    pairs: list[tuple[Pace, Pace]] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        """Of the wall times: the median of the pairs."""
        return statistics.median(flooded.seconds / quiet.seconds for quiet, flooded in self.pairs)

    @property
    def good(self) -> bool:
        """Whether all runs ended, to the same bits."""
        runs = [run for pair in self.pairs for run in pair]
        return all(run.ended for run in runs) and len({run.bits for run in runs}) == 1


def slowdown(folder: Path, settings: Settings, rate: float, victim: str, pairs: int) -> Iterator[Slowdown]:
    """Quiet and flooded runs, in turn; what is known after each pair. `victim`: "node" or "agent"."""
    report = Slowdown()
    for number in range(pairs):
        ways = [0.0, rate] if number % 2 == 0 else [rate, 0.0]  # so that a drift of the machine evens out
        runs = {way: _pace(folder / f"{number}-{way:g}", settings, way, victim) for way in ways}
        report.pairs.append((runs[0.0], runs[rate]))
        yield report


def _pace(folder: Path, settings: Settings, rate: float, victim: str) -> Pace:
    with target(folder / "run", replace(settings, leaks=folder / "leaks")) as run:
        run.wait_for_book()
        process = psutil.Process(run.victim_pid if victim == "node" else run.agent_pid)
        address = run.book[LEAKED_FROM][0] if victim == "node" else run.agent_address
        with _flooded(address, rate) as said:
            grown_bytes, processor_s = _watch(run, process)
        outcome = run.end()
    return Pace(outcome.seconds, grown_bytes, processor_s, outcome.bits, outcome.ended, outcome.counts, said)


@contextmanager
def _flooded(address: str, rate: float) -> Iterator[dict[str, object]]:
    """What the flood says of itself is there at the end."""
    said: dict[str, object] = {}
    if not rate:
        yield said
        return
    crowd = flood.start(rate, ENDLESS_S, [address])
    try:
        yield said
        crowd.terminate()
        output, _ = crowd.communicate(timeout=PATIENCE_S)
        said.update(json.loads(output))
    finally:
        crowd.kill()
        crowd.wait()


def _watch(run: Target, process: psutil.Process) -> tuple[int, float]:
    """Until the victim ends: the bytes by which it has grown since its first round, and its processor time."""
    run.wait_for_round(1)
    samples = []
    while not run.ended:
        try:
            with process.oneshot():
                samples.append((process.memory_info().rss, sum(process.cpu_times()[:2])))
        except psutil.NoSuchProcess:
            break
        time.sleep(SAMPLE_S)
    living = [sample for sample in samples if sample[0]]  # a process that has ended and was not collected has none
    return living[-1][0] - living[0][0], living[-1][1] - living[0][1]
