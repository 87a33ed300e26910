"""Small facts on which all nodes agree, through the agents. Parameters never travel here.

A node proposes a value, and the first proposal decides; or every node contributes numbers, and all learn the sums.
`Ledger` is agent 0's side and `NodeAgreement` a node's; neither has input or output of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TypeVar

from decentralized.control import AnyFact, Contributed, Decided, Fact, Proposed, Summed, Tell
from decentralized.types import NodeId

MAX_TOPICS = 64  # the newest ones: nobody asks for old pauses, and nothing may grow with the rounds

T = TypeVar("T")


class Ledger:
    """Hears what nodes propose and contribute; answers with what goes to all nodes."""

    def __init__(self, nodes: int) -> None:
        self._living = set(range(nodes))
        self._decided: dict[str, int] = {}
        self._contributions: dict[str, dict[NodeId, Mapping[str, int]]] = {}

    def hear(self, fact: AnyFact) -> list[Fact]:
        """What follows from one fact for everybody."""
        if isinstance(fact, Proposed) and fact.topic not in self._decided:
            _keep(self._decided, fact.topic, fact.value)
            return [Decided(fact.topic, fact.value)]
        if isinstance(fact, Contributed):
            if fact.topic not in self._contributions:
                _keep(self._contributions, fact.topic, {})
            given = self._contributions[fact.topic]
            given[fact.node] = fact.values
            return self._sum(fact.topic)
        return []

    def lose(self, node: NodeId) -> list[Fact]:
        """The run goes on without this node, whose numbers do not count any more."""
        self._living.discard(node)
        return [fact for topic in self._contributions for fact in self._sum(topic)]

    def _sum(self, topic: str) -> list[Fact]:
        given = {node: values for node, values in self._contributions[topic].items() if node in self._living}
        if len(given) < len(self._living):
            return []
        sums: Counter[str] = Counter()
        for values in given.values():
            sums.update(values)
        return [Summed(topic, dict(sums))]


class NodeAgreement:
    """One node's view: what it has heard, and a way to say something."""

    def __init__(self, node: NodeId, tell: Tell) -> None:
        self._node, self._tell = node, tell
        self._decisions: dict[str, int] = {}
        self._sums: dict[str, Mapping[str, int]] = {}

    def propose(self, topic: str, value: int) -> None:
        """Propose a decision; somebody else's may have been earlier."""
        self._tell(Proposed(topic, value))

    def decided(self, topic: str) -> int | None:
        """The decision, once it is known here."""
        return self._decisions.get(topic)

    def contribute(self, topic: str, values: Mapping[str, int]) -> None:
        """Give this node's numbers, or newer ones."""
        self._tell(Contributed(self._node, topic, dict(values)))

    def sums(self, topic: str) -> Mapping[str, int] | None:
        """The newest sums over all nodes; None until every node has contributed."""
        return self._sums.get(topic)

    def hear(self, fact: AnyFact) -> None:
        """Take in a fact from the agent; others than decisions and sums are ignored."""
        if isinstance(fact, Decided):
            _keep(self._decisions, fact.topic, fact.value)
        elif isinstance(fact, Summed):
            _keep(self._sums, fact.topic, fact.values)


def _keep(table: dict[str, T], topic: str, value: T) -> None:
    """Set an entry; the oldest one goes when there are too many."""
    table[topic] = value
    if len(table) > MAX_TOPICS:
        del table[next(iter(table))]
