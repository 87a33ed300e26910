"""What came of many runs."""

from __future__ import annotations

import statistics
import sys
from dataclasses import dataclass, field


@dataclass
class Tally:
    """What came of many runs."""

    good: int = 0
    bad: list[str] = field(default_factory=list)
    hangs: int = 0
    orphans: int = 0
    reactions_s: list[float] = field(default_factory=list)


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
