"""Sparse sharing: what is chosen, what travels, what is kept for later."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from decentralized.errors import CodecError
from decentralized.in_memory import InMemoryRun
from decentralized.metrics import read_metrics
from decentralized.sharing.changes import Changes, ChangeSettings, largest
from decentralized.sharing.deltas import Deltas
from decentralized.sharing.random_alpha import RandomAlpha
from decentralized.sharing.sub_sampling import SubSampling
from decentralized.sharing.top_k import TopK
from decentralized.types import Payload

P = 50


def generator() -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(3))


def vector(seed: int) -> torch.Tensor:
    return torch.from_numpy(np.random.Generator(np.random.PCG64(seed)).normal(size=P).astype(np.float32))


def top_k(**settings: Any) -> TopK:
    return TopK(TopK.Config(name="top-k", **settings), generator())


def sent_indices(sharing: TopK, payload: Payload, template: torch.Tensor) -> list[int]:
    marked = sharing.unpack(0, payload, torch.full_like(template, float("nan")))
    return [int(index) for index in torch.nonzero(~marked.isnan()).flatten()]


def test_what_changed_most_is_shared_by_absolute_value() -> None:
    sharing, start = top_k(alpha=0.04), torch.zeros(P)
    sharing.begin(start)
    own = start.clone()
    own[7], own[31], own[40] = -5.0, 3.0, 1.0
    payload = sharing.pack(own, None, 1)
    assert sent_indices(sharing, payload, own) == [7, 31]
    assert sharing.unpack(1, payload, torch.ones(P))[[7, 31, 40]].tolist() == [-5.0, 3.0, 1.0]


def test_what_was_not_shared_adds_up_and_comes_next() -> None:
    sharing = top_k(alpha=0.02)
    own = torch.zeros(P)
    sharing.begin(own)
    order = []
    for _ in range(3):
        own = own + torch.tensor([3.0, 2.0, *[0.0] * (P - 2)])
        order.append(sent_indices(sharing, sharing.pack(own, None, 1), own))
        sharing.commit(own, own)
    assert order == [[0], [1], [0]]  # 3; then 4 against 3; then 6 against 2


def test_without_accumulation_only_this_round_counts() -> None:
    sharing = top_k(alpha=0.02, accumulate=False)
    own = torch.zeros(P)
    sharing.begin(own)
    for _ in range(3):
        own = own + torch.tensor([3.0, 2.0, *[0.0] * (P - 2)])
        assert sent_indices(sharing, sharing.pack(own, None, 1), own) == [0]
        sharing.commit(own, own)


@pytest.mark.parametrize(("counts", "expected"), [(True, [4]), (False, [2])])
def test_changes_by_mixing_count_where_asked(counts: bool, expected: list[int]) -> None:
    sharing = top_k(alpha=0.02, accumulate_mixing_changes=counts)
    own = torch.zeros(P)
    sharing.begin(own)
    sharing.pack(own, None, 1)
    mixed = own.clone()
    mixed[4] = 9.0
    sharing.commit(own, mixed)
    own = mixed.clone()
    own[2] += 1.0
    assert sent_indices(sharing, sharing.pack(own, None, 2), own) == expected


@settings(deadline=None)
@given(st.lists(st.integers(0, 1000), min_size=2, max_size=6), st.sampled_from([0.02, 0.1, 0.5, 1.0]))
def test_sent_and_residual_together_are_all_changes(seeds: list[int], alpha: float) -> None:
    """Conservation: what a parameter changed since it was last shared is its residual."""
    changes = Changes(ChangeSettings(name="top-k"))
    own = last_shared = vector(0)
    changes.begin(own)
    last_shared = own.clone()
    for seed in seeds:
        own = own + vector(seed)
        residual = changes.trained(own)
        torch.testing.assert_close(residual, own - last_shared, atol=1e-4, rtol=0)
        chosen = largest(residual, alpha)
        changes.shared(chosen)
        last_shared[torch.from_numpy(chosen)] = own[torch.from_numpy(chosen)]
        mixed = own * 0.5 + vector(seed + 1)
        changes.mixed(own, mixed)
        own = mixed


def test_the_largest_are_sorted_and_as_many_as_asked() -> None:
    scores = torch.tensor([0.1, -9.0, 3.0, 0.0, 5.0])
    assert largest(scores, 0.4).tolist() == [1, 4]
    assert largest(scores, 0.01).tolist() == [1]
    assert largest(scores, 1.0).tolist() == [0, 1, 2, 3, 4]


def test_random_alpha_sends_the_whole_model_above_the_cap() -> None:
    config = RandomAlpha.Config(name="random-alpha", alphas=(0.1, 1.0), metadata_cap=0.5)
    sharing = RandomAlpha(config, generator())
    own = vector(1)
    sharing.begin(torch.zeros(P))
    sizes = []
    for round in range(40):
        payload = sharing.pack(own, None, round)
        sizes.append(len(payload.buffers["values"]))
        assert ("indices" in payload.buffers) == (sizes[-1] < P)
        other = sharing.unpack(0, payload, torch.zeros(P))
        assert int((other == own).sum()) >= sizes[-1]
    assert set(sizes) == {5, P} and 8 <= sizes.count(P) <= 32


def test_sub_sampling_sends_a_seed_and_both_ends_draw_the_same() -> None:
    config = SubSampling.Config(name="sub-sampling", alpha=0.3)
    sharing, receiver = SubSampling(config, generator()), SubSampling(config, generator())
    own, theirs = vector(1), vector(2)
    payload = sharing.pack(own, None, 1)
    assert set(payload.buffers) == {"values"} and set(payload.scalars) == {"seed", "alpha"}
    filled = receiver.unpack(0, payload, theirs)
    taken = filled == own
    assert int(taken.sum()) == len(payload.buffers["values"]) > 0
    assert torch.equal(filled[~taken], theirs[~taken])
    assert sharing.pack(own, None, 2).scalars["seed"] != payload.scalars["seed"]


@pytest.mark.parametrize(
    "payload",
    [
        Payload({}),
        Payload({"values": np.zeros(3, np.float32)}),
        Payload({"values": np.zeros(3, np.float32), "indices": np.zeros(1, np.uint8)}, {"coding": "nonsense"}),
        Payload({"values": np.zeros(3, np.float32), "indices": np.empty(0, np.uint8)}, {"coding": "all"}),
        Payload({"values": np.zeros(P, np.float64), "indices": np.empty(0, np.uint8)}, {"coding": "all"}),
    ],
)
def test_payloads_that_do_not_fit(payload: Payload) -> None:
    with pytest.raises(CodecError):
        top_k(alpha=0.1).unpack(0, payload, torch.zeros(P))


FULL_BY_ANOTHER_WAY = [
    "sharing={name='top-k', alpha=1.0}",
    "sharing={name='random-alpha', alphas=[1.0]}",
    "sharing={name='random-alpha', alphas=[1.0], metadata_cap=1.0}",
    "sharing={name='sub-sampling', alpha=1.0}",
]


@pytest.mark.parametrize("sharing", FULL_BY_ANOTHER_WAY)
def test_sharing_everything_is_full_sharing_bit_for_bit(
    sharing: str, run_in_memory: Callable[..., InMemoryRun]
) -> None:
    full, sparse = run_in_memory("nodes=5"), run_in_memory("nodes=5", sharing)
    for node in range(5):
        assert torch.equal(full.learners[node].vector(), sparse.learners[node].vector())


def test_indices_are_counted_apart(run_in_memory: Callable[..., InMemoryRun]) -> None:
    run = run_in_memory("nodes=4", "sharing={name='top-k', alpha=0.1}")
    parameters = run._prepared.parameters
    last = read_metrics(run._directory.node(0).metrics)[-2]
    assert last["bytes_values"] == 3 * 2 * 4 * round(0.1 * parameters)
    assert 0 < last["bytes_indices"] < last["bytes_values"] / 4  # type: ignore[operator]


@pytest.mark.parametrize(
    "sharing",
    [
        "name='full'",
        "name='top-k', alpha=0.2",
        "name='random-alpha', alphas=[0.1, 1.0]",
        "name='sub-sampling', alpha=0.3",
    ],
)
@pytest.mark.parametrize("algorithm", ["dpsgd", "random-walk"])
def test_deltas_give_the_same_parameters(
    sharing: str, algorithm: str, run_in_memory: Callable[..., InMemoryRun]
) -> None:
    settings = ("nodes=4", "algorithm.rounds=6", f"algorithm.name={algorithm}")
    values = run_in_memory(*settings, f"sharing={{{sharing}}}")
    deltas = run_in_memory(*settings, f"sharing={{{sharing}, payload='deltas'}}")
    for node in range(4):
        torch.testing.assert_close(values.learners[node].vector(), deltas.learners[node].vector(), atol=2e-5, rtol=1e-4)


def test_deltas_count_their_messages() -> None:
    config = TopK.Config(name="top-k", alpha=0.5)
    sender, receiver = Deltas(TopK(config, generator())), Deltas(TopK(config, generator()))
    own, theirs = vector(1), vector(2)
    sender.begin(torch.zeros(P))
    first, second = sender.pack(own, 3, 1), sender.pack(own + 1, 3, 2)
    with pytest.raises(CodecError, match="change 1"):
        receiver.unpack(0, second, theirs)
    receiver.unpack(0, first, theirs)
    filled = receiver.unpack(0, second, theirs)
    changed = filled != theirs
    assert int(changed.sum()) == P // 2
    torch.testing.assert_close(filled[changed], (own + 1)[changed])
    with pytest.raises(CodecError, match="change 1"):
        receiver.unpack(0, second, theirs)
    assert sender.pack(own, 4, 3).scalars["delta"] == 0  # another edge
