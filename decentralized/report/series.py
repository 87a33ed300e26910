"""A run directory as numbers: each node's metrics, and one curve per metric over all nodes.

Axes in names: R records of one node, N nodes, T rounds of a curve.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from decentralized.errors import RunDirectoryError
from decentralized.metrics import read_metrics
from decentralized.run_directory import RunDirectory
from decentralized.types import NodeId

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

NOT_METRICS = ("round",)


@dataclass(frozen=True)
class NodeSeries:
    """What one node recorded. `metrics` maps a name to (the records that have it, its values there)."""

    rounds_R: np.ndarray
    time_s_R: np.ndarray
    bytes_sent_R: np.ndarray
    completed: int  # the last round that the node finished
    metrics: Mapping[str, tuple[np.ndarray, np.ndarray]]

    def last(self, metric: str) -> tuple[int, float]:
        """Round and value of the last record that has the metric."""
        records, values = self.metrics[metric]
        return int(self.rounds_R[records[-1]]), float(values[-1])

    def total(self, metric: str) -> float:
        """The sum over all records; 0 without any."""
        return float(self.metrics[metric][1].sum()) if metric in self.metrics else 0.0


@dataclass(frozen=True)
class Curve:
    """A metric over the `count_T` nodes, round by round; only rounds at which all that got so far were evaluated."""

    rounds_T: np.ndarray
    time_s_T: np.ndarray  # mean over those nodes
    bytes_sent_T: np.ndarray  # mean over those nodes
    mean_T: np.ndarray
    std_T: np.ndarray
    min_T: np.ndarray
    max_T: np.ndarray
    count_T: np.ndarray


@dataclass(frozen=True)
class Run:
    """One run as far as it got. `problems` says what could not be read of it."""

    path: Path
    name: str
    config: Mapping[str, object]
    config_text: str
    environment: Mapping[str, object]
    summary: Mapping[str, object] | None
    nodes: Mapping[NodeId, NodeSeries]
    problems: tuple[str, ...] = ()

    @property
    def expected_nodes(self) -> int:
        """Nodes of the whole run; without a shared disk, some of them are not here."""
        nodes = self.config.get("nodes")
        return nodes if isinstance(nodes, int) else len(self.nodes)

    @property
    def rounds(self) -> int:
        """Rounds that all nodes completed. Nodes that the summary lists as `lost` do not hold the other ones back."""
        lost = (self.summary or {}).get("lost")
        away = set(lost) if isinstance(lost, list) else set()
        completed = [series.completed for node, series in self.nodes.items() if node not in away]
        return min(completed, default=0)

    def metrics(self) -> list[str]:
        """Names of all metrics that any node recorded, sorted."""
        return sorted({name for series in self.nodes.values() for name in series.metrics})

    def curve(self, metric: str) -> Curve:
        """The metric over the nodes, for the rounds that all nodes completed; raises RunDirectoryError if unknown."""
        having = [series for series in self.nodes.values() if metric in series.metrics]
        if not having:
            raise unknown_metric(metric, [self])
        return _curve(metric, having, self.rounds)


def load_run(path: Path | str) -> Run:
    """Read a run directory, finished or not. Raises RunDirectoryError if it is none, or if a metrics file is broken."""
    directory = RunDirectory.open(path)
    problems: list[str] = []
    text, config = _read_config(directory.config, problems)
    summary = _read_json(directory.summary, problems)
    series = {node: _node_series(directory.node(node).metrics) for node in directory.nodes()}
    name = config.get("name")
    return Run(
        path=directory.path,
        name=name if isinstance(name, str) else directory.path.resolve().name,
        config=config,
        config_text=text,
        environment=_read_json(directory.environment, problems) or {},
        summary=summary,
        nodes={node: one for node, one in series.items() if one.rounds_R.size},
        problems=tuple(problems),
    )


def unknown_metric(metric: str, runs: list[Run]) -> RunDirectoryError:
    """The error that names the metrics there are, those with the nearest names first."""
    names = sorted({name for run in runs for name in run.metrics()})
    where = ", ".join(str(run.path) for run in runs)
    if not names:
        return RunDirectoryError(f"no metrics yet in {where}", advice="Wait until the first round has ended.")
    names.sort(key=lambda name: -difflib.SequenceMatcher(a=metric, b=name).ratio())
    return RunDirectoryError(f"no metric {metric!r} in {where}", advice=f"There are: {', '.join(names)}.")


def _node_series(path: Path) -> NodeSeries:
    rounds: list[int] = []
    times: list[float] = []
    sent: list[float] = []
    columns: dict[str, tuple[list[int], list[float]]] = {}
    completed = -1
    for record in read_metrics(path):
        number = record.get("round")
        if not isinstance(number, int):
            raise RunDirectoryError(f"{path}: a record has no round: {record}")
        if record.get("kind") == "round":
            completed = max(completed, number)
        for name, value in record.items():
            if isinstance(value, (int, float)) and not isinstance(value, bool) and name not in NOT_METRICS:
                records, values = columns.setdefault(name, ([], []))
                records.append(len(rounds))
                values.append(value)
        rounds.append(number)
        times.append(_number(record.get("time_s")))
        sent.append(_number(record.get("bytes_sent")))
    return NodeSeries(
        rounds_R=np.array(rounds, dtype=np.int64),
        time_s_R=np.array(times, dtype=np.float64),
        bytes_sent_R=np.array(sent, dtype=np.float64),
        completed=max(rounds, default=0) if completed < 0 else completed,
        metrics={
            name: (np.array(where), np.array(values, dtype=np.float64)) for name, (where, values) in columns.items()
        },
    )


def _number(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) else float("nan")


def _curve(metric: str, nodes: list[NodeSeries], last_round: int) -> Curve:
    used = [_until(series, metric, last_round) for series in nodes]
    rounds_T = np.unique(np.concatenate([series.rounds_R[records] for series, records, _ in used]))
    shape = (len(used), len(rounds_T))
    here_NT = np.zeros(shape, dtype=bool)
    value_NT, time_NT, bytes_NT = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    for row, (series, records, values) in enumerate(used):
        columns = np.searchsorted(rounds_T, series.rounds_R[records])
        here_NT[row, columns] = True
        value_NT[row, columns] = values  # a round that is there twice counts once, with its last value
        time_NT[row, columns] = series.time_s_R[records]
        bytes_NT[row, columns] = series.bytes_sent_R[records]
    # A node that is stopped early is evaluated once more, at a last round of its own. The few nodes that were evaluated
    # at such a round say nothing of the others that got as far.
    reached_T = (np.array([series.completed for series, _, _ in used])[:, None] >= rounds_T).sum(axis=0)
    whole_T = here_NT.sum(axis=0) >= reached_T
    rounds_T, here_NT = rounds_T[whole_T], here_NT[:, whole_T]
    value_NT, time_NT, bytes_NT = value_NT[:, whole_T], time_NT[:, whole_T], bytes_NT[:, whole_T]
    count_T = here_NT.sum(axis=0)
    mean_T = value_NT.sum(axis=0) / count_T
    return Curve(
        rounds_T=rounds_T,
        time_s_T=time_NT.sum(axis=0) / count_T,
        bytes_sent_T=bytes_NT.sum(axis=0) / count_T,
        mean_T=mean_T,
        std_T=np.sqrt((np.where(here_NT, value_NT - mean_T, 0.0) ** 2).sum(axis=0) / count_T),
        min_T=np.where(here_NT, value_NT, np.inf).min(axis=0, initial=np.inf),
        max_T=np.where(here_NT, value_NT, -np.inf).max(axis=0, initial=-np.inf),
        count_T=count_T,
    )


def _until(series: NodeSeries, metric: str, last_round: int) -> tuple[NodeSeries, np.ndarray, np.ndarray]:
    records, values = series.metrics[metric]
    early = series.rounds_R[records] <= last_round
    return series, records[early], values[early]


def _read_config(path: Path, problems: list[str]) -> tuple[str, dict[str, object]]:
    text = ""
    try:
        text = path.read_text(encoding="utf-8")
        return text, tomllib.loads(text)
    except (OSError, ValueError) as error:  # ValueError: not UTF-8, or not TOML
        problems.append(f"{path} could not be read: {error}")
        return text, {}


def _read_json(path: Path, problems: list[str]) -> dict[str, object] | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, object])
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        problems.append(f"{path} could not be read: {error}")
        return None
