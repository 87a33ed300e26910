"""What a person sees while a run goes on: a live view in a terminal, plain lines anywhere else."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from decentralized.config import evaluated_nodes
from decentralized.control import AnyFact
from decentralized.report.statistics import statistics
from decentralized.run_directory import RunDirectory
from decentralized.types import NodeId
from launch.plan import Plan
from launch.state import RunState

REFRESH_S = 0.25
LINE_S = 1.0  # between two lines about rounds: hours of them may go into a file
UNITS = ("B", "kB", "MB", "GB", "TB")


class View:
    """Shows one run on `console`."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live: Live | None = None
        self._state: RunState | None = None
        self._plan: Plan | None = None
        self._refreshed = 0.0
        self._said_round, self._said_at = -1, 0.0
        self._said_phase = ""

    def say(self, line: str) -> None:
        """One line that stays."""
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    @contextlib.contextmanager
    def showing(self, state: RunState, plan: Plan, directory: RunDirectory) -> Iterator[None]:
        """From the start of the processes to their end."""
        self._state, self._plan = state, plan
        self.say(f"{title(plan)}\nrun directory: {directory.path}")
        if not self._console.is_terminal:
            yield
            return
        with Live(console=self._console, auto_refresh=False, transient=True) as self._live:
            yield
        self._live = None

    def hear(self, fact: AnyFact) -> None:
        """Each fact that the RunState hears, too: for a view that passes them on."""

    def refresh(self) -> None:
        """Called often; draws seldom."""
        now = time.monotonic()
        if self._state is None or self._plan is None or now - self._refreshed < REFRESH_S:
            return
        self._refreshed = now
        if self._live is not None:
            self._live.update(_picture(self._state, self._plan), refresh=True)
        else:
            self._lines(self._state, self._plan)

    def _lines(self, state: RunState, plan: Plan) -> None:
        phase = _phase(state)
        if phase != self._said_phase and state.began is None:
            self._said_phase = phase
            self.say(phase)
        newest = state.newest_evaluation(_evaluated(plan))
        now = time.monotonic()
        if newest is not None and newest[0] > self._said_round and now - self._said_at >= LINE_S:
            self._said_round, self._said_at = newest[0], now
            self.say(f"round {newest[0]}/{state.rounds}: {_quality(state, newest[1])}, sent {size(_sent(state))}")


def title(plan: Plan) -> str:
    """The experiment in one line."""
    experiment = plan.experiment
    machines = len(plan.ip_map.machines)
    parts = [
        experiment.name,
        f"{experiment.nodes} nodes" + (f" on {machines} machines" if machines > 1 else ""),
        f"{experiment.topology.name} graph",
        f"{experiment.data.name}, {experiment.model.name}",
        f"{experiment.algorithm.name}, {experiment.sharing.name} sharing",
    ]
    return " | ".join(parts)


def number(value: float | None) -> str:
    """A metric for people; None is JSON's word for what is not a number."""
    if value is None:
        return "nan"
    return f"{value:.4f}" if abs(value) < 10_000 else f"{value:.3e}"


def size(count: float) -> str:
    """A number of bytes for people."""
    unit = 0
    while count >= 1000 and unit < len(UNITS) - 1:
        count /= 1000
        unit += 1
    return f"{count:.0f} {UNITS[unit]}" if unit == 0 else f"{count:.3g} {UNITS[unit]}"


def duration(seconds: float) -> str:
    """Seconds for people: 12.3 s, 1:05, 2:00:00."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"


def _picture(state: RunState, plan: Plan) -> Group:
    table = Table.grid(padding=(0, 2))
    now = time.monotonic()
    if state.began is None:
        table.add_row(Text(_phase(state)), Text(duration(now - state.started)))
        return Group(table)
    done, fastest = state.slowest_round, max(state.round.values(), default=0)
    elapsed = now - state.began
    left = f"about {duration(elapsed / done * (state.rounds - done))} left" if done else ""
    bar = ProgressBar(total=max(state.rounds, 1), completed=done, width=30)
    table.add_row(bar, f"round {done}/{state.rounds}", duration(elapsed), left)
    newest = state.newest_evaluation(_evaluated(plan))
    quality = f"{_quality(state, newest[1])} after round {newest[0]}" if newest else _quality(state, {})
    return Group(table, Text(quality), Text(f"sent {size(_sent(state))}, fastest node at round {fastest}"))


def _phase(state: RunState) -> str:
    if not state.addresses:
        return "importing and loading data"
    return f"{len(state.addresses)} of {state.nodes} nodes are up"


def _quality(state: RunState, evaluation: Mapping[NodeId, Mapping[str, float | None]]) -> str:
    """The newest losses and an evaluation, mean over nodes with the range."""
    parts = []
    if state.train_loss:
        parts.append(f"train loss {number(statistics(list(state.train_loss.values()))['mean'])}")
    for name in sorted({name for metrics in evaluation.values() for name in metrics if not name.endswith("loss")}):
        values = [value for metrics in evaluation.values() if (value := metrics.get(name)) is not None]
        if values:
            stats = statistics(values)
            parts.append(f"{name} {number(stats['mean'])} ({number(stats['min'])} to {number(stats['max'])})")
    return ", ".join(parts) or "first round"


def _evaluated(plan: Plan) -> int:
    return len(evaluated_nodes(plan.experiment.evaluation, plan.experiment.nodes).intersection(plan.heard))


def _sent(state: RunState) -> int:
    return sum(state.bytes_sent.values())
