"""Li et al., CVPR 2022, learning to collaborate: the runs, the tables and the pictures.

    python scripts/l2c_study.py table small --seeds 90 91 92    Tables 2, 3: all methods, mean and fairness
    python scripts/l2c_study.py transfer small --seeds 90 91    Table 4: an encoder that was trained on other tasks
    python scripts/l2c_study.py sweep small ratio               Figure 8: the share of the data for validation
    python scripts/l2c_study.py sweep small budget              Figure 9: the share of the nodes to talk to
    python scripts/l2c_study.py weights RUN --rounds 1 10 30    Figures 4, 5: heat maps of the mixing weights
    python scripts/l2c_study.py mates RUN                       Figure 4 in numbers: who has the largest weights
    python scripts/l2c_study.py shared RUN                      Figure 7: weight against number of shared classes
    python scripts/l2c_study.py graph RUN                       who still receives from whom at the end

`small`, `figure4`, ... are the configurations in configs/papers/l2c/. Runs that are finished are not made again;
`--set KEY=VALUE` changes anything, `--only` chooses methods. RUN is a run directory with `evaluation.weights = true`.
Figure 3 is `decentralized plot RUN... --x round --y test_accuracy` over the runs of a table.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from decentralized import config
from decentralized.build import BuiltIn
from decentralized.data.cards import data_root
from decentralized.metrics import read_metrics
from decentralized.prepare import prepare
from decentralized.report.series import Run, load_run
from decentralized.report.statistics import worst
from decentralized.report.tables import last_values
from decentralized.run_directory import RunDirectory, write_atomically

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = ROOT / "configs" / "papers" / "l2c"
PROGRAM = [sys.executable, "-m", "launch.cli"]
METRIC = "test_accuracy"
ALONE = "local SGD only"
MEGABYTE = 1_000_000
RATIOS = (0.1, 0.2, 0.3, 0.4, 0.5)
BUDGETS = (0.02, 0.04, 0.1, 0.3, 0.5)


@dataclass(frozen=True)
class Variant:
    """One line of a table: settings that take the place of those in the configuration's [algorithm]."""

    name: str
    algorithm: Mapping[str, object]
    others: Sequence[str] = ()

    def settings(self, rounds: int) -> list[str]:
        return [f"algorithm={_inline({'rounds': rounds, **self.algorithm})}", *self.others]


def variants(file: Mapping[str, Any]) -> list[Variant]:
    """The methods, with the pruning that the configuration asks for."""
    pruning = {key: value for key, value in file["algorithm"].items() if key != "name" and key != "rounds"}
    return [
        Variant(ALONE, {"name": "local"}),
        Variant("D-PSGD, all neighbors", {"name": "dpsgd"}, ("mixing=uniform",)),
        Variant("L2C", {**pruning, "name": "l2c"}),
        Variant("L2C, 5 steps", {**pruning, "name": "l2c", "weight_steps": 5}),
        Variant("meta-L2C", {**pruning, "name": "meta-l2c"}),
        Variant("meta-L2C, length 2", {**pruning, "name": "meta-l2c", "length": 2}),
    ]


FOMO = Variant("FOMO, all neighbors", {"name": "dpsgd"}, ("mixing=fomo",))
CLIENTS = 0.1  # share of the clients that a server draws in a round
SAMPLES = 50_000  # of each of the paper's three data sets, where a configuration uses all


