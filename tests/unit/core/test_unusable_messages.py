"""A neighbor's message that cannot be used is left out of the mean, counted and logged; nobody stops."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest
import torch

from decentralized import exchange
from decentralized.in_memory import InMemoryRun
from decentralized.sharing.full import Full
from decentralized.types import Message, Payload, Scalar

Spoil = Callable[[Mapping[str, np.ndarray], dict[str, Scalar]], Payload]


def spoiled(value: float) -> Spoil:
    def spoil(buffers: Mapping[str, np.ndarray], scalars: dict[str, Scalar]) -> Payload:
        values = buffers["values"].copy()
        values[3] = value
        return Payload({"values": values}, scalars)

    return spoil


def run_with(spoil: Spoil, monkeypatch: pytest.MonkeyPatch, run: Callable[..., InMemoryRun], *more: str) -> InMemoryRun:
    """Three nodes in a ring; the last one to pack in each round sends something spoiled."""
    pack, calls = Full.pack, iter(range(10**9))

    def bad(self: Full, own_P: torch.Tensor, peer: int | None, round: int) -> Payload:
        packed = pack(self, own_P, peer, round)
        return spoil(packed.buffers, dict(packed.scalars)) if next(calls) % 3 == 2 else packed

    monkeypatch.setattr(Full, "pack", bad)
    return run("nodes=3", "topology.name=ring", "sharing.name=full", *more)


BAD: dict[str, Spoil] = {
    "NaN": spoiled(np.nan),
    "infinity": spoiled(np.inf),
    "too short": lambda buffers, scalars: Payload({"values": buffers["values"][:-1]}, scalars),
    "another type": lambda buffers, scalars: Payload({"values": buffers["values"].astype(np.float64)}, scalars),
    "nothing": lambda buffers, scalars: Payload({}, scalars),
    "a scalar that is infinite": lambda buffers, scalars: Payload(buffers, {"x": float("inf")}),
}


@pytest.mark.parametrize("spoil", BAD.values(), ids=BAD)
@pytest.mark.parametrize("algorithm", ["dpsgd", "random-walk"])
def test_the_run_goes_on(
    spoil: Spoil, algorithm: str, monkeypatch: pytest.MonkeyPatch, run_in_memory: Callable[..., InMemoryRun]
) -> None:
    result = run_with(spoil, monkeypatch, run_in_memory, f"algorithm.name={algorithm}")
    assert len(result.learners) == 3
    for learner in result.learners.values():
        assert bool(learner.vector().isfinite().all())


def test_non_finite_values_are_mixed_where_that_is_wanted(
    monkeypatch: pytest.MonkeyPatch, run_in_memory: Callable[..., InMemoryRun]
) -> None:
    result = run_with(spoiled(np.nan), monkeypatch, run_in_memory, "network.non_finite=accept")
    assert not all(bool(learner.vector().isfinite().all()) for learner in result.learners.values())


@pytest.mark.parametrize("degree", [None, 0, -1, True, 1.5, "2", 2**63])
def test_a_neighbor_that_does_not_say_its_degree_is_left_out(
    degree: Scalar | None, monkeypatch: pytest.MonkeyPatch, run_in_memory: Callable[..., InMemoryRun]
) -> None:
    broadcast = Message

    def message(kind: str, round: int, sender: int, payload: Payload) -> object:
        scalars = {name: value for name, value in payload.scalars.items() if name != "degree" or sender != 2}
        if sender == 2 and degree is not None:
            scalars["degree"] = degree
        return broadcast(kind, round, sender, Payload(payload.buffers, scalars))

    monkeypatch.setattr(exchange, "Message", message)
    result = run_in_memory("nodes=3", "topology.name=ring", "sharing.name=full")
    assert len(result.learners) == 3
