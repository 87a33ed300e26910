"""The agents that a launcher has started: shown as one run, stopped together."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

from decentralized.control import Addresses, AnyFact, Begin, Opened, Said
from decentralized.run_directory import RunDirectory
from launch.key import RunKey
from launch.plan import Plan
from launch.progress import View
from launch.remote_agent import AttachedAgent
from launch.signals import Signals
from launch.state import RunState
from launch.via.ending import End

TICK_S = 0.05
ECHO_S = 3.0
EXPLAIN_S = 3.0  # how long machine 0 may take to say why another one has failed
FINISH_S = 20.0  # how long agents may take to end once one of them has, or once they are told to


class Agent(Protocol):
    """An AttachedAgent, or one that is reached in another way."""

    @property
    def status(self) -> int | None: ...
    @property
    def errors(self) -> str: ...
    def poll(self) -> Sequence[AnyFact]: ...
    def stop(self) -> None: ...
    def leave(self) -> None: ...
    def kill(self) -> None: ...
    def close(self, patience_s: float) -> object: ...


class Crew:
    """Agents by machine, and what they have said. Machine 0 speaks for all nodes."""

    def __init__(self, plan: Plan, view: View, signals: Signals) -> None:
        self._plan, self._view, self._signals = plan, view, signals
        self._state = RunState(plan.experiment.nodes, plan.rounds)
        self._agents: dict[int, Agent] = {}
        self._screen = contextlib.ExitStack()
        self._stops = 0
        self._said: dict[str, float] = {}
        self._told_at = math.inf  # when all are told to end; from then on they are late
        self.ends: list[End] = []
        self.pids: dict[int, int] = {}
        self.directories: dict[int, str] = {}  # of the run, as each machine calls it
        self.home: RunDirectory | None = None

    def run(self, commands: Mapping[int, Sequence[str]]) -> None:
        """Start all and follow them until all have ended; none of the local processes is left."""
        key = RunKey.new()
        self.follow({machine: partial(AttachedAgent.start, command, key) for machine, command in commands.items()})

    def follow(self, starts: Mapping[int, Callable[[], Agent]]) -> None:
        """The same for agents that are started in another way."""
        with self._screen:
            try:
                for machine, start in starts.items():
                    self._agents[machine] = start()
                while len(self.ends) < len(self._agents):
                    self._look()
            finally:
                for agent in self._agents.values():
                    agent.leave()
                self._close()

    def _close(self) -> None:
        """After an error of the launcher itself, some may still be there."""
        self._told_at = min(self._told_at, time.monotonic())
        for machine, agent in self._agents.items():
            agent.close(max(0.0, self._told_at + FINISH_S - time.monotonic()))
            if all(end.machine != machine for end in self.ends) and agent.status is not None:
                self._note_end(machine, agent.status)

    @property
    def _late(self) -> bool:
        return time.monotonic() > self._told_at + FINISH_S

    def _look(self) -> None:
        self._heed_signals()
        for machine, agent in self._agents.items():
            status = agent.status  # before the last facts are taken
            for fact in agent.poll():
                self._hear(machine, fact)
            if status is not None and all(end.machine != machine for end in self.ends):
                self._note_end(machine, status)
        now = time.monotonic()
        if now > self._told_at:
            for agent in self._agents.values():
                agent.leave()
                if self._late:
                    agent.kill()
        self._view.refresh()
        time.sleep(TICK_S)

    def _heed_signals(self) -> None:
        """Machine 0 stops all with a check-point, which it may not want any more; the second time all end at once."""
        stops = self._signals.stops
        if stops > self._stops and self._stops == 0:
            self._agents[0].stop()
        if stops > 1:
            self._told_at = min(self._told_at, time.monotonic())
        self._stops = stops

    def _note_end(self, machine: int, status: int) -> None:
        now = time.monotonic()
        agent = self._agents[machine]
        self.ends.append(End(machine, status, now > self._told_at, agent.errors))
        patience = FINISH_S if machine == 0 or status == 0 else EXPLAIN_S
        self._told_at = min(self._told_at, now + patience)

    def _hear(self, machine: int, fact: AnyFact) -> None:
        if isinstance(fact, Opened):
            self.pids[machine] = fact.pid
            if fact.directory:
                self.directories[machine] = fact.directory
                self._open(Path(fact.directory).name)
        elif isinstance(fact, Said):
            self._say(machine, fact.line)
        elif machine == 0:
            self._take_in(fact)

    def _say(self, machine: int, line: str) -> None:
        """What all agents say at the same time is said once."""
        now = time.monotonic()
        self._said = {other: moment for other, moment in self._said.items() if now - moment < ECHO_S}
        if line not in self._said:
            self._view.say(f"machine {machine}: {line}" if machine else line)
        self._said[line] = now

    def _take_in(self, fact: AnyFact) -> None:
        """Keep the same book as machine 0's agent."""
        if isinstance(fact, Begin):
            self._state.restart(fact.number)
        elif isinstance(fact, Addresses):
            self._state.began = self._state.began or time.monotonic()
        else:
            self._state.hear(fact)

    def _open(self, name: str) -> None:
        if self.home is None:
            self.home = RunDirectory.join(self._plan.out / name)
            self._screen.enter_context(self._view.showing(self._state, self._plan, self.home))
