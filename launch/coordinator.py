"""What agent 0 decides for all machines: when a life of the nodes begins, when the run ends, and that it fails.

No input or output. A life is all nodes from their start to their end; a run has one, and one more for each time that
its nodes had to be started again.
"""

from __future__ import annotations

from collections.abc import Collection

from decentralized.agreement import Ledger
from decentralized.config import Network
from decentralized.control import (
    Abort,
    Addresses,
    AnyFact,
    Begin,
    Begun,
    Bereaved,
    Checkpointed,
    Exited,
    Fact,
    Failed,
    Finished,
    Halt,
    Halted,
    Kill,
    Listening,
    Parted,
    Ready,
    Refused,
    Rollback,
    RoundDone,
    Said,
    Silent,
    Stop,
)  # fmt: skip
from decentralized.errors import NodeFailed
from decentralized.run_directory import RunDirectory
from decentralized.types import NodeId
from launch.farewell import Farewell
from launch.halts import Halts
from launch.hello import differences
from launch.loss import Loss

LASTING = ("ConfigError", "HelloMismatch", "StateError", "StorageError")  # a new life would end the same way


class Coordinator:
    """Hears the facts of all nodes; answers with the facts that go to all nodes and agents."""

    def __init__(self, nodes: int, machines: int, directory: RunDirectory, network: Network) -> None:
        self._nodes, self._machines = nodes, machines
        self._directory, self._network = directory, network
        self.life = 0
        self.abort: Abort | None = None
        self.stopped: Stop | None = None
        self._ready: dict[int, Ready] = {}
        self._restarts = 0  # since the newest check-point
        self._committed = 0
        self._new_life()

    def _new_life(self) -> None:
        self.life += 1
        self._gathering = True  # what is left of the life before is ignored
        self._ready.clear()
        self._ledger = Ledger(self._nodes)
        self._farewell = Farewell(self._nodes, self._network.reissue_walks)
        self._halts = Halts(self._nodes)
        self._book: dict[NodeId, str] = {}
        self._keys: dict[NodeId, str] = {}  # public ones
        self._round: dict[NodeId, int] = {}  # the last one that a node completed
        self._finished: set[NodeId] = set()
        self._exited: set[NodeId] = set()

    @property
    def done(self) -> bool:
        """Whether every node has done what it had to, and left."""
        return self.stopped is not None and len(self._exited) == self._nodes

    @property
    def running(self) -> bool:
        """Whether all nodes of this life are up, and not yet told to leave."""
        up = len(self._book) == self._nodes and not self._farewell.lost
        return up and self.stopped is None and self.abort is None

    def missing(self) -> list[NodeId]:
        """The nodes that have not been heard of yet."""
        return [node for node in range(self._nodes) if node not in self._book]

    def hear(self, fact: AnyFact) -> list[Fact]:
        """Take in one fact; what follows from it for everybody."""
        if self.abort is not None:
            return []
        if isinstance(fact, Refused):
            return [self._give_up(Abort(fact.error, fact.message, fact.advice, fact.exit_code))]
        if isinstance(fact, Abort):
            return [self._give_up(fact)]
        if isinstance(fact, Ready):
            return self._gather(fact)
        return [] if self._gathering else self._hear_node(fact)

    def _hear_node(self, fact: AnyFact) -> list[Fact]:
        if isinstance(fact, Listening):
            self._book[fact.node], self._keys[fact.node] = fact.address, fact.key
            return [Addresses(self._book, self._keys)] if len(self._book) == self._nodes else []
        if isinstance(fact, RoundDone):
            self._round[fact.node] = fact.round
        if isinstance(fact, Finished):
            self._finished.add(fact.node)
            return self._end()
        if isinstance(fact, (Halt, Begun, Halted, Checkpointed)):
            return self._halt(fact)
        if isinstance(fact, Exited):
            self._exited.add(fact.node)
            return (
                []
                if self.stopped is not None
                else self._lose(Loss.exited(fact, self._round.get(fact.node, self._committed)))
            )
        if isinstance(fact, Parted):
            return self._part(fact)
        if isinstance(fact, Failed):
            return self._lose(Loss.failed(fact))
        if isinstance(fact, Silent):
            if self.stopped is not None:  # nobody waits for anybody any more
                return []
            return self._lose(Loss.silent(fact, self._round.get(fact.peer, self._committed)))
        return self._ledger.hear(fact)

    def _gather(self, fact: Ready) -> list[Fact]:
        """A machine can start its nodes; when all can, they do, from the newest check-point that all of them have."""
        if fact.life != self.life:
            return []
        self._ready[fact.machine] = fact
        if len(self._ready) < self._machines or not self._gathering:
            return []
        self._gathering = False
        notes: list[Fact] = []
        if self.life == 1:
            here = self._ready[0].identity
            for machine, ready in sorted(self._ready.items()):
                abort, warnings = differences(here, ready.identity, f"machine {machine}")
                if abort is not None:
                    return [self._give_up(abort)]
                notes += map(Said, warnings)
            common = set.intersection(*(set(ready.numbers) for ready in self._ready.values()))
            self._committed = max(common, default=0)
        return [*notes, Begin(self.life, self._committed)]

    def _halt(self, fact: Halt | Begun | Halted | Checkpointed) -> list[Fact]:
        answers = self._halts.hear(fact, self.running)
        if self._halts.committed > self._committed:
            self._committed, self._restarts = self._halts.committed, 0
        if self._halts.stopped:
            answers.append(self._stop(self._committed))
        return answers

    def _stop(self, number: int) -> Stop:
        self.stopped = Stop(number)
        return self.stopped

    def _lose(self, loss: Loss) -> list[Fact]:
        """A node is lost: what `network.on_peer_loss` says."""
        network = self._network
        if network.on_peer_loss == "wait" and loss.error not in LASTING and self.stopped is None:
            if self._restarts < network.restarts:
                self._restarts += 1
                self._new_life()
                return [Rollback(self.life, loss.what)]
            loss = loss.after(f"nodes were started again {self._restarts} times since check-point {self._committed}")
        if network.on_peer_loss == "continue" and self._can_continue(loss):
            return self._continue(loss)
        log = f"its log: {self._directory.node(loss.node).log}"
        return [self._give_up(Abort(NodeFailed.__name__, f"{loss.what}\n{log}", loss.advice, loss.exit_code))]

    def _can_continue(self, loss: Loss) -> bool:
        """Some node is left, and the loss is not one that all nodes would suffer."""
        left = set(self._farewell.living) - {loss.node}
        return bool(left) and loss.error not in LASTING and len(self._book) == self._nodes

    def can_lose(self, nodes: Collection[NodeId]) -> bool:
        """Whether the others go on without all of these."""
        left = set(self._farewell.living).difference(nodes)
        up = len(self._book) == self._nodes and not self._gathering
        return self._network.on_peer_loss == "continue" and bool(left) and up

    def lose_machine(self, nodes: Collection[NodeId], what: str) -> list[Fact]:
        """A machine is gone with all of its nodes; nobody will tell that they have ended."""
        self._exited.update(nodes)
        return [fact for node in nodes if not self.abort for fact in self._lose(Loss(node, f"node {node}: {what}"))]

    def _continue(self, loss: Loss) -> list[Fact]:
        if loss.node in self._farewell.lost:  # it raised, and then it ended
            return []
        facts: list[Fact] = [Bereaved(loss.node, loss.what), Kill([loss.node])]
        facts += self._halts.give_up()
        return [*facts, *self._farewell.lose(loss.node), *self._ledger.lose(loss.node), *self._end()]

    def _part(self, fact: Parted) -> list[Fact]:
        answers = self._farewell.hear(fact)
        if self._farewell.walks > 0 or not fact.walks:
            return answers
        what = f"every walk was lost, the last ones with node {fact.lost}"
        return [self._give_up(Abort(NodeFailed.__name__, what, "See network.reissue_walks.", NodeFailed.exit_code))]

    def _end(self) -> list[Fact]:
        """All nodes leave when the last living one has finished."""
        if self.stopped is None and self._finished.issuperset(self._farewell.living):
            return [self._stop(0)]
        return []

    def _give_up(self, abort: Abort) -> Abort:
        self.abort = abort
        return abort
