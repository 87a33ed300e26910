"""The figures of docs/benchmarks.md: `python scripts/benchmark.py NAME...`, or all of them without a name.

Each figure is a median over repeats, and stands beside a limit that is measured in the same run where there is one.
Nothing here is a test: machines differ, ratios less so.
"""

from __future__ import annotations

import importlib.util
import json
import math
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from decentralized import config
from decentralized.build import BuiltIn
from decentralized.compression.indices import decode_indices, encode_indices
from decentralized.compression.subset import seeded_indices
from decentralized.data.cards import data_root
from decentralized.in_memory import InMemoryRun
from decentralized.prepare import build_learner, prepare
from decentralized.run_directory import RunDirectory

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = [sys.executable, "-m", "launch.cli"]
MOVIELENS = ROOT / "configs" / "movielens.toml"
REPEATS = 3
ALPHAS = (0.01, 0.1, 0.3, 0.5)


def run(config: Path, out: Path, *settings: str) -> Path:
    """One run of the program; its run directory."""
    command = [*PROGRAM, "run", str(config), "--out", str(out), "--no-report"]
    for setting in settings:
        command += ["--set", setting]
    before = set(out.glob("*"))
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    (directory,) = set(out.glob("*")) - before
    return directory


def summary(directory: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((directory / "summary.json").read_text())
    return found


def events(directory: Path) -> dict[str, float]:
    """When each kind of event last happened, in seconds of the wall clock."""
    lines = (directory / "agents" / "00" / "events.jsonl").read_text().splitlines()
    return {event["event"]: event["time"] for event in map(json.loads, lines)}


def say(name: str, value: str) -> None:
    print(f"{name:<66} {value}", flush=True)


def middle(values: list[float]) -> float:
    return statistics.median(values)


def startup(out: Path) -> None:
    """96 MovieLens nodes: how fast they are up, what memory they take, how long a round is."""
    parameters = 217_014 * 4
    up, first, private, rounds, alone = [], [], [], [], []
    for _ in range(REPEATS):
        directory = run(MOVIELENS, out, "algorithm.rounds=40", "evaluation.every=0")
        when, result = events(directory), summary(directory)
        up.append(when["run"] - when["warm"])
        first.append(when["first-round"] - when["warm"])
        private.append((result["private_bytes"]["mean"] - parameters) / 1e6)
        rounds.append(result["time_s"] / 40)
        limit = run(MOVIELENS, out, "algorithm.rounds=40", "evaluation.every=0", "algorithm.name=local")
        alone.append(summary(limit)["time_s"] / 40)
    say("96 nodes listening, after the fork server's imports", f"{middle(up):.2f} s")
    say("96 nodes through round 1, after the fork server's imports", f"{middle(first):.2f} s")
    say("private memory of a node beyond its parameters (mean)", f"{middle(private):.1f} MB")
    say("a round of D-PSGD with full sharing, all 96 nodes", f"{middle(rounds):.3f} s")
    say("the same training without communication (the limit)", f"{middle(alone):.3f} s")
    say("ratio", f"{middle([a / b for a, b in zip(rounds, alone, strict=True)]):.2f}")


def evaluation(out: Path) -> None:
    """All 96 MovieLens nodes on their own test ratings, over two processes."""
    code = """
import os, sys, time
from pathlib import Path
from decentralized import config
from decentralized.build import BuiltIn
from decentralized.data.cards import data_root
from decentralized.prepare import build_learner, prepare
import torch
torch.set_num_threads(1)
prepared = prepare(config.load(Path(sys.argv[1]), BuiltIn()), data_root())
learners = [build_learner(prepared, node) for node in range(96)]
learners[0].evaluate("test", lambda: None)
began = time.monotonic()
child = os.fork()
for learner in learners[:48] if child else learners[48:]:
    learner.evaluate("test", lambda: None)
if not child:
    os._exit(0)
os.waitpid(child, 0)
print(time.monotonic() - began)
"""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    times = [
        float(subprocess.check_output([sys.executable, "-c", code, str(MOVIELENS)], env=environment, text=True))
        for _ in range(REPEATS)
    ]
    say("evaluating all 96 MovieLens nodes on their test ratings", f"{middle(times):.3f} s")


def encryption(out: Path) -> None:
    """The same runs with network.security = "plain" and "curve" in turns: what each round takes longer."""
    cases = (("16 nodes, MNIST", "mnist_two_classes", 10), ("96 nodes, MovieLens", "movielens", 20))
    for name, experiment, rounds in cases:
        settings = (f"algorithm.rounds={rounds}", "evaluation.every=0")
        round_s: dict[str, list[float]] = {"plain": [], "curve": []}
        for _ in range(3):
            for security, measured in round_s.items():
                chosen = f"network.security={security}"
                directory = run(ROOT / "configs" / f"{experiment}.toml", out, *settings, chosen)
                measured.append((events(directory)["end"] - events(directory)["first-round"]) / (rounds - 1))
        plain, curve = middle(round_s["plain"]), middle(round_s["curve"])
        say(f"{name}: one round, plain", f"{plain:.3f} s")
        say(f"{name}: one round, encrypted", f"{curve:.3f} s ({curve / plain:.2f} times)")


def changing(out: Path) -> None:
    """The same runs on a graph that stays and on ones that change, in turns: what each round takes longer.

    Processor time is that of all processes, without what a run of one round takes; other programs touch it little.
    """
    epidemic = ("topology={name='epidemic', degree=4}", "mixing.name=uniform")
    graphs: dict[str, tuple[str, ...]] = {
        "random-regular, 4 neighbors": ("topology={name='random-regular', degree=4}",),
        "epidemic, sends to 4": epidemic,
        "epidemic, 8 connections kept": (*epidemic, "network.connections=8"),
        "peer-sampling, 4 neighbors": ("topology={name='peer-sampling', peers=2}",),
    }
    for nodes, data, experiment, rounds in ((16, "digits", "demo", 300), (32, "MovieLens", "movielens", 60)):
        name, settings = f"{nodes} nodes, {data}", (f"nodes={nodes}", "evaluation.every=0")
        costs: dict[str, list[tuple[float, float]]] = {graph: [] for graph in graphs}
        for _ in range(REPEATS):
            for graph, measured in costs.items():
                file = ROOT / "configs" / f"{experiment}.toml"
                measured.append(cost_of_a_round(file, out, rounds, *settings, *graphs[graph]))
        (still, first), *others = costs.items()
        for place, what in enumerate(("", "of processor time ")):
            say(f"{name}: a round on {still}", f"{1000 * middle([cost[place] for cost in first]):.1f} ms {what}")
            for graph, measured in others:
                ratios = [a[place] / b[place] for a, b in zip(measured, first, strict=True)]
                took = f"{1000 * middle([cost[place] for cost in measured]):.1f} ms {what}"
                say(f"{name}: {graph}", f"{took}({middle(ratios):.2f} times)")


def cost_of_a_round(file: Path, out: Path, rounds: int, *settings: str) -> tuple[float, float]:
    """Seconds of the wall clock, and of all processors."""
    began = processor_s()
    run(file, out, "algorithm.rounds=1", *settings)
    start_s = processor_s() - began
    began = processor_s()
    when = events(run(file, out, f"algorithm.rounds={rounds}", *settings))
    used_s = processor_s() - began - start_s
    return (when["end"] - when["first-round"]) / (rounds - 1), used_s / (rounds - 1)


def processor_s() -> float:
    """Of all processes that were started from here and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def program(out: Path) -> None:
    """How fast the program answers when it need not train."""
    broken = out / "broken.toml"
    broken.write_text((ROOT / "configs" / "demo.toml").read_text().replace("hidden", "hiden"))
    completion = {"_DECENTRALIZED_COMPLETE": "complete_bash", "COMP_WORDS": "decentralized ru", "COMP_CWORD": "1"}
    cases: dict[str, tuple[list[str], Mapping[str, str]]] = {
        "--help": (["--help"], {}),
        "run --help": (["run", "--help"], {}),
        "shell completion": ([], completion),
        "check of a file with a mistake": (["check", str(broken)], {}),
        "check of a good file": (["check", str(ROOT / "configs" / "demo.toml")], {}),
    }
    python = middle([seconds([sys.executable, "-c", "pass"], {}) for _ in range(5)])
    say("python -c pass (the limit)", f"{python:.3f} s")
    for name, (arguments, extra) in cases.items():
        say(name, f"{middle([seconds([*PROGRAM, *arguments], extra) for _ in range(5)]):.3f} s")


def seconds(command: list[str], extra: Mapping[str, str]) -> float:
    began = time.monotonic()
    subprocess.run(command, cwd=ROOT, env={**os.environ, **extra}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.monotonic() - began


def digits(out: Path) -> None:
    """The demo beside one process that has all the data."""
    demo = ROOT / "configs" / "demo.toml"
    together = summary(run(demo, out))["final"]["test_accuracy"]
    alone = summary(run(demo, out, "nodes=1", "algorithm.name=local", "topology.name=full"))["final"]["test_accuracy"]
    isolated = summary(run(demo, out, "algorithm.name=local"))["final"]["test_accuracy"]
    say("digits, 16 nodes, D-PSGD: mean (worst) test accuracy", f"{together['mean']:.4f} ({together['min']:.4f})")
    say("digits, one process with all the data", f"{alone['mean']:.4f}")
    say("digits, 16 nodes that never communicate: mean (worst)", f"{isolated['mean']:.4f} ({isolated['min']:.4f})")


def mnist(out: Path) -> None:
    """Two classes on each node of a ring: what communication is worth."""
    config = ROOT / "configs" / "mnist_two_classes.toml"
    for name in ("dpsgd", "local"):
        final = summary(run(config, out, f"algorithm.name={name}"))["final"]["test_accuracy"]
        say(f"MNIST, 2 classes a node, ring of 16, {name}: mean (worst)", f"{final['mean']:.4f} ({final['min']:.4f})")


def indices(out: Path) -> None:
    """How many bits the index of a sparse message takes, and how fast it is written and read, on one core.

    bits: for each index; bound: the entropy H(alpha) / alpha of random indices; ratio: bits over bound. Real sets are
    less random and may go below it.
    """
    say(
        "sparse messages: alpha, of parameters",
        "bits  bound  ratio  coding          write + read, million parameters/s",
    )
    for total in (217_014, 1_700_000):
        for alpha in ALPHAS:
            index_coding("random", seeded_indices(90, alpha, total), total)
    for name, file in (("MovieLens top-k", MOVIELENS), ("digits top-k", ROOT / "configs" / "demo.toml")):
        before_P, after_P = trained(file, out / name)
        for alpha in ALPHAS:
            count = round(alpha * len(after_P))
            chosen = np.sort(np.argpartition(np.abs(after_P - before_P), -count)[-count:])
            buffer = index_coding(name, chosen, len(after_P))
            for what, array in (("indices", buffer), ("values", after_P[chosen])):
                again(f"{name}, alpha {alpha}: {what}", array.tobytes())


def index_coding(name: str, chosen: np.ndarray, total: int) -> np.ndarray:
    """Print the figures of one set of indices; its bytes. Processor time is taken: other programs may be running."""
    times = []
    for _ in range(21):
        began = time.process_time()
        encoded = encode_indices(chosen, total)
        decode_indices(encoded.buffer, encoded.scalars, total)
        times.append(time.process_time() - began)
    alpha, bits = len(chosen) / total, 8 * len(encoded.buffer) / len(chosen)
    bound = -(alpha * math.log2(alpha) + (1 - alpha) * math.log2(1 - alpha)) / alpha
    speed = total / middle(times) / 1e6
    figures = f"{bits:.3f}  {bound:.3f}  {bits / bound:.3f}  {encoded.scalars['coding']:<14}  {speed:.0f}"
    say(f"{name}, alpha {alpha:.2f} of {total}", figures)
    return encoded.buffer


def again(name: str, content: bytes) -> None:
    """Whether a general compressor on top would pay: what is left, and how much it reads in a second."""
    compressors: dict[str, Callable[[bytes], bytes]] = {"zlib level 1": lambda raw: zlib.compress(raw, 1)}
    if importlib.util.find_spec("zstandard"):
        compressors["zstandard level 1"] = importlib.import_module("zstandard").ZstdCompressor(1).compress
    for compressor, compress in compressors.items():
        times = []
        for _ in range(5):
            began = time.process_time()
            left = len(compress(content)) / len(content)
            times.append(time.process_time() - began)
        say(f"  {name}, {compressor}", f"{left:.0%} left, {len(content) / middle(times) / 1e6:.0f} MB/s")


def trained(file: Path, out: Path) -> tuple[np.ndarray, np.ndarray]:
    """The parameters of node 0 before and after 20 rounds of the experiment."""
    experiment = config.load(file, BuiltIn(), ["algorithm.rounds=20", "evaluation.every=0"])
    prepared = prepare(experiment, data_root())
    before_P = build_learner(prepared, 0).vector().detach().clone().numpy()
    finished = InMemoryRun(prepared, RunDirectory.join(out), lambda *ignored, **also: None, lambda line: None)
    finished.run()
    return before_P, finished.learners[0].vector().detach().numpy()


BENCHMARKS: dict[str, Callable[[Path], None]] = {
    "program": program,
    "startup": startup,
    "encryption": encryption,
    "changing": changing,
    "evaluation": evaluation,
    "digits": digits,
    "mnist": mnist,
    "indices": indices,
}


def main() -> None:
    names = sys.argv[1:] or list(BENCHMARKS)
    unknown = sorted(set(names) - set(BENCHMARKS))
    if unknown:
        sys.exit(f"unknown benchmark {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    for name in names:
        with tempfile.TemporaryDirectory() as out:
            BENCHMARKS[name](Path(out))


if __name__ == "__main__":
    main()
