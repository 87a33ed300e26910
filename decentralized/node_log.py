"""What a node writes into its metrics file and tells its agent: rounds, evaluations, and what has been counted."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from decentralized.channel import Channel
from decentralized.config import Experiment, evaluated_nodes
from decentralized.control import Evaluated, RoundDone, Tell
from decentralized.interfaces import Learner
from decentralized.metrics import MetricsFile
from decentralized.run_directory import NodeDirectory
from decentralized.types import NodeId, RoundReport, State


@dataclass(frozen=True)
class Reporter:
    """Who writes, where to, and about what."""

    node: NodeId
    experiment: Experiment
    directory: NodeDirectory
    channel: Channel
    learner: Learner
    tell: Tell


class NodeLog:
    """The metrics of one node. `saved`: what `state` said at the check-point from which the node goes on."""

    def __init__(self, reporter: Reporter, saved: Any = None) -> None:
        self._node, self._settings = reporter, reporter.experiment.evaluation
        self._evaluates = reporter.node in evaluated_nodes(self._settings, reporter.experiment.nodes)
        saved = saved or {"round": 0, "evaluated": -1, "last": {}, "time_s": 0.0, "length": 0}
        self.round: int = saved["round"]  # the last one that is over
        self._evaluated: int = saved["evaluated"]
        self.last: dict[str, float] = dict(saved["last"])  # the newest metrics of any kind
        self._earlier_s: float = saved["time_s"]
        self._length: int = saved["length"]

    def open(self) -> MetricsFile:
        """The metrics file, without what was written after the check-point."""
        return MetricsFile(self._node.directory.make().metrics, self._length)

    def begin(self, metrics: MetricsFile) -> None:
        """The clock of the metrics starts, or goes on."""
        self._metrics, self._began = metrics, time.monotonic() - self._earlier_s

    def state(self) -> State:
        return {
            "round": self.round,
            "evaluated": self._evaluated,
            "last": dict(self.last),
            "time_s": self.time_s,
            "length": self._metrics.length(),
        }

    @property
    def time_s(self) -> float:
        """Seconds since the node was ready to begin, without the time between a check-point and a resume."""
        return time.monotonic() - self._began

    def sync(self) -> None:
        """What a check-point counts on must be on the disk before it."""
        self._metrics.sync()

    def report(self, report: RoundReport) -> None:
        """A round is over."""
        self.round = report.round
        record: dict[str, object] = {
            "kind": "round",
            "round": report.round,
            "time_s": self.time_s,
            **report.metrics,
            **traffic(self._node.channel),
            "fit_s": report.fit_s,
            "wait_s": report.wait_s,
            "mix_s": report.mix_s,
        }
        if self._settings.weights:
            record["weights"] = {str(peer): weight for peer, weight in report.weights.items()}
        self._metrics.append(record)
        self.last.update((name, float(value)) for name, value in report.metrics.items())
        loss = jsonable(report.metrics).get("train_loss")
        sent = self._node.channel.traffic.sent
        self._node.tell(RoundDone(self._node.node, report.round, loss, sent), droppable=True)

    def evaluate(self, round: int) -> None:
        """Measure the model as it is after `round`, unless that has been done."""
        if not self._evaluates or round == self._evaluated:
            return
        self._evaluated = round
        began = time.monotonic()
        progress = self._node.channel.progress
        results = {f"test_{name}": value for name, value in self._node.learner.evaluate("test", progress).items()}
        for name, value in self._node.learner.evaluate("validation", progress).items():
            results[f"validation_{name}"] = value
        if self._settings.train and (after := self._node.learner.evaluate("train", progress)):
            results["train_loss_after"] = after["loss"]
        record = {
            "kind": "evaluation",
            "round": round,
            "time_s": self.time_s,
            "evaluate_s": time.monotonic() - began,
            "bytes_sent": self._node.channel.traffic.sent,
        }
        self._metrics.append({**record, **results})
        self.last.update((name, float(value)) for name, value in results.items())
        self._node.tell(Evaluated(self._node.node, round, jsonable(results)))


def traffic(channel: Channel) -> dict[str, int]:
    """The channel's byte counts under the names that metrics use."""
    counts = channel.traffic
    return {
        "bytes_sent": counts.sent,
        "bytes_values": counts.values,
        "bytes_indices": counts.indices,
        "bytes_header": counts.header,
        "bytes_control": counts.control,
        "bytes_resent": counts.resent,
        "messages_sent": counts.messages,
    }


def dropped(channel: Channel) -> dict[str, int]:
    """Messages that were dropped, all and by reason, and connections that were refused."""
    reasons: Counter[str] = Counter()
    for key, count in channel.dropped.items():
        reasons[f"dropped, {key.rpartition('/')[0]}"] += count
    refused = {f"refused, {reason}": count for reason, count in channel.refused.items()}
    return {"dropped": channel.dropped.total(), **reasons, **refused}


def private_bytes() -> int:
    """Memory that only this process uses; 0 where the system does not say."""
    try:
        with open("/proc/self/smaps_rollup", encoding="ascii") as file:
            return sum(int(line.split()[1]) * 1024 for line in file if line.startswith("Private_"))
    except OSError:
        return 0


def jsonable(metrics: Mapping[str, float]) -> dict[str, float | None]:
    """JSON has no NaN and no infinity."""
    return {name: value if math.isfinite(value) else None for name, value in metrics.items()}
