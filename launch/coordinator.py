"""What agent 0 decides for all machines: when the run begins, when it ends, and that it fails. No input or output."""

from __future__ import annotations

from decentralized.control import Abort, Addresses, AnyFact, Exited, Fact, Failed, Finished, Listening, Refused, Stop
from decentralized.errors import NodeFailed
from decentralized.run_directory import RunDirectory
from decentralized.types import NodeId


class Coordinator:
    """Hears the facts of all nodes; answers with the facts that go to all nodes and agents."""

    def __init__(self, nodes: int, directory: RunDirectory) -> None:
        self._nodes, self._directory = nodes, directory
        self._book: dict[NodeId, str] = {}
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
        if isinstance(fact, Finished):
            self._finished.add(fact.node)
            return [Stop()] if len(self._finished) == self._nodes else []
        if isinstance(fact, Exited):
            self._exited.add(fact.node)
            return [] if fact.node in self._finished else [self._give_up(died(fact, self._directory))]
        if isinstance(fact, Failed):
            return [self._give_up(raised(fact, self._directory))]
        if isinstance(fact, Refused):
            return [self._give_up(Abort(fact.error, fact.message, fact.advice, fact.exit_code))]
        return [self._give_up(fact)] if isinstance(fact, Abort) else []

    def _give_up(self, abort: Abort) -> Abort:
        self.abort = abort
        return abort


def raised(fact: Failed, directory: RunDirectory) -> Abort:
    """The message for a node that raised: which node, which round, the exception's last line, the log."""
    log = directory.node(fact.node).log
    message = f"node {fact.node} failed in round {fact.round}: {fact.error}: {fact.message}\nits log: {log}"
    own_code = fact.exit_code if fact.exit_code != 1 else NodeFailed.exit_code
    return Abort(NodeFailed.__name__, message, fact.advice, own_code)


def died(fact: Exited, directory: RunDirectory) -> Abort:
    """The message for a node that ended without a word."""
    if fact.status == -9:
        how = "was killed (SIGKILL; perhaps the system ran out of memory)"
    elif fact.status < 0:
        how = f"was ended by signal {-fact.status}"
    else:
        how = f"ended with status {fact.status} before the run was over"
    message = f"node {fact.node} {how}\nits log: {directory.node(fact.node).log}"
    return Abort(NodeFailed.__name__, message, "", NodeFailed.exit_code)
