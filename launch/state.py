"""What is known of a running experiment: pure book-keeping over facts."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from decentralized.control import AnyFact, Evaluated, Exited, Finished, Listening, RoundDone, Status
from decentralized.types import NodeId

SILENT_S = 3.0  # nodes say what they do each second; one that does not is stopped, or in a long call
KEPT_EVALUATIONS = 30  # nodes that do not wait for each other can be as many evaluations apart


@dataclass
class RunState:
    """The newest facts of each node. Rounds and losses are of the nodes that this agent hears of."""

    nodes: int
    rounds: int
    started: float = field(default_factory=time.monotonic)
    began: float | None = None  # when the first addresses were sent: the first round
    addresses: dict[NodeId, str] = field(default_factory=dict)
    status: dict[NodeId, tuple[Status, float]] = field(default_factory=dict)  # and when it was heard
    gone: dict[NodeId, str] = field(default_factory=dict)  # and how
    pids: dict[NodeId, int] = field(default_factory=dict)
    round: dict[NodeId, int] = field(default_factory=dict)
    train_loss: dict[NodeId, float] = field(default_factory=dict)
    bytes_sent: dict[NodeId, int] = field(default_factory=dict)
    evaluations: dict[int, dict[NodeId, Mapping[str, float | None]]] = field(default_factory=dict)
    finished: dict[NodeId, Finished] = field(default_factory=dict)

    def restart(self, number: int) -> None:
        """Nodes begin (again) from a check-point; near its number, they say where exactly with their next round."""
        self.addresses.clear()
        self.finished.clear()
        self.status.clear()
        self.gone.clear()
        self.round = dict.fromkeys(self.round, number)

    def hear(self, fact: AnyFact) -> None:
        """Take in one fact of one node."""
        if isinstance(fact, Listening):
            self.addresses[fact.node] = fact.address
            self.pids[fact.node] = fact.pid
        elif isinstance(fact, Status):
            self.status[fact.node] = fact, time.monotonic()
        elif isinstance(fact, Exited):
            self.gone[fact.node] = "left" if fact.status == 0 else f"dead ({fact.status})"
        elif isinstance(fact, RoundDone):
            self.round[fact.node] = fact.round
            self.bytes_sent[fact.node] = fact.bytes_sent
            self.train_loss.pop(fact.node, None)  # no loss, or not a number: the last one would mislead
            if fact.train_loss is not None:
                self.train_loss[fact.node] = fact.train_loss
        elif isinstance(fact, Evaluated):
            self.evaluations.setdefault(fact.round, {})[fact.node] = fact.metrics
            while len(self.evaluations) > KEPT_EVALUATIONS:
                del self.evaluations[min(self.evaluations)]
        elif isinstance(fact, Finished):
            self.finished[fact.node] = fact
            self.round[fact.node] = fact.round
            self.bytes_sent[fact.node] = fact.totals["bytes_sent"]

    def silence(self, node: NodeId) -> float:
        """Seconds since the node last said what it does."""
        return time.monotonic() - self.status[node][1]

    def waits(self, longer_than_s: float = 0.0) -> dict[NodeId, NodeId]:
        """Who waits for whom, for longer than so many seconds, of the nodes that still say so."""
        return {
            node: fact.waits_for
            for node, (fact, _) in self.status.items()
            if fact.waits_for is not None and fact.since_s > longer_than_s and self.silence(node) < SILENT_S
        }

    @property
    def slowest_round(self) -> int:
        """The round that every node has completed."""
        return min(self.round.values()) if len(self.round) == self.nodes else 0

    def newest_evaluation(self, nodes: int) -> tuple[int, dict[NodeId, Mapping[str, float | None]]] | None:
        """The newest round at which `nodes` nodes have been evaluated, and their metrics."""
        complete = [round for round, results in self.evaluations.items() if len(results) >= nodes]
        return (max(complete), self.evaluations[max(complete)]) if complete else None
