"""Li et al., CVPR 2022, learning to collaborate: the runs, the tables and the pictures.

    python scripts/l2c_study.py table small --seeds 90 91 92    Tables 2, 3, figure 3: all methods
    python scripts/l2c_study.py transfer small --seeds 90 91    Table 4: an encoder that was trained on other tasks
    python scripts/l2c_study.py sweep small ratio               Figure 8: the share of the data for validation
    python scripts/l2c_study.py sweep small budget              Figure 9: the share of the nodes to talk to
    python scripts/l2c_study.py weights RUN --rounds 1 10 30    Figures 4, 5: heat maps of the mixing weights
    python scripts/l2c_study.py mates RUN                       Figure 4 in numbers: who has the largest weights
    python scripts/l2c_study.py shared RUN                      Figure 7: weight against number of shared classes
    python scripts/l2c_study.py graph RUN                       who still receives from whom at the end

`small`, `figure4`, ... are the configurations in configs/papers/l2c/. Runs that are finished are not made again;
`--set KEY=VALUE` changes anything, `--only` chooses methods. RUN is a run directory with `evaluation.weights = true`.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from decentralized import config
from decentralized.build import BuiltIn
from decentralized.report.series import Run, load_run
from decentralized.report.statistics import worst
from decentralized.report.tables import last_values
from decentralized.run_directory import RunDirectory, write_atomically
from scripts.l2c.methods import ALONE, FOMO, Variant, baselines, variants
from scripts.l2c.pictures import Points, draw_curves, draw_graph, draw_weights
from scripts.l2c.weights import by_shared, weights_of, with_mates

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = ROOT / "configs" / "papers" / "l2c"
PROGRAM = [sys.executable, "-m", "launch.cli"]
METRIC = "test_accuracy"
MEGABYTE = 1_000_000
RATIOS = (0.1, 0.2, 0.3, 0.4, 0.5)
BUDGETS = (0.02, 0.04, 0.1, 0.3, 0.5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/l2c"), help="folder of the runs, tables and pictures")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="any other setting")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, make in MAKERS.items():
        command = commands.add_parser(name)
        command.add_argument("config", help="a configuration in configs/papers/l2c, without .toml")
        if name == "sweep":
            command.add_argument("what", choices=["ratio", "budget"])
        command.add_argument("--seeds", type=int, nargs="+", default=[90])
        command.add_argument("--only", nargs="+", metavar="METHOD", help="methods whose names begin so")
        command.set_defaults(do=make)
    for name, show in SHOWERS.items():
        command = commands.add_parser(name)
        command.add_argument("run", type=Path, help="a run directory")
        command.add_argument("--rounds", type=int, nargs="+", help="default: the first, the tenth and the last")
        command.set_defaults(do=show)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    arguments.do(arguments)


# Tables


def make_table(arguments: argparse.Namespace) -> None:
    """Tables 2 and 3, and figure 3."""
    file = _file(arguments.config, arguments.set)
    rows, curves = {}, {}
    for variant in _chosen([*variants(file), *baselines(file)], arguments.only):
        settings = [*arguments.set, *variant.settings(file["algorithm"]["rounds"])]
        runs = [load_run(make_run(arguments, variant.name, [*settings, f"seed={seed}"])) for seed in arguments.seeds]
        rows[variant.name] = runs
        curves[variant.name] = by_epochs(runs, variant.share * file["training"]["local_epochs"])
    best = best_graphs(rows)
    _write(arguments.out / f"{arguments.config}.md", table(best))
    path = arguments.out / f"{arguments.config}-epochs.png"
    draw_curves({name: curves[name] for name in best}, "Local epochs of a node", path)


def by_epochs(runs: Sequence[Run], epochs: float) -> Points:
    """The accuracy of each run at its evaluations, but before training; a round has so many epochs."""
    curves = [run.curve(METRIC) for run in runs]
    rounds_T = curves[0].rounds_T
    if any(not np.array_equal(rounds_T, curve.rounds_T) for curve in curves):
        raise SystemExit("these runs were not evaluated in the same rounds")
    return [
        (epochs * round, [curve.mean_T[place] for curve in curves]) for place, round in enumerate(rounds_T) if round
    ]


def make_transfer(arguments: argparse.Namespace) -> None:
    """Table 4: encoders that were trained with one seed make the weights of runs with the next one, in turn."""
    file = _file(arguments.config, arguments.set)
    (meta,) = [variant for variant in variants(file) if variant.name == "meta-L2C"]
    settings = [*arguments.set, *meta.settings(file["algorithm"]["rounds"])]
    trained = {seed: make_run(arguments, meta.name, [*settings, f"seed={seed}"]) for seed in arguments.seeds}
    rows: dict[str, list[Run]] = {"meta-L2C": [load_run(run) for run in trained.values()], "meta-L2C (transfer)": []}
    for seed, other in zip(arguments.seeds, [*arguments.seeds[1:], arguments.seeds[0]], strict=True):
        encoder = RunDirectory(trained[other]).node(0).learned
        moved = [*settings, f"seed={seed}", f"algorithm.transfer='{encoder}'"]
        rows["meta-L2C (transfer)"].append(load_run(make_run(arguments, f"transfer from {other}", moved)))
    _write(arguments.out / f"{arguments.config}-transfer.md", table(rows))


def make_sweep(arguments: argparse.Namespace) -> None:
    """Figures 8 and 9: the accuracy of each method at each place on the x axis."""
    file = _file(arguments.config, arguments.set)
    label, heard = {
        "ratio": ("Share of a node's data for validation", "all neighbors"),
        "budget": ("Share of the nodes that each one hears", "group-ring"),
    }[arguments.what]
    curves: dict[str, list[tuple[float, list[float]]]] = {}
    for variant in _chosen([*variants(file), FOMO], arguments.only):
        for x, change in places(arguments.what, variant, file["nodes"]):
            settings = [*arguments.set, *variant.settings(file["algorithm"]["rounds"]), *change]
            runs = [make_run(arguments, variant.name, [*settings, f"seed={seed}"]) for seed in arguments.seeds]
            found = [float(np.mean(last_values(load_run(run), METRIC))) for run in runs]
            curves.setdefault(variant.name.replace("all neighbors", heard), []).append((x, found))
    draw_curves(curves, label, arguments.out / f"{arguments.config}-{arguments.what}.png")


def places(what: str, variant: Variant, nodes: int) -> Iterator[tuple[float, list[str]]]:
    """The places of a method on the x axis, with their settings; none where it has no such thing."""
    if what == "ratio":
        yield from ((x, [f"data.validation={x}"]) for x in RATIOS)
        return
    counts = {max(1, round(x * nodes)) for x in BUDGETS}
    if variant.algorithm["name"] in ("l2c", "meta-l2c"):
        yield from ((kept / nodes, [f"algorithm.prune={nodes - 1 - kept}"]) for kept in sorted(counts))
    elif variant.name.startswith("D-PSGD"):
        even = sorted({count + count % 2 for count in counts})
        yield from ((degree / nodes, [f"topology={{name='group-ring', degree={degree}}}"]) for degree in even)


def best_graphs(rows: Mapping[str, Sequence[Run]]) -> dict[str, Sequence[Run]]:
    """Of the rows of one method on several graphs, the one with the highest mean."""
    best: dict[str, tuple[float, str]] = {}
    for name, runs in rows.items():
        method, mean = name.partition(" on ")[0], float(np.mean([np.mean(last_values(run, METRIC)) for run in runs]))
        best[method] = max(best.get(method, (-1.0, "")), (mean, name))
    return {name: rows[name] for _, name in best.values()}


def table(rows: Mapping[str, Sequence[Run]]) -> Iterator[str]:
    """Markdown; means over the seeds, with the standard deviation where there are several.

    Partitions differ more than methods do, so each run is also compared with training alone on the same partition.
    """
    alone = [float(np.mean(last_values(run, METRIC))) for run in rows.get(ALONE, ())]
    yield "| method | accuracy | over alone | worst 10 % | worst 20 % | deviation over nodes | MB sent by a node |"
    yield "|---|---|---|---|---|---|---|"
    for name, runs in rows.items():
        values = [last_values(run, METRIC) for run in runs]
        means = [float(np.mean(one)) for one in values]
        gains = [mean - other for mean, other in zip(means, alone, strict=True)] if alone else []
        cells = [
            _spread(means),
            _spread(gains, "+.3f") if gains and name != ALONE else "",
            _spread([worst(one, METRIC, 0.1) for one in values]),
            _spread([worst(one, METRIC, 0.2) for one in values]),
            _spread([float(np.std(one)) for one in values]),
            f"{np.mean([np.mean(last_values(run, 'bytes_sent')) for run in runs]) / MEGABYTE:.1f}",
        ]
        yield f"| {name} | {' | '.join(cells)} |"


def _spread(values: Sequence[float], sign: str = ".3f") -> str:
    return f"{np.mean(values):{sign}}" + (f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else "")


def make_run(arguments: argparse.Namespace, name: str, settings: Sequence[str]) -> Path:
    """The run directory; it is made unless a finished one with the same name and settings is there."""
    word = "".join(letter if letter.isalnum() else "-" for letter in name)
    digest = hashlib.blake2b("\n".join(settings).encode(), digest_size=4).hexdigest()
    out: Path = arguments.out
    folder: Path = (out / arguments.config / f"{word}-{digest}").absolute()
    summaries: list[Path] = sorted(folder.glob("*/summary.json"))
    done = [path.parent for path in summaries if '"outcome": "finished"' in path.read_text()]
    if done:
        return done[-1]
    command = [*PROGRAM, "run", str(CONFIGS / f"{arguments.config}.toml"), "--out", str(folder), "--no-report"]
    for setting in (f"name={word}", "network.transport=memory", *settings):
        command += ["--set", setting]
    subprocess.run(command, check=True, cwd=ROOT)
    return next(folder.glob("*/summary.json")).parent


# Weights


def show_weights(arguments: argparse.Namespace) -> None:
    """Figures 4 and 5."""
    weights = weights_of(arguments.run)
    draw_weights(weights, weights.chosen(arguments.rounds), arguments.out / f"{arguments.run.name}-weights.png")


def show_mates(arguments: argparse.Namespace) -> None:
    """Figure 4 in numbers: of the nodes, and of the weight outside themselves."""
    weights = weights_of(arguments.run)
    if not any(weights.mates(node) for node in range(weights.nodes)):
        raise SystemExit("no two nodes have the same classes in this run")
    print("| round | mates have the largest weights | weight on mates, of that on others | weight on itself |")
    print("|---|---|---|---|")
    for round in weights.chosen(arguments.rounds):
        first, share = with_mates(weights, weights.by_round[round])
        own = np.diag(weights.by_round[round]).mean()
        print(f"| {round} | {100 * first:.0f} % of the nodes | {100 * share:.0f} % | {100 * own:.0f} % |")


def show_shared(arguments: argparse.Namespace) -> None:
    """Figure 7."""
    weights = weights_of(arguments.run)
    curves = {f"round {round}": by_shared(weights, round) for round in weights.chosen(arguments.rounds)}
    for name, points in curves.items():
        for shared, found in points:
            print(f"{name}, {shared:.0f} shared classes: {np.mean(found):.4f} ± {np.std(found):.4f}")
    draw_curves(curves, "Shared classes", arguments.out / f"{arguments.run.name}-shared.png", "Mixing weight")


def show_graph(arguments: argparse.Namespace) -> None:
    """The edges that are left."""
    weights = weights_of(arguments.run)
    draw_graph(weights, weights.chosen(arguments.rounds)[-1], arguments.out / f"{arguments.run.name}-graph.png")


def _write(path: Path, lines: Iterator[str]) -> None:
    text = "\n".join(lines) + "\n"
    write_atomically(path, text.encode())
    print(text)


def _file(name: str, changes: Sequence[str]) -> Mapping[str, Any]:
    """What a configuration says, as it stands in the file and with the changes of the command line."""
    experiment = config.load(CONFIGS / f"{name}.toml", BuiltIn(), list(changes))
    dumped: Mapping[str, Any] = experiment.model_dump()
    return {**dumped, "algorithm": experiment.algorithm.model_dump(exclude_unset=True)}


def _chosen(found: Sequence[Variant], only: Sequence[str] | None) -> list[Variant]:
    return [variant for variant in found if variant.name.startswith(tuple(only or [""]))]


Command = Callable[[argparse.Namespace], None]
MAKERS: Mapping[str, Command] = {"table": make_table, "transfer": make_transfer, "sweep": make_sweep}
SHOWERS: Mapping[str, Command] = {
    "weights": show_weights,
    "mates": show_mates,
    "shared": show_shared,
    "graph": show_graph,
}

if __name__ == "__main__":
    main()
