"""A whole run in one process, whose nodes, facts and messages are as fast or slow as a seed says.

The nodes and agent 0 are the real ones. Facts between a node and agent 0 keep their order, as on the control lines;
so do messages between two nodes.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock

from decentralized import checkpoint
from decentralized.algorithms.settings import AlgorithmSettings
from decentralized.config import Network
from decentralized.control import (
    AnyFact,
    Begin,
    Begun,
    Committed,
    Decided,
    Exited,
    Fact,
    Failed,
    Finished,
    Halt,
    HaltAt,
    Halted,
    Kill,
    Listening,
    Lost,
    Ready,
    Removed,
    Rollback,
    Silent,
    Stop,
    Summed,
)  # fmt: skip
from decentralized.keeper import Keeper
from decentralized.run_directory import RunDirectory
from decentralized.types import Graph, NodeId
from launch.coordinator import Coordinator
from tests.unit.simulated.crew import Crew
from tests.unit.simulated.node import SimulatedNode
from tests.unit.simulated.wire import Wire

TO_NODES = (Decided, Summed, Committed, Halt, HaltAt, Lost, Removed, Stop)
SPEEDS = (0.03, 0.3, 1.0, 1.0)
PATIENCE_S = 5.0  # messages that a node refuses are sent again after less
Action = tuple[str, NodeId, NodeId]


class Hang(AssertionError):
    """Everybody waits for ever."""


def resumed(graph: Graph, algorithm: AlgorithmSettings, seed: int, after: int) -> SimulatedRun:
    """A run that was stopped once a node had begun round `after`, and that went on from there to its end."""
    first = SimulatedRun(graph, algorithm, seed)

    def look() -> None:
        if max(first.begun.values(), default=0) < after:
            first.later(1, look)
        else:
            first.halt(stop=True)

    first.at(1, look)
    stopped = first.run().coordinator.stopped
    assert stopped is not None and 0 < stopped.number < algorithm.rounds, "it ended by itself"
    return SimulatedRun(graph, algorithm, seed + 1, saved=first.saved, number=stopped.number).run()


class SimulatedRun:
    """`every`: rounds from one check-point to the next. `saved`, `number`: from where the run goes on."""

    def __init__(
        self,
        graph: Graph,
        algorithm: AlgorithmSettings,
        seed: int,
        every: int = 0,
        saved: Mapping[tuple[NodeId, int], Any] | None = None,
        number: int = 0,
        **network: Any,
    ) -> None:
        self.graph, self.algorithm, self.every = graph, algorithm, every
        self.random = Random(seed)
        self.crew = Crew()
        directory = RunDirectory(Path("nowhere"))
        self.coordinator = Coordinator(graph.nodes, 1, directory, Network(**network))
        self.saved: dict[tuple[NodeId, int], Any] = dict(saved or {})
        self.heard: list[Fact] = []  # what agent 0 said
        self.heard_at_first_end = 0  # how much of it when the first node finished
        self.told: list[AnyFact] = []  # what it heard of nodes
        self.begun: dict[NodeId, int] = {}  # the newest round of each node
        self.promised: dict[NodeId, int] = {}  # not to begin a later one
        self.on_write: Callable[[NodeId, int], None] = lambda node, number: None  # before a check-point is written
        self.on_heard: Callable[[Fact], None] = lambda fact: None  # for each fact that agent 0 says
        self._events: list[tuple[int, Callable[[], None]]] = []
        self._written: set[tuple[NodeId, int, int]] = set()
        self._steps = 0
        self._now = self._reached_at = 0.0
        self._reached: list[int] = []
        self._speed: dict[Action, float] = defaultdict(lambda: self.random.choice(SPEEDS))
        self._start(Begin(1, number), [number] if number else [])

    # The parts of agents and fork servers

    def _start(self, begin: Begin, numbers: list[int]) -> None:
        """A new life of all nodes."""
        life, number = begin.life, begin.number
        nodes = range(self.graph.nodes)
        self.wire = Wire(self.crew.pause, self.random)
        self.up: dict[NodeId, deque[AnyFact]] = {node: deque() for node in nodes}
        self.down: dict[NodeId, deque[AnyFact]] = {node: deque() for node in nodes}
        self._doomed: set[NodeId] = set()
        self.promised.clear()
        self.begun.clear()
        self.nodes: dict[NodeId, SimulatedNode] = {}
        for node in nodes:
            self._add(node, life, number)
        if life == 1:
            assert self.coordinator.hear(Ready(0, 1, numbers)) == [begin]
        for node in nodes:
            self._obey(self.coordinator.hear(Listening(node, "", 1)))

    def _add(self, node: NodeId, life: int, number: int) -> None:
        keeper = Keeper(node, self.every, self.algorithm.rounds, self._tell_of(node), number)
        member = self.nodes[node] = SimulatedNode(
            node,
            self.graph,
            self.algorithm,
            keeper,
            self.wire.end(node),
            self._tell_of(node),
            lambda round: self._begins(node, round),
            self.crew.pause,
            lambda: self._now,
            life,
        )
        self.crew.add(node, lambda: member.live(self.saved[node, number] if number else None))

    def _tell_of(self, node: NodeId) -> Callable[..., None]:
        def tell(fact: AnyFact, droppable: bool = False) -> None:
            self.up[node].append(fact)
            if isinstance(fact, Begun):
                self.promised[node] = fact.round
            if isinstance(fact, Halted):
                self.promised.pop(node, None)

        return tell

    def _begins(self, node: NodeId, round: int) -> None:
        keeper, self.begun[node] = self.nodes[node].keeper, round
        if not keeper.synchronous:
            self.promised.pop(node, None)  # it was asked before its walks began, and halts with them
        elif keeper.halt_at is None:
            assert round <= self.promised.get(node, round), "it had promised not to begin this round"
        else:
            assert round <= keeper.halt_at.round or not keeper.halt_at.round, "it runs past the halt"

    def _rounds_in_step(self) -> list[int]:
        """The newest rounds of the nodes that have common ones."""
        return [round for node, round in self.begun.items() if self.nodes[node].keeper.synchronous]

    def _hear(self, node: NodeId, fact: AnyFact) -> None:
        if isinstance(fact, Finished) and not self.heard_at_first_end:
            self.heard_at_first_end = len(self.heard)
        self.told.append(fact)
        self._obey(self.coordinator.hear(fact))

    def _obey(self, facts: list[Fact]) -> None:
        self.heard += facts
        for fact in facts:
            self.on_heard(fact)
            if isinstance(fact, HaltAt) and fact.round:
                assert fact.round >= max(self._rounds_in_step(), default=0), "some node has begun a later one"
            if isinstance(fact, Kill):
                self._doomed.update(fact.nodes)
            if isinstance(fact, Rollback):
                self._roll_back(fact)
                return
            if isinstance(fact, TO_NODES):
                for node in self.nodes:
                    self.down[node].append(fact)

    def _roll_back(self, rollback: Rollback) -> None:
        for node in self.nodes:
            self.crew.end(node)
        for facts in self.up.values():  # of the former life: agent 0 does not listen
            for fact in facts:
                assert self.coordinator.hear(fact) == []
        (begin,) = self.coordinator.hear(Ready(0, rollback.life, []))
        assert isinstance(begin, Begin)
        self._start(begin, [])

    # What happens to the run

    def at(self, step: int, event: Callable[[], None]) -> None:
        """Do this at a moment of the run, if it comes so far."""
        self._events.append((step, event))

    def later(self, steps: int, event: Callable[[], None]) -> None:
        """Do this so many steps from now."""
        self._events.append((self._steps + steps, event))

    @property
    def living(self) -> list[NodeId]:
        return [node for node in self.nodes if node in self.crew.working]

    def halt(self, stop: bool) -> None:
        self._obey(self.coordinator.hear(Halt(stop)))

    def kill(self, node: NodeId, status: int = -9) -> None:
        """Its process ends here and now."""
        if node in self.crew.working:
            self.crew.end(node)
            self.wire.cut(node)
            self.up[node].append(Exited(node, status))

    def fail(self, node: NodeId) -> None:
        """It raises, unless it has only to leave."""
        if node in self.crew.working:
            if not any(isinstance(fact, Finished) and fact.node == node for fact in [*self.told, *self.up[node]]):
                self.up[node].append(Failed(node, 0, "ValueError", "x", "", 1))
            self.kill(node, 1)

    def accuse(self, node: NodeId) -> None:
        """Another node has not heard of it for too long; it may live on until it is killed for that."""
        others = [other for other in self.living if other != node]
        if node in self.crew.working and others:
            other = self.random.choice(others)
            self.up[other].append(Silent(other, node, 60.0))

    # The order of things

    def run(self) -> SimulatedRun:
        """To its end; raises Hang if it has none."""
        with (
            self.crew,
            mock.patch.object(checkpoint, "write", self._write),
            mock.patch.object(checkpoint, "prune", return_value=None),
        ):
            while not self.coordinator.done and self.coordinator.abort is None:
                self._steps += 1
                self._now += 0.001
                for at, event in [item for item in self._events if item[0] <= self._steps]:
                    self._events.remove((at, event))
                    event()
                self._act()
                self._watch_out()
        return self

    def _act(self) -> None:
        actions: list[Action] = [("up", node, node) for node, facts in self.up.items() if facts]
        actions += [("down", node, node) for node, facts in self.down.items() if facts and node in self.crew.working]
        actions += [("wire", *edge) for edge, frames in self.wire.flying.items() if frames]
        actions += [("kill", node, node) for node in self._doomed if node in self.crew.working]
        if not actions and not self._events:
            self._sweep()
            return
        actions += [("step", node, node) for node in self.crew.working]
        if not actions:  # all are gone, and only events are to come
            return
        self._move(*self.random.choices(actions, [self._speed[action] for action in actions])[0])

    def _sweep(self) -> None:
        """Nothing is under way: time goes on, and somebody may do something without having heard anything."""
        self._now += 0.2
        for node in sorted(self.crew.working):
            self._step(node)

    def _watch_out(self) -> None:
        """Raises Hang when nobody has got any further for long."""
        progress = self._progress()
        if progress != self._reached:
            self._reached, self._reached_at = progress, self._now
        elif self._now - self._reached_at > PATIENCE_S:
            waits = {node: self.nodes[node].channel.waits_for for node in self.crew.working}
            raise Hang(f"begun {self.begun}, waiting {waits}, agent 0 said {self.heard}")

    def _progress(self) -> list[int]:
        rounds = [len(self.nodes[node].reports) + self.begun.get(node, 0) for node in self.nodes]
        return [*rounds, len(self.told), len(self.crew.working), len(self._events)]

    def _move(self, what: str, node: NodeId, to: NodeId) -> None:
        if what == "step":
            self._step(node)
        elif what == "up":
            self._hear(node, self.up[node].popleft())
        elif what == "down":
            self.nodes[node].facts.append(self.down[node].popleft())
        elif what == "kill":
            self.kill(node)
        else:
            self.wire.move(node, to)

    def _step(self, node: NodeId) -> None:
        self.crew.step(node)
        if node not in self.crew.working:
            self.up[node].append(Exited(node, 0))

    def _write(self, folder: Path, number: int, state: Any) -> int:
        node = int(folder.parent.name)
        assert (node, number, self.coordinator.life) not in self._written, "a check-point is written twice"
        self._written.add((node, number, self.coordinator.life))
        self.on_write(node, number)
        self.saved[node, number] = state
        return 0