def baselines(file: Mapping[str, Any]) -> list[Variant]:
    """What the paper compares with. All methods train for as many local epochs, however many rounds that takes.

    Half the rounds of Ditto, which trains two models, are as much work; "as many rounds" is the other reading, of the
    caption of figure 3, in which a client trains in a tenth of the rounds only.
    Of several graphs ("METHOD on GRAPH") a table shows the best, as the paper does.
    """
    rounds, nodes = file["algorithm"]["rounds"], file["nodes"]
    clients = max(1, round(CLIENTS * nodes))
    served = {"rounds": rounds * nodes // clients, "clients_per_round": clients}
    federated = {**served, "name": "federated", "send_all_every": 0}
    star = ("topology=star", *_rarely(file, nodes // clients))
    ditto = ("training.name=ditto", *star)  # which trains two models
    single = _steps_per_round(file)
    one_step = ("training.local_epochs=", "training.local_steps=1", *_rarely(file, single))
    found = [
        Variant("FedAvg", federated, star),
        Variant("Ditto", federated, ditto),
        Variant("Ditto, half the rounds", {**federated, "rounds": rounds * nodes // clients // 2}, ditto),
        Variant("Ditto, as many rounds", {**federated, "rounds": rounds}, ditto),
        Variant("FOMO, server", {**served, "name": "fomo"}, star),
        Variant("FOMO, server, as many rounds", {**served, "name": "fomo", "rounds": rounds}, star),
        FOMO,
    ]
    for title, name in (("D-PSGD", "dpsgd"), ("CGA", "cga")):
        for graph, topology in graphs(file).items():
            found.append(Variant(f"{title}, epochs on {graph}", {"name": name}, (topology,)))
            stepping = {"rounds": rounds * single, "name": name}
            found.append(Variant(f"{title}, 1 step on {graph}", stepping, (topology, *one_step)))
    return found


def graphs(file: Mapping[str, Any]) -> dict[str, str]:
    """The four graphs of the baselines; two of them with as many neighbors as pruning leaves (K - K0)."""
    nodes, prune = file["nodes"], file["algorithm"].get("prune", 0)
    count = min(nodes - prune if prune else max(2, round(CLIENTS * nodes)), nodes // 2)
    return {
        "ring": "topology=ring",
        "group-ring": f"topology={{name='group-ring', degree={max(2, count - count % 2)}}}",
        "bipartite": "topology=bipartite",
        "generalized bipartite": f"topology={{name='generalized-bipartite', neighbors={count}}}",
    }


def _steps_per_round(file: Mapping[str, Any]) -> int:
    data, training = file["data"], file["training"]
    train = round((1 - data["validation"]) * (data["samples"] or SAMPLES) / file["nodes"])
    return int(-(-train // training["batch_size"]) * training["local_epochs"])


def _rarely(file: Mapping[str, Any], times: int) -> tuple[str, str]:
    """Evaluate as often over the whole run, which has so many times more rounds; no weights."""
    return f"evaluation.every={file['evaluation']['every'] * times}", "evaluation.weights=false"


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
    """Tables 2 and 3."""
    file = _file(arguments.config, arguments.set)
    rows = {}
    for variant in _chosen([*variants(file), *baselines(file)], arguments.only):
        settings = [*arguments.set, *variant.settings(file["algorithm"]["rounds"])]
        rows[variant.name] = [
            load_run(make_run(arguments, variant.name, [*settings, f"seed={seed}"])) for seed in arguments.seeds
        ]
    _write(arguments.out / f"{arguments.config}.md", table(best_graphs(rows)))


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
    curves: dict[str, list[tuple[float, list[float]]]] = {}
    for variant in _chosen([*variants(file), FOMO], arguments.only):
        for x in RATIOS if arguments.what == "ratio" else BUDGETS:
            change = _at(x, arguments.what, variant, file["nodes"])
            if change is None:
                continue
            settings = [*arguments.set, *variant.settings(file["algorithm"]["rounds"]), *change]
            runs = [make_run(arguments, variant.name, [*settings, f"seed={seed}"]) for seed in arguments.seeds]
            found = [float(np.mean(last_values(load_run(run), METRIC))) for run in runs]
            curves.setdefault(variant.name, []).append((x, found))
    labels = {"ratio": "Share of a node's data for validation", "budget": "Share of the nodes that each one hears"}
    draw_curves(curves, labels[arguments.what], arguments.out / f"{arguments.config}-{arguments.what}.png")


def _at(x: float, what: str, variant: Variant, nodes: int) -> list[str] | None:
    """Settings of one point; None where the method has no such thing."""
    if what == "ratio":
        return [f"data.validation={x}"]
    kept = max(1, round(x * nodes))
    if variant.algorithm["name"] in ("l2c", "meta-l2c"):
        return [f"algorithm.prune={nodes - 1 - kept}"]
    return [f"topology={{name='group-ring', degree={kept + kept % 2}}}"] if "D-PSGD" in variant.name else None


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


# Pictures


@dataclass(frozen=True)
class Weights:
    """Of one run: round to the mixing weights (N, N) of its nodes, row i those that node i gave; and their classes."""

    by_round: Mapping[int, np.ndarray]
    classes: Sequence[frozenset[int]]

    @property
    def nodes(self) -> int:
        return len(self.classes)

    def chosen(self, rounds: Sequence[int] | None) -> list[int]:
        """The rounds asked for, or the first, the tenth and the last."""
        last = max(self.by_round)
        return list(dict.fromkeys(rounds or [1, min(10, last), last]))

    def mates(self, node: int) -> list[int]:
        """The other nodes with the same classes."""
        return [other for other in range(self.nodes) if other != node and self.classes[other] == self.classes[node]]


def weights_of(path: Path) -> Weights:
    """Read from a run directory; the classes come from its configuration, and the data."""
    directory = RunDirectory.open(path)
    experiment = config.load(directory.config, BuiltIn())
    prepared = prepare(experiment, data_root())
    classes = [frozenset(np.unique(prepared.data.train.targets[part.train]).tolist()) for part in prepared.parts]
    by_round: dict[int, np.ndarray] = {}
    for node in directory.nodes():
        for record in read_metrics(directory.node(node).metrics):
            found: Any = record.get("weights")
            if found:
                rows = by_round.setdefault(int(str(record["round"])), np.zeros((experiment.nodes, experiment.nodes)))
                for peer, weight in found.items():
                    rows[node, int(peer)] = weight
    if not by_round:
        raise SystemExit(f"{path} has no mixing weights: run it with --set evaluation.weights=true")
    return Weights(by_round, classes)


def show_weights(arguments: argparse.Namespace) -> None:
    """Figures 4 and 5: a heat map for each round."""
    weights = weights_of(arguments.run)
    rounds = weights.chosen(arguments.rounds)
    with _figure((2.7 * len(rounds) + 0.6, 2.9), columns=len(rounds)) as (figure, axes):
        most = max(float(weights.by_round[round].max()) for round in rounds)
        for place, round in zip(axes, rounds, strict=True):
            image = place.imshow(weights.by_round[round], vmin=0, vmax=most, cmap="viridis")
            place.set_title(f"round {round}")
            place.set_xlabel("sender")
        axes[0].set_ylabel("node")
        figure.colorbar(image, ax=list(axes), label="mixing weight")
        _save(figure, arguments.out / f"{arguments.run.name}-weights.png")


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


def with_mates(weights: Weights, rows_NN: np.ndarray) -> tuple[float, float]:
    """The share of the nodes whose mates have the largest weights outside itself, and the mean weight on mates there.

    Of equal weights those of mates count as the smaller ones.
    """
    first, shares = [], []
    for node in range(weights.nodes):
        mates = weights.mates(node)
        others = [other for other in range(weights.nodes) if other != node and other not in mates]
        if mates:
            first.append(min(rows_NN[node, mates]) > max(rows_NN[node, others], default=0.0))
            shares.append(rows_NN[node, mates].sum() / max(1e-300, rows_NN[node, [*mates, *others]].sum()))
    return float(np.mean(first)), float(np.mean(shares))


def show_shared(arguments: argparse.Namespace) -> None:
    """Figure 7: mean and deviation of the weights over all pairs with so many classes in common."""
    weights = weights_of(arguments.run)
    curves: dict[str, list[tuple[float, list[float]]]] = {}
    for round in weights.chosen(arguments.rounds):
        by_count: dict[int, list[float]] = {}
        for node in range(weights.nodes):
            for other in set(range(weights.nodes)) - {node}:
                count = len(weights.classes[node] & weights.classes[other])
                by_count.setdefault(count, []).append(float(weights.by_round[round][node, other]))
        curves[f"round {round}"] = sorted((float(count), found) for count, found in by_count.items())
        for shared, found in curves[f"round {round}"]:
            print(f"round {round}, {shared:.0f} shared classes: {np.mean(found):.4f} ± {np.std(found):.4f}")
    draw_curves(curves, "Shared classes", arguments.out / f"{arguments.run.name}-shared.png", "Mixing weight")


def show_graph(arguments: argparse.Namespace) -> None:
    """The edges that are left, on a circle of the nodes; the thicker the larger the weight."""
    weights = weights_of(arguments.run)
    last = weights.by_round[weights.chosen(arguments.rounds)[-1]]
    angles = 2 * np.pi * np.arange(weights.nodes) / weights.nodes
    x, y = np.cos(angles), np.sin(angles)
    with _figure((4.5, 4.5)) as (figure, (axes,)):
        for node, other in np.argwhere(last > 0):
            if node != other:
                shared = len(weights.classes[node] & weights.classes[other])
                ends = {"xy": (x[node], y[node]), "xytext": (x[other], y[other])}
                look = {"lw": 6 * last[node, other], "color": COLORS_BY_SHARED[min(shared, 2)]}
                axes.annotate("", **ends, arrowprops={"arrowstyle": "->", "shrinkA": 8, "shrinkB": 8, **look})
        for node in range(weights.nodes):
            label = ",".join(map(str, sorted(weights.classes[node])))
            axes.annotate(label, (1.12 * x[node], 1.12 * y[node]), ha="center", va="center", fontsize=7)
        axes.plot(x, y, "o", color="black", ms=5)
        axes.set_xlim(-1.3, 1.3)
        axes.set_ylim(-1.3, 1.3)
        axes.set_axis_off()
        axes.set_title("blue: all classes shared, green: some, grey: none", fontsize=8)
        _save(figure, arguments.out / f"{arguments.run.name}-graph.png")


COLORS_BY_SHARED = ("#bbbbbb", "#009E73", "#0072B2")


def draw_curves(
    curves: Mapping[str, Sequence[tuple[float, Sequence[float]]]], x_label: str, path: Path, y_label: str = "Accuracy"
) -> None:
    """Means with deviations."""
    from decentralized.report.plot import COLORS

    with _figure((5, 3.4)) as (figure, (axes,)):
        for number, (name, points) in enumerate(curves.items()):
            xs, found = [x for x, _ in points], [values for _, values in points]
            means, deviations = [np.mean(values) for values in found], [np.std(values) for values in found]
            axes.errorbar(xs, means, deviations, color=COLORS[number % len(COLORS)], marker="o", ms=3, label=name)
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        axes.grid(True, color="#d9d9d9", linewidth=0.6)
        axes.legend(frameon=False, fontsize=8)
        _save(figure, path)


@contextmanager
def _figure(size: tuple[float, float], columns: int = 1) -> Iterator[tuple[Any, Any]]:
    """A figure of matplotlib, and its axes (columns)."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    from decentralized.report.plot import STYLE

    with mpl.rc_context(STYLE):
        figure, axes = plt.subplots(1, columns, figsize=size, dpi=150, layout="constrained", squeeze=False)
        yield figure, axes[0]
        plt.close(figure)


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path)
    print(path)


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


def _inline(value: object) -> str:
    """As TOML in one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} = {_inline(item)}" for key, item in value.items()) + "}"
    return f"'{value}'" if isinstance(value, str) else str(value).lower()


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
