"""Kill runs at random and see whether they end as they should: `python -m scripts.reliability kills --count 100`.

kills     a random node of a run is killed (SIGKILL): every policy, D-PSGD and random walks, four graphs, 8 and 16 nodes
resumes   the whole run is killed at a random moment, and resumed; the bits are compared with an undisturbed run
soak      32 nodes for half an hour with a kill every 20 seconds; memory, file descriptors and threads are watched
cost      how much longer a run takes for its check-points

What is measured goes to standard output. Every run is bounded in time, and its processes are counted after its end.
"""

from __future__ import annotations

import argparse
import random
import shutil
import tempfile
from pathlib import Path

from scripts.killing.cost import cost
from scripts.killing.kills import kills
from scripts.killing.resumes import resumes
from scripts.killing.soak import soak


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
