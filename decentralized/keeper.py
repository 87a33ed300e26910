"""When a node check-points, and when it stops for one. Pure book-keeping over facts.

A synchronous run check-points the same round on every node: each `every`-th, and the one that agent 0 announces when
somebody asks for a halt. Nodes run ahead of each other, so the round is not below the largest one begun anywhere: each
node says which round it has begun, and begins no other until it hears where all halt.

Random walks have no common round. They pause together instead (algorithms/walk.py) and number their pauses; a
`number` is a round, or near one, and always grows.
"""

from __future__ import annotations

from decentralized.control import AnyFact, Begun, Checkpointed, Committed, Halt, HaltAt, Halted, Tell
from decentralized.types import NodeId


class Keeper:
    """One node's view. `every`: rounds from one check-point to the next, 0 for none; `last`: the run's last round.

    `number`: the check-point from which the node goes on, 0 for none.
    """

    def __init__(self, node: NodeId, every: int, last: int, tell: Tell, number: int = 0) -> None:
        self.every, self.number, self.committed = every, number, number
        self.asked: Halt | None = None
        self.halt_at: HaltAt | None = None
        self.synchronous = True
        self.begun = min(number + 1, last)
        self.node, self._last, self._tell = node, last, tell
        self._answered = self._steps = False

    def hear(self, fact: AnyFact) -> None:
        """Take in a fact from the agent; others than those about check-points are ignored."""
        if isinstance(fact, Halt) and self.asked is None:
            self.asked = fact
            if self._steps:  # until then it is not known whether this node has rounds in common with the others
                self._answer()
        elif isinstance(fact, HaltAt):
            self.halt_at = fact
        elif isinstance(fact, Committed):
            self.committed = max(self.committed, fact.number)

    @property
    def wanted(self) -> bool | None:
        """Whether somebody asks for a check-point: True to stop there, False to go on, None if nobody does."""
        return None if self.asked is None else self.asked.stop

    def held(self) -> bool:
        """Whether this node may not begin another round yet."""
        self._steps = True
        self._answer()
        return self.asked is not None and self.halt_at is None

    def due(self, round: int) -> bool:
        """Whether the node check-points after this round of a synchronous run."""
        here = self.halt_at is not None and self.halt_at.round == round
        return round < self._last and (here or (self.every > 0 and round % self.every == 0))

    def overdue(self, round: int) -> bool:
        """Whether a node whose rounds are its own should ask for a pause."""
        return self.every > 0 and round - self.number >= self.every

    def written(self, number: int) -> None:
        """The check-point is on the disk."""
        self.number = number
        self._tell(Checkpointed(self.node, number))

    def stopped(self) -> None:
        """This node ends here."""
        self._tell(Halted(self.node, stops=True))

    def stops_at(self, round: int) -> bool:
        """Whether the run ends with the check-point after this round of a synchronous run."""
        halt = self.halt_at
        return halt is not None and halt.stop and halt.round == round and round < self._last

    def passed(self, round: int) -> None:
        """This round is over, and a halt in it too."""
        self._steps = True
        self.begun = min(round + 1, self._last)
        if self.halt_at is not None and self.halt_at.round <= round:
            self.resumed()

    def resumed(self) -> None:
        """What was asked for has been done, and the run goes on."""
        self._tell(Halted(self.node, stops=False))
        self.asked, self.halt_at, self._answered = None, None, False

    def _answer(self) -> None:
        if self.asked is not None and self.synchronous and not self._answered:
            self._answered = True
            self._tell(Begun(self.node, self.begun))
