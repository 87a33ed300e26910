"""Run directories whose metrics are closed forms, so that every mean and band is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from decentralized.metrics import MetricsFile
from decentralized.run_directory import RunDirectory, write_atomically

EVERY = 10
BYTES_A_ROUND = 1_000_000


def accuracy(node: int, round: int) -> float:
    """0.01 apart from node to node, 0.001 from round to round."""
    return 0.1 + 0.01 * node + 0.001 * round


def write_run(
    path: Path,
    lengths: Sequence[int],
    name: str = "ring",
    settings: str = "",
    summary: dict[str, object] | None = None,
    value: Callable[[int, int], float] = accuracy,
) -> Path:
    """Node i completes lengths[i] rounds, sends (i + 1) MB and takes 2 s in each, and is evaluated every 10th."""
    directory = RunDirectory.join(path)
    write_atomically(directory.config, f'name = "{name}"\nnodes = {len(lengths)}\n{settings}'.encode())
    if summary is not None:
        write_atomically(directory.summary, msgspec.json.encode(summary))
    for node, length in enumerate(lengths):
        with MetricsFile(directory.node(node).make().metrics) as metrics:
            for round in range(length + 1):
                spent = {"round": round, "time_s": 2.0 * round, "bytes_sent": (node + 1) * BYTES_A_ROUND * round}
                if round > 0:
                    metrics.append({"kind": "round", **spent, "train_loss": 1 / round, "fit_s": 0.5, "custom": node})
                if round % EVERY == 0:
                    metrics.append({"kind": "evaluation", **spent, "test_accuracy": value(node, round)})
    return path
