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
from decentralized.algorithms.random_walk import RandomWalk, waiting_round
from decentralized.algorithms.settings import AlgorithmSettings
from decentralized.algorithms.walk import Walk
from decentralized.interfaces import Context
from decentralized.types import RoundReport

TOPIC = "walks"


class Hybrid:
    """Random walks up to a round, D-PSGD after it."""

    class Config(AlgorithmSettings):
        switch_round: Annotated[int, Field(ge=1)]
        """The last round of random walks."""

    def __init__(self, config: Config) -> None:
        self._walking = RandomWalk.Config(name="random-walk", rounds=min(config.switch_round, config.rounds))
        self._gossip = DPSGD(DPSGD.Config(name="dpsgd", rounds=config.rounds))

    def rounds(self, context: Context) -> Iterator[RoundReport]:
        walk = Walk(context, TOPIC)
        last = 0
        for round in range(1, self._walking.rounds + 1):
            report = waiting_round(walk, round, self._walking)
            if report is None:
                break
            last = round
            yield report
            if walk.over():
                break
        walk.settle(absorb=True)
        context.totals["rounds_skipped"] = self._walking.rounds - last
        yield from self._gossip.rounds(context, first=self._walking.rounds + 1)
