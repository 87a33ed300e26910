"""One node's life: hello, drive the rounds, evaluate, log, save the model, bye."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import safetensors.numpy

from decentralized import __version__, build, checkpoint
from decentralized.agreement import NodeAgreement
from decentralized.channel import Channel, ChannelSettings
from decentralized.config import evaluated_nodes
from decentralized.control import Evaluated, Finished, RoundDone, Status, Tell
from decentralized.departures import Departures
from decentralized.errors import HelloMismatch
from decentralized.interfaces import Algorithm, Context, Learner
from decentralized.keeper import Keeper
from decentralized.lazy import torch
from decentralized.memory import NodeMemory
from decentralized.metrics import MetricsFile
from decentralized.prepare import Prepared, build_context, build_learner
from decentralized.run_directory import NodeDirectory, write_atomically
from decentralized.topologies.static import StaticTopology
from decentralized.types import Message, NodeId, Payload, Quiet, RoundReport, Scalar, State

HELLO = "hello"
MESSAGE_SLACK = 4  # a message may be this many times larger than the parameters
MIN_MESSAGE_BYTES = 1024 * 1024


def channel_settings(prepared: Prepared, run: bytes, life: int = 1) -> ChannelSettings:
    """How a node of the run `run` (8 bytes) talks to its peers in its `life`-th life."""
    largest = max(MIN_MESSAGE_BYTES, MESSAGE_SLACK * 4 * prepared.parameters)
    # Walks wait at a slow node, in the worst case all of them: there are as many as nodes.
    nodes = prepared.experiment.nodes
    remembers = prepared.experiment.network.on_peer_loss == "continue"
    return ChannelSettings(
        run,
        prepared.experiment.network.deadline_s,
        largest,
        life,
        max_waiting=64 + nodes,
        max_waiting_payloads=4 + nodes,
        remembers=remembers,
    )


def departures_of(
    prepared: Prepared, keeper: Keeper, tell: Tell, channel: Callable[[], Channel | None] = lambda: None
) -> Departures:
    """What the keeper's node knows of lost ones."""
    neighbors = StaticTopology(prepared.graph, keeper.node).neighbors(1)
    return Departures(keeper, {*neighbors.send_to, *neighbors.receive_from}, tell, channel)


def keeper_of(prepared: Prepared, node: NodeId, tell: Tell, number: int = 0) -> Keeper:
    """When this node check-points. Threads of one process cannot be resumed, and do not."""
    experiment = prepared.experiment
    every = 0 if experiment.network.transport == "memory" else experiment.checkpoint.every
    return Keeper(node, every, int(getattr(experiment.algorithm, "rounds", 0)), tell, number)


