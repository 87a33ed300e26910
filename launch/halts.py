"""Agent 0's side of check-points: where all nodes halt, and which check-point every node has. No input or output."""

from __future__ import annotations

from decentralized.control import Begun, Checkpointed, Committed, Fact, Halt, HaltAt, Halted
from decentralized.types import NodeId


class Halts:
    """Hears what nodes have begun and written; answers with what goes to all of them."""

    def __init__(self, nodes: int) -> None:
        self._nodes = nodes
        self.committed = 0
        self.stopped = False  # every node has written its last check-point
        self._asked: Halt | None = None
        self._next: Halt | None = None  # asked for while another one was under way
        self._begun: dict[NodeId, int] = {}
        self._written: dict[int, set[NodeId]] = {}
        self._halted: dict[NodeId, bool] = {}

    def hear(self, fact: Halt | Begun | Halted | Checkpointed, running: bool = True) -> list[Fact]:
        """Take in one fact; `running`: all nodes are up and can halt."""
        if isinstance(fact, Halt):
            return self._ask(fact) if running else []
        if isinstance(fact, Begun):
            self._begun[fact.node] = fact.round
            if len(self._begun) == self._nodes and self._asked is not None:
                return [HaltAt(max(self._begun.values()), self._asked.stop)]
            return []
        return self._halt(fact) if isinstance(fact, Halted) else self._write(fact)

    def _ask(self, halt: Halt) -> list[Fact]:
        """One at a time: nodes could not tell the answers to two of them apart."""
        if self._asked is not None:
            self._next = halt if halt.stop else self._next
            return []
        self._asked = halt
        return [halt]

    def give_up(self) -> list[Fact]:
        """A node is lost, and the run goes on without it: nobody waits for its word any more."""
        if self._asked is None:
            return []
        self._asked = self._next = None
        self._begun.clear()
        return [HaltAt(0, stop=False)]

    def _halt(self, fact: Halted) -> list[Fact]:
        self._halted[fact.node] = fact.stops
        if len(self._halted) < self._nodes:
            return []
        self.stopped = all(self._halted.values())
        again, self._asked, self._next = self._next, None, None
        self._begun.clear()
        self._halted.clear()
        return self._ask(again) if again is not None else []

    def _write(self, fact: Checkpointed) -> list[Fact]:
        written = self._written.setdefault(fact.number, set())
        written.add(fact.node)
        if len(written) < self._nodes:
            return []
        self.committed = max(self.committed, fact.number)
        self._written = {number: nodes for number, nodes in self._written.items() if number > fact.number}
        return [Committed(self.committed)]
