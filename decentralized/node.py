"""One node's life: hello, drive the rounds, evaluate, log, save the model, bye."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import safetensors.numpy

from decentralized import __version__, build
from decentralized.agreement import NodeAgreement
from decentralized.channel import Channel, ChannelSettings
from decentralized.config import evaluated_nodes
from decentralized.control import Evaluated, Finished, RoundDone, Tell
from decentralized.errors import HelloMismatch
from decentralized.interfaces import Context, Learner
from decentralized.lazy import torch
from decentralized.metrics import MetricsFile
from decentralized.prepare import Prepared, build_context, build_learner
from decentralized.run_directory import NodeDirectory, write_atomically
from decentralized.types import Message, NodeId, Payload, RoundReport, Scalar

HELLO = "hello"
MESSAGE_SLACK = 4  # a message may be this many times larger than the parameters
MIN_MESSAGE_BYTES = 1024 * 1024


def channel_settings(prepared: Prepared, run: bytes) -> ChannelSettings:
    """How a node of the run `run` (8 bytes) talks to its peers."""
    largest = max(MIN_MESSAGE_BYTES, MESSAGE_SLACK * 4 * prepared.parameters)
    # Walks wait at a slow node, in the worst case all of them: there are as many as nodes.
    nodes = prepared.experiment.nodes
    return ChannelSettings(
        run, prepared.experiment.network.deadline_s, largest, max_waiting=64 + nodes, max_waiting_payloads=4 + nodes
    )


@dataclass
class Node:
    """A node that is connected and about to run. `log` takes one line for people."""

    prepared: Prepared
    node: NodeId
    channel: Channel
    directory: NodeDirectory
    tell: Tell
    log: Callable[[str], None]
    agreement: NodeAgreement
    round: int = 0

    def run(self) -> Learner:
        """All rounds of the algorithm. Raises whatever goes wrong; `round` says where."""
        experiment = self.prepared.experiment
        learner = build_learner(self.prepared, self.node)
        context = build_context(self.prepared, self.node, learner, self.channel, self.agreement)
        self._hello(context)
        began = time.monotonic()
        with MetricsFile(self.directory.make().metrics) as metrics:
            log = _Log(self, learner, metrics, began)
            log.evaluate(0)
            for report in build.create("algorithm", experiment.algorithm).rounds(context):
                self.round = report.round
                log.round(report)
                if experiment.evaluation.every and report.round % experiment.evaluation.every == 0:
                    log.evaluate(report.round)
            log.evaluate(self.round)
        totals = {**self._totals(), **context.totals}  # before saving, which takes memory that the rounds do not
        write_atomically(self.directory.model, safetensors.numpy.save(_contiguous(learner.arrays())))
        time_s = time.monotonic() - began
        self.tell(Finished(self.node, self.round, time_s, jsonable(log.last), totals))
        return learner

    def _hello(self, context: Context) -> None:
        """Make sure that every neighbor runs the same thing before anything else is exchanged."""
        neighbors = context.topology.neighbors(1)
        peers = sorted({*neighbors.send_to, *neighbors.receive_from})
        mine = self._identity(context.learner)
        self.channel.broadcast(peers, Message(HELLO, 0, self.node, Payload({}, mine)))
        for peer, message in self.channel.collect(HELLO, 0, peers):
            self._compare(peer, mine, message.payload.scalars)

    def _identity(self, learner: Learner) -> dict[str, Scalar]:
        return {
            "schema": learner.schema(),
            "graph": self.prepared.graph_hash,
            "nodes": self.prepared.experiment.nodes,
            "seed": self.prepared.experiment.seed,
            "version": __version__,
            "torch": str(torch.version.__version__),
            "processor": torch.backends.cpu.get_cpu_capability(),
            "threads": torch.get_num_threads(),
        }

    def _compare(self, peer: NodeId, mine: Mapping[str, Scalar], theirs: Mapping[str, Scalar]) -> None:
        differing = [key for key in mine if mine[key] != theirs.get(key)]
        named = ", ".join(f"{key} {mine[key]} here, {str(theirs.get(key))[:40]!r} there" for key in differing)
        if {"schema", "graph", "nodes", "seed", "version"} & set(differing):
            raise HelloMismatch(f"node {self.node} and node {peer} do not run the same thing: {named}")
        if differing:
            self.log(f"node {peer} differs ({named}): results may differ in the last bits from other machines")

    def _totals(self) -> dict[str, int]:
        return {**traffic(self.channel), "dropped": self.channel.dropped.total(), "private_bytes": private_bytes()}


class _Log:
    """Writes a node's rounds and evaluations to its metrics file and tells its agent."""

    def __init__(self, node: Node, learner: Learner, metrics: MetricsFile, began: float) -> None:
        self._node, self._learner, self._metrics, self._began = node, learner, metrics, began
        settings = node.prepared.experiment.evaluation
        self._settings = settings
        self._evaluates = node.node in evaluated_nodes(settings, node.prepared.experiment.nodes)
        self._evaluated = -1
        self.last: dict[str, float] = {}  # the newest metrics of any kind

    def round(self, report: RoundReport) -> None:
        record: dict[str, object] = {
            "kind": "round",
            "round": report.round,
            "time_s": time.monotonic() - self._began,
            **report.metrics,
            **traffic(self._node.channel),
            "fit_s": report.fit_s,
            "wait_s": report.wait_s,
            "mix_s": report.mix_s,
        }
        if self._settings.weights:
            record["weights"] = {str(peer): weight for peer, weight in report.weights.items()}
        self._metrics.append(record)
        self.last.update(report.metrics)
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
        results = {f"test_{name}": value for name, value in self._learner.evaluate("test", progress).items()}
        for name, value in self._learner.evaluate("validation", progress).items():
            results[f"validation_{name}"] = value
        if self._settings.train and (after := self._learner.evaluate("train", progress)):
            results["train_loss_after"] = after["loss"]
        now = time.monotonic()
        record = {"kind": "evaluation", "round": round, "time_s": now - self._began, "evaluate_s": now - began}
        self._metrics.append({**record, "bytes_sent": self._node.channel.traffic.sent, **results})
        self.last.update(results)
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


def _contiguous(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: np.ascontiguousarray(array) for name, array in arrays.items()}