@dataclass
class Node:
    """A node that is connected and about to run. `log` takes one line for people.

    It goes on from the keeper's check-point, if that has a number.
    """

    prepared: Prepared
    node: NodeId
    channel: Channel
    directory: NodeDirectory
    tell: Tell
    log: Callable[[str], None]
    agreement: NodeAgreement
    keeper: Keeper
    departures: Departures
    round: int = 0
    activity: str = "starting"
    age: int | None = None
    checkpoints: int = 0
    checkpoint_s: float = 0.0

    def run(self) -> Learner:
        """All rounds of the algorithm, or up to a halt. Raises whatever goes wrong; `round` says where."""
        learner = build_learner(self.prepared, self.node)
        context = build_context(
            self.prepared, self.node, learner, self.channel, self.agreement, self.keeper, self.departures
        )
        algorithm = build.create("algorithm", self.prepared.experiment.algorithm)
        memory = NodeMemory(self.prepared, context, algorithm)
        start = self.keeper.number
        saved: Any = checkpoint.read(self.directory.make().checkpoint, start) if start else {}
        log = _Log(self, learner, saved.get("log"))
        with log.open() as metrics:
            self._hello(context)
            self.departures.greeted = True
            if saved:
                memory.put_back(saved)  # after the hello, which is counted once in a run
                self.round = log.round
            log.begin(metrics)
            log.evaluate(0)
            if self._rounds(algorithm, context, memory, log):
                return learner
            log.evaluate(self.round)
        totals = {**self._totals(), **context.totals}  # before saving, which takes memory that the rounds do not
        time_s = log.time_s
        write_atomically(self.directory.model, safetensors.numpy.save(_contiguous(learner.arrays())))
        self.tell(Finished(self.node, self.round, time_s, jsonable(log.last), totals))
        return learner

    def _rounds(self, algorithm: Algorithm, context: Context, memory: NodeMemory, log: _Log) -> bool:
        """Whether the run stops before its end, with a check-point."""
        every = self.prepared.experiment.evaluation.every
        keeper = self.keeper
        self.activity = "training"
        for event in algorithm.rounds(context, self.round + 1):
            if isinstance(event, Quiet):
                self._save(event.number, memory, log)
                if event.stops:
                    self.keeper.stopped()
                    return True
                continue
            self.round = event.round
            self.age = int(event.metrics["age"]) if "age" in event.metrics else None
            log.report(event)
            if every and event.round % every == 0:
                log.evaluate(event.round)
            if keeper.synchronous:
                if self._pause(event.round, memory, log):
                    return True
                keeper.passed(event.round)
        return False

    def _pause(self, round: int, memory: NodeMemory, log: _Log) -> bool:
        """Between two rounds of a synchronous run: check-point if it is time. Whether the run stops here."""
        keeper = self.keeper
        while True:  # a halt may be asked for while a check-point is being written
            if keeper.held():
                self.channel.drain(lambda: not keeper.held())
            if not keeper.due(round) or keeper.number >= round or self.departures.lost:
                break
            self._save(round, memory, log)
        if keeper.stops_at(round):
            keeper.stopped()
        return keeper.stops_at(round)

    def _save(self, number: int, memory: NodeMemory, log: _Log) -> None:
        """Check-point; those before the newest that all nodes have are not needed any more.

        A run that goes on without lost nodes is resumed, with them, from what all of them had: there is no newer one.
        """
        if self.departures.lost:
            return
        began = time.monotonic()
        before, self.activity = self.activity, "check-pointing"
        log.sync()
        folder = self.directory.checkpoint
        self.channel.progress()
        checkpoint.write(folder, number, memory.take(log.state()))
        checkpoint.prune(folder, self.keeper.committed)
        self.checkpoints += 1
        self.checkpoint_s += time.monotonic() - began
        self.keeper.written(number)
        self.activity = before

    def status(self) -> Status:
        """What the node does now."""
        waits = self.channel.waits_for
        if waits is None:
            return Status(self.node, self.activity, None, 0.0, self.age)
        peer, since = waits
        return Status(self.node, "waiting", peer, time.monotonic() - since, self.age)

    def _hello(self, context: Context) -> None:
        """Make sure that every neighbor runs the same thing before anything else is exchanged."""
        neighbors = context.topology.neighbors(1)
        peers = sorted({*neighbors.send_to, *neighbors.receive_from})
        self.channel.admit(peers)
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
        counts = {**traffic(self.channel), **dropped(self.channel), "private_bytes": private_bytes()}
        saved = {"checkpoints": self.checkpoints, "checkpoint_ms": round(1000 * self.checkpoint_s)}
        return {**counts, **(saved if self.checkpoints else {})}


class _Log:
    """Writes a node's rounds and evaluations to its metrics file and tells its agent.

    `saved`: what `state` said at the check-point from which the node goes on.
    """

    def __init__(self, node: Node, learner: Learner, saved: Any = None) -> None:
        self._node, self._learner = node, learner
        settings = node.prepared.experiment.evaluation
        self._settings = settings
        self._evaluates = node.node in evaluated_nodes(settings, node.prepared.experiment.nodes)
        saved = saved or {"round": 0, "evaluated": -1, "last": {}, "time_s": 0.0, "length": 0}
        self.round: int = saved["round"]
        self._evaluated: int = saved["evaluated"]
        self.last: dict[str, float] = dict(saved["last"])  # the newest metrics of any kind
        self._earlier_s: float = saved["time_s"]
        self._length: int = saved["length"]
        if self.round:
            self._evaluated = max(self._evaluated, 0)

    def open(self) -> MetricsFile:
        """The metrics file, without what was written after the check-point."""
        return MetricsFile(self._node.directory.make().metrics, self._length)

    def begin(self, metrics: MetricsFile) -> None:
        """The clock of the metrics starts, or goes on."""
        self._metrics, self._began = metrics, time.monotonic() - self._earlier_s

    def state(self) -> State:
        return {
            "round": self._node.round,
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
        self.last.update(report.metrics)
        loss = jsonable(report.metrics).get("train_loss")
        sent = self._node.channel.traffic.sent
        self._node.tell(RoundDone(self._node.node, report.round, loss, sent), droppable=True)

    def evaluate(self, round: int) -> None:
        """Measure the model as it is after `round`, unless that has been done."""
        if not self._evaluates or round <= self._evaluated:
            return
        self._evaluated = round
        before, self._node.activity = self._node.activity, "evaluating"
        began = time.monotonic()
        progress = self._node.channel.progress
        results = {f"test_{name}": value for name, value in self._learner.evaluate("test", progress).items()}
        for name, value in self._learner.evaluate("validation", progress).items():
            results[f"validation_{name}"] = value
        if self._settings.train and (after := self._learner.evaluate("train", progress)):
            results["train_loss_after"] = after["loss"]
        record = {
            "kind": "evaluation",
            "round": round,
            "time_s": self.time_s,
            "evaluate_s": time.monotonic() - began,
            "bytes_sent": self._node.channel.traffic.sent,
        }
        self._metrics.append({**record, **results})
        self.last.update(results)
        self._node.tell(Evaluated(self._node.node, round, jsonable(results)))
        self._node.activity = before


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


def _contiguous(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: np.ascontiguousarray(array) for name, array in arrays.items()}
