"""Random walks first, D-PSGD next: future work of the communication study (Dresevic, EPFL 2022, section 5.1).

When the first node completes `switch_round` random-walk rounds, all nodes stop sending walks, wait until every model
that is under way has arrived, average it where it is, and go on with D-PSGD at the round after. (A node that simply
stopped at that round would starve the others.) Nodes that were behind skip the rounds in between; the summary counts
them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from decentralized.algorithms.dpsgd import DPSGD
from decentralized.algorithms.random_walk import RandomWalk, walk_rounds
from decentralized.algorithms.settings import AlgorithmSettings
from decentralized.algorithms.walk import Walk
from decentralized.departures import WALKS
from decentralized.interfaces import Context
from decentralized.types import Quiet, RoundReport, State


class Hybrid:
    """Random walks up to a round, D-PSGD after it."""

    class Config(AlgorithmSettings):
        switch_round: Annotated[int, Field(ge=1)]
        """The last round of random walks."""

    def __init__(self, config: Config) -> None:
        self._walking = RandomWalk.Config(name="random-walk", rounds=min(config.switch_round, config.rounds))
        self._gossip = DPSGD(DPSGD.Config(name="dpsgd", rounds=config.rounds))
        self._walk: Walk | None = None
        self._saved: State | None = None

    def rounds(self, context: Context, first: int = 1) -> Iterator[RoundReport | Quiet]:
        switch = self._walking.rounds
        if first <= switch or self._saved:
            yield from self._walks(context, first)
            first = switch + 1
        yield from self._gossip.rounds(context, first)

    def state(self) -> State:
        """The walks', as long as they go on."""
        return {} if self._walk is None else self._walk.state()

    def restore(self, state: State) -> None:
        self._saved = state

    def _walks(self, context: Context, first: int) -> Iterator[RoundReport | Quiet]:
        walk = self._walk = Walk(context, WALKS, self._walking.rounds, self._saved or None)
        last = first - 1
        for event in walk_rounds(walk, first, self._walking):
            last = event.round if isinstance(event, RoundReport) else last
            yield event
        self._walk = None
        context.pauses.begun, context.pauses.synchronous = self._walking.rounds + 1, True
        walk.absorb()
        context.channel.drain(lambda: not context.losses.pending)  # all begin to mix on the same graph
        context.totals["rounds_skipped"] = self._walking.rounds - last
