"""Random walks: asynchronous, one neighbor at a time (communication study, Dresevic, EPFL 2022, section 3.2.2).

Every node starts by training and sends its model to one neighbor drawn uniformly. From then on it waits for a model,
averages it with its own by age, trains, and sends to one random neighbor: one message in, one message out, so there are
always as many walks as nodes. Waiting models are taken one a round, in order of arrival.

Age counts rounds of local training: it grows by 1 with each (one round of training is one step, as in the report), and
becomes the larger of both when models are averaged. A model's weight is its age over the sum of both ages.

The run ends when the first node has finished its rounds: every other node ends its round, and all wait until each
message that was sent has arrived. The same happens at a check-point, after which all go on (walk.py).

Two readings of the report's order: section 3.2 trains before sending (`send_after = "training"`, the default), section
3.2.2 sends right after averaging (`"averaging"`). `mode = "periodic"` is its future work: a node does not wait, takes
whatever has arrived, and sends every `period_rounds` rounds.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from decentralized.algorithms.settings import AlgorithmSettings
from decentralized.algorithms.walk import Walk
from decentralized.departures import WALKS
from decentralized.interfaces import Context
from decentralized.types import Quiet, RoundReport, State


class RandomWalk:
    """Wait for a model, average by age, train, send to one random neighbor."""

    class Config(AlgorithmSettings):
        send_after: Literal["training", "averaging"] = "training"
        """Send the model that was trained after averaging, or the average before it is trained."""
        mode: Literal["waiting", "periodic"] = "waiting"
        """Wait for a model in each round, or go on and send from time to time."""
        period_rounds: Annotated[int, Field(ge=1)] = 1
        """Rounds between two sends, with mode = "periodic"."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._walk: Walk | None = None
        self._saved: State | None = None

    def rounds(self, context: Context, first: int = 1) -> Iterator[RoundReport | Quiet]:
        walk = self._walk = Walk(context, WALKS, self._config.rounds, self._saved)
        yield from walk_rounds(walk, first, self._config)

    def state(self) -> State:
        return {} if self._walk is None else self._walk.state()

    def restore(self, state: State) -> None:
        self._saved = state


def walk_rounds(walk: Walk, first: int, config: RandomWalk.Config) -> Iterator[RoundReport | Quiet]:
    """All rounds of one node from `first` on, until the walks have ended."""
    losses = walk.context.losses
    one_round = periodic_round if config.mode == "periodic" else waiting_round
    losses.walking = config.mode == "waiting"
    round = first
    while round <= config.rounds and not walk.ended:
        report = one_round(walk, round, config)
        if report is not None:
            round += 1
            yield report
        if walk.pausing():
            yield from walk.pause()
    while not walk.ended:
        yield from walk.pause()
    losses.walking = False


def waiting_round(walk: Walk, round: int, config: RandomWalk.Config) -> RoundReport | None:
    """One round of a node that waits for a model; None when there is a pause while it waits."""
    walk.weights = {}
    waited_s = walk.context.channel.waited_s
    began = time.monotonic()
    if round > 1 and not walk.isolated:
        message = walk.receive()
        if message is None:
            return None
        walk.average(message)
        if config.send_after == "averaging":
            walk.send()
    wait_s = walk.context.channel.waited_s - waited_s
    mix_s = time.monotonic() - began - wait_s
    metrics, fit_s = walk.train(round)
    if config.send_after == "training" or round == 1:
        walk.send()
    return RoundReport(round, metrics, fit_s, wait_s, mix_s, walk.weights)


def periodic_round(walk: Walk, round: int, config: RandomWalk.Config) -> RoundReport | None:
    """One round of a node that does not wait: it averages all that has arrived."""
    walk.weights = {}
    began = time.monotonic()
    for message in walk.arrived():
        walk.average(message)
    mix_s = time.monotonic() - began
    if config.send_after == "averaging" and round > 1 and round % config.period_rounds == 0:
        walk.send()
    metrics, fit_s = walk.train(round)
    if (config.send_after == "training" or round == 1) and round % config.period_rounds == 0:
        walk.send()
    return RoundReport(round, metrics, fit_s, 0.0, mix_s, walk.weights)
