"""What agent 0 decides for all machines: when the run begins, when it ends, and that it fails. No input or output."""

from __future__ import annotations

import signal

from decentralized.agreement import Ledger
from decentralized.control import (
    Abort,
    Addresses,
    AnyFact,
    Exited,
    Fact,
    Failed,
    Finished,
    Listening,
    Refused,
    RoundDone,
    Stop,
)  # fmt: skip
from decentralized.errors import DecentralizedError, NodeFailed
from decentralized.run_directory import RunDirectory
from decentralized.types import NodeId


class Coordinator:
    """Hears the facts of all nodes; answers with the facts that go to all nodes and agents."""

    def __init__(self, nodes: int, directory: RunDirectory) -> None:
        self._nodes, self._directory = nodes, directory
        self._ledger = Ledger(nodes)
        self._book: dict[NodeId, str] = {}
        self._round: dict[NodeId, int] = {}  # the last one that a node completed
        self._finished: set[NodeId] = set()
        self._exited: set[NodeId] = set()
        self.abort: Abort | None = None

    @property
    def done(self) -> bool:
        """Whether every node has finished and left."""
        return len(self._exited) == self._nodes and len(self._finished) == self._nodes

    def missing(self) -> list[NodeId]:
        """The nodes that have not been heard of yet."""
        return [node for node in range(self._nodes) if node not in self._book]

    def hear(self, fact: AnyFact) -> list[Fact]:
        """Take in one fact; what follows from it for everybody."""
        if self.abort is not None:
            return []
        if isinstance(fact, Listening):
            self._book[fact.node] = fact.address
            return [Addresses(self._book)] if len(self._book) == self._nodes else []
        if isinstance(fact, RoundDone):
            self._round[fact.node] = fact.round
        if isinstance(fact, Finished):
            self._finished.add(fact.node)
            return [Stop()] if len(self._finished) == self._nodes else []
        if isinstance(fact, Exited):
            self._exited.add(fact.node)
            return [] if fact.node in self._finished else [self._give_up(self._died(fact))]
        if isinstance(fact, Failed):
            return [self._give_up(self._raised(fact))]
        if isinstance(fact, Refused):
            return [self._give_up(Abort(fact.error, fact.message, fact.advice, fact.exit_code))]
        return [self._give_up(fact)] if isinstance(fact, Abort) else self._ledger.hear(fact)

    def _give_up(self, abort: Abort) -> Abort:
        self.abort = abort
        return abort

    def _raised(self, fact: Failed) -> Abort:
        """A node that raised: which node, which round, the exception's last line, the log."""
        where = f"node {fact.node} failed {_after(fact.round)}: {fact.error}: "
        if fact.error == NodeFailed.__name__:  # nodes that are threads of one process: the message names the node
            where = ""
        own_code = fact.exit_code if fact.exit_code != DecentralizedError.exit_code else NodeFailed.exit_code
        return Abort(NodeFailed.__name__, f"{where}{fact.message}\n{self._log(fact.node)}", fact.advice, own_code)

    def _died(self, fact: Exited) -> Abort:
        """A node that ended without a word."""
        when = _after(self._round.get(fact.node, 0))
        message = f"node {fact.node} {_how(fact.status)} {when}\n{self._log(fact.node)}"
        advice = "Perhaps the system ran out of memory: `decentralized check CONFIG` says what the run needs."
        return Abort(NodeFailed.__name__, message, advice if fact.status == -9 else "", NodeFailed.exit_code)

    def _log(self, node: NodeId) -> str:
        return f"its log: {self._directory.node(node).log}"


def _after(round: int) -> str:
    """`round` is the last completed one; what came next may have been an evaluation."""
    return f"after round {round}" if round else "before the end of round 1"


def _how(status: int) -> str:
    """The end of a process from its exit code, or from minus the signal that killed it."""
    if status >= 0:
        return f"ended with status {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:  # a real-time signal
        name = f"signal {-status}"
    return f"was killed by {name}"
