"""Figures 4.1 to 4.18 of the communication study (Dresevic, EPFL 2022): `python scripts/communication_study.py 4.7`.

Makes the runs that a figure needs, each once, and plots them. `--rounds` and `--nodes` make a figure smaller, and
`--set KEY=VALUE` changes anything else, for example the folder of the FEMNIST data.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = [sys.executable, "-m", "launch.cli"]
DPSGD, RWM = "dpsgd", "random-walk"
RANDOM_ALPHA = "{name='random-alpha', alphas=[0.1, 0.2, 0.3, 0.4, 1.0], metadata_cap=0.5}"


def top_k(alpha: float) -> str:
    return f"{{name='top-k', alpha={alpha}}}"


def sub_sampling(alpha: float) -> str:
    return f"{{name='sub-sampling', alpha={alpha}}}"


@dataclass(frozen=True)
class Variant:
    """One run: an algorithm and a sharing rule."""

    algorithm: str
    sharing: str = "full"

    @property
    def name(self) -> str:
        words = "".join(letter if letter.isalnum() or letter in ".-" else " " for letter in self.sharing).split()
        kept = [word for word in words if word not in ("name", "alpha", "alphas")]
        return "-".join([self.algorithm, *kept])


@dataclass(frozen=True)
class Figure:
    """What is drawn: a configuration, its variants, and the axes."""

    title: str
    config: str
    variants: Sequence[Variant]
    x: str
    y: str
    rounds: int | None = None


def both(sharing: str = "full") -> list[Variant]:
    return [Variant(DPSGD, sharing), Variant(RWM, sharing)]


def fractions(algorithm: str, rule: str) -> list[Variant]:
    make = top_k if rule == "top-k" else sub_sampling
    return [*(Variant(algorithm, make(alpha)) for alpha in (0.1, 0.3, 0.5)), Variant(algorithm)]


MOVIELENS, FULL_EPOCHS, CELEBA, FEMNIST = "movielens_1", "movielens_2", "celeba", "femnist"
RMSE, ACCURACY = "test_rmse", "test_accuracy"
FIGURES = {
    "4.1": Figure("MovieLens, whole data set each round", FULL_EPOCHS, both(), "round", RMSE),
    "4.2": Figure("MovieLens, mini-batches", MOVIELENS, both(), "round", RMSE),
    "4.3": Figure("Bytes that a node has sent", MOVIELENS, both(), "round", "bytes_sent"),
    "4.4": Figure("CelebA, full sharing", CELEBA, both(), "round", ACCURACY),
    "4.5": Figure("MovieLens, top-k, random walks", MOVIELENS, fractions(RWM, "top-k"), "round", RMSE),
    "4.6": Figure("MovieLens, top-k, D-PSGD", MOVIELENS, fractions(DPSGD, "top-k"), "round", RMSE),
    "4.7": Figure("MovieLens, top-k 0.1", MOVIELENS, both(top_k(0.1)), "round", RMSE),
    "4.8": Figure("MovieLens, top-k 0.1, by time", MOVIELENS, both(top_k(0.1)), "time", RMSE),
    "4.9": Figure("CelebA, top-k 0.3", CELEBA, both(top_k(0.3)), "round", ACCURACY),
    "4.10": Figure("CelebA, top-k 0.3, by time", CELEBA, both(top_k(0.3)), "time", ACCURACY),
    "4.11": Figure("MovieLens, random alpha", MOVIELENS, both(RANDOM_ALPHA), "round", RMSE, rounds=5000),
    "4.12": Figure("CelebA, random alpha", CELEBA, both(RANDOM_ALPHA), "round", ACCURACY),
    "4.13": Figure("FEMNIST, sub-sampling, random walks", FEMNIST, fractions(RWM, "sub")[:3], "round", ACCURACY),
    "4.14": Figure("FEMNIST, sub-sampling, D-PSGD", FEMNIST, fractions(DPSGD, "sub")[:3], "round", ACCURACY),
    "4.15": Figure("FEMNIST, sub-sampling 0.5", FEMNIST, both(sub_sampling(0.5)), "round", ACCURACY),
    "4.16": Figure("FEMNIST, sub-sampling 0.5, by time", FEMNIST, both(sub_sampling(0.5)), "time", ACCURACY),
    "4.17": Figure("Bytes that a node has sent", FEMNIST, both(sub_sampling(0.5)), "round", "bytes_sent"),
    "4.18": Figure("FEMNIST, sub-sampling 0.5, by bytes", FEMNIST, both(sub_sampling(0.5)), "bytes", ACCURACY),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("figure", choices=list(FIGURES))
    parser.add_argument("--out", type=Path, default=Path("runs/communication"), help="folder of the runs and plots")
    parser.add_argument("--rounds", type=int, help="rounds; the study's own number when not given")
    parser.add_argument("--nodes", type=int, help="nodes; 96 when not given")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="any other setting")
    arguments = parser.parse_args()
    figure = FIGURES[arguments.figure]
    changes = list(arguments.set)
    rounds = arguments.rounds or figure.rounds
    changes += [f"algorithm.rounds={rounds}"] if rounds else []
    changes += [f"nodes={arguments.nodes}"] if arguments.nodes else []
    runs = [make_run(figure, variant, changes, arguments.out) for variant in figure.variants]
    picture = arguments.out / f"figure-{arguments.figure}.png"
    command = [*PROGRAM, "plot", *map(str, runs), "--x", figure.x, "--y", figure.y, "--out", str(picture)]
    subprocess.run([*command, "--title", figure.title], check=True, cwd=ROOT)


def make_run(figure: Figure, variant: Variant, changes: Sequence[str], out: Path) -> Path:
    """The run directory of one variant; it is made unless a finished one of the same name and changes is there."""
    changed = [change.replace("=", "-").replace("/", "-") for change in changes]
    folder = (out / "-".join([figure.config, variant.name, *changed])).absolute()
    done = sorted(path.parent for path in folder.glob("*/summary.json") if '"outcome": "finished"' in path.read_text())
    if done:
        return done[-1]
    config = ROOT / "configs" / "papers" / "communication" / f"{figure.config}.toml"
    settings = [f"name={variant.name}", f"algorithm.name={variant.algorithm}", f"sharing={variant.sharing}", *changes]
    command = [*PROGRAM, "run", str(config), "--out", str(folder), "--no-report"]
    for setting in settings:
        command += ["--set", setting]
    subprocess.run(command, check=True, cwd=ROOT)
    (directory,) = (path.parent for path in folder.glob("*/summary.json"))
    return directory


if __name__ == "__main__":
    main()
