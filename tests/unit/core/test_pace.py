"""Nodes that receive from nobody, or whose receivers are slow, run ahead by a few rounds only: nothing is dropped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from decentralized.algorithms.pace import AHEAD, EVERY, TAKEN, Pace
from decentralized.channel import Channel
from decentralized.errors import ConfigError
from decentralized.exchange import PARAMETERS
from decentralized.in_memory import InMemoryRun
from decentralized.inbox import Inbox
from decentralized.mixing.matrices import push_sum, uniform
from decentralized.node import channel_settings
from decentralized.prepare import Prepared, build_learner
from decentralized.types import Message, Neighbors, NodeId, Payload

Run = Callable[..., InMemoryRun]
ROUNDS = 100  # more than messages of one sender are kept
NOTHING_BUT_MIXING = (
    f"algorithm.rounds={ROUNDS}",
    "training.local_steps=0",
    "training.same_start=false",
    "evaluation.every=0",
)


@pytest.fixture
def chain(directed: Callable[..., str]) -> str:
    """0 -> 1 -> 2: in memory node 0, which waits for nobody, does not pass its turn on by itself."""
    return directed((1,), (2,), ())


@pytest.fixture
def waiting(monkeypatch: pytest.MonkeyPatch) -> Counter[tuple[str, NodeId]]:
    """The most messages that waited at a node, by kind and sender. A drop ends the run, which would else hang."""
    most: Counter[tuple[str, NodeId]] = Counter()
    put = Inbox.put

    def watched(inbox: Inbox, message: Message) -> str | None:
        why = put(inbox, message)
        assert why is None, f"{why}: round {message.round} of node {message.sender}"
        kind, sender = message.kind, message.sender
        most[kind, sender] = max(most[kind, sender], sum(item.sender == sender for item in inbox.kept(kind)))
        return None

    monkeypatch.setattr(Inbox, "put", watched)
    return most


@pytest.mark.parametrize("algorithm", ["dpsgd", "push-sum"])
def test_a_source_does_not_run_away(algorithm: str, chain: str, waiting: Counter[Any], run_in_memory: Run) -> None:
    run = run_in_memory("nodes=3", chain, "mixing.name=uniform", f"algorithm.name={algorithm}", *NOTHING_BUT_MIXING)
    assert waiting[PARAMETERS, 0] == AHEAD, "it does not wait for each round, either"
    assert waiting[PARAMETERS, 1] <= AHEAD and waiting[TAKEN, 1] <= 2
    first_P = [build_learner(run._prepared, node).vector().numpy() for node in range(3)]
    final_P = [run.learners[node].vector().numpy() for node in range(3)]
    np.testing.assert_allclose(final_P[0], first_P[0], rtol=1e-6)
    weights = {"dpsgd": uniform, "push-sum": push_sum}[algorithm]
    power_NN = np.linalg.matrix_power(weights(run._prepared.graph), ROUNDS)
    expected_NP = power_NN @ np.stack(first_P) / power_NN.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(np.stack(final_P), expected_NP, atol=1e-5)


def test_edges_that_go_both_ways_cost_nothing(run_in_memory: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(channel: Channel, to: NodeId, message: Message) -> None:
        raise AssertionError("nothing is to be confirmed")

    monkeypatch.setattr(Channel, "acknowledge", refuse)
    for topology in ("ring", "random-matching"):
        run_in_memory("nodes=4", f"topology.name={topology}", *NOTHING_BUT_MIXING)


def test_what_may_wait_has_room(small: Callable[..., Prepared]) -> None:
    """Two nodes keep least. A message may be twice as large as the parameters: values and their indices."""
    prepared = small("nodes=2", "model.hidden=[1000]")
    settings = channel_settings(prepared, b"testrun1")
    room = settings.max_waiting_payloads * settings.max_payload_bytes
    assert settings.max_waiting > AHEAD
    assert AHEAD * 2 * 4 * prepared.parameters <= room


class Scripted:
    """A channel on which confirmations come as the test says; each wait asks for the next one."""

    def __init__(self, comes: list[tuple[NodeId, int]]) -> None:
        self.confirmed: list[tuple[NodeId, int]] = []
        self.waits = 0
        self._comes = comes

    def acknowledge(self, to: NodeId, message: Message) -> None:
        self.confirmed.append((to, message.round))

    def next(self, kind: str) -> Message:
        assert kind == TAKEN
        self.waits += 1
        sender, count = self._comes.pop(0)
        return Message(TAKEN, count, sender, Payload({}))


def paced(neighbors: Neighbors, rounds: int, *comes: tuple[NodeId, int]) -> Scripted:
    """A node 0 with these neighbors in each of so many rounds."""
    channel, pace = Scripted(list(comes)), Pace()
    context: Any = SimpleNamespace(node=0, channel=channel)
    for _ in range(rounds):
        pace.keep(context, neighbors)
    assert not channel._comes
    return channel


def test_every_so_many_messages_are_confirmed_once() -> None:
    channel = paced(Neighbors((2, 3), (1, 2)), 2 * EVERY + 1, (3, EVERY))
    assert channel.confirmed == [(1, EVERY), (1, 2 * EVERY)]
    assert channel.waits == 1, "for node 3; node 2 answers by itself"


def test_it_waits_for_all_that_are_late() -> None:
    both = Neighbors((1, 2), ())
    assert paced(both, AHEAD - 1).waits == 0
    assert paced(both, AHEAD, (2, EVERY), (1, EVERY)).waits == 2
    assert paced(both, AHEAD + EVERY - 1, (2, EVERY), (1, EVERY)).waits == 2
    assert paced(both, AHEAD, (1, EVERY), (1, 2 * EVERY), (2, EVERY)).waits == 3


def test_a_confirmation_of_what_was_not_sent_is_worth_no_more() -> None:
    assert paced(Neighbors((1,), ()), 2 * AHEAD, (1, 10**6), (1, 2 * AHEAD)).waits == 2


@pytest.mark.parametrize("algorithm", ["dpsgd", "push-sum"])
def test_going_on_without_a_lost_node_needs_edges_that_go_both_ways(
    run_in_memory: Run, chain: str, algorithm: str
) -> None:
    settings = (f"algorithm={{name='{algorithm}', rounds=1}}", "mixing.name=uniform", "nodes=3", chain)
    with pytest.raises(ConfigError, match="go both ways"):
        run_in_memory(*settings, "network.on_peer_loss=continue")
