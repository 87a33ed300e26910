"""Partitions: nothing is used twice, nothing is lost, and each rule keeps its promise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from decentralized.data.dataset import Samples
from decentralized.data.partition import ByClass, ByUser, Dirichlet, Iid, Shards
from decentralized.errors import DataError, TooFewSamples


def make(partition: type[Any], **values: Any) -> Any:
    return partition(partition.Config(name="any", **values))


def samples_of(labels: np.ndarray, users: np.ndarray | None = None) -> Samples:
    return Samples(np.zeros((len(labels), 1), np.float32), labels, users)


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def random_samples(seed: int, size: int, classes: int = 5, users: int = 12) -> Samples:
    draw = generator(seed)
    labels = np.concatenate([np.arange(classes), draw.integers(classes, size=size - classes)])
    owners = np.concatenate([np.arange(users), draw.integers(users, size=size - users)])
    return samples_of(draw.permutation(labels), draw.permutation(owners))


COVERING = [
    (Iid, {}),
    (ByUser, {}),
    (Shards, {"shards_per_node": 3}),
    (Dirichlet, {"alpha": 0.5}),
    (Dirichlet, {"alpha": 100.0}),
    (ByClass, {"classes_per_node": 5}),
]


@pytest.mark.parametrize(("rule", "values"), COVERING)
@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), size=st.integers(120, 400), nodes=st.integers(1, 8))
def test_parts_are_a_partition_of_all_samples(
    rule: type[Any], values: dict[str, Any], seed: int, size: int, nodes: int
) -> None:
    samples = random_samples(seed, size)
    parts = make(rule, **values).assign(samples, nodes, generator(seed))
    assert len(parts) == nodes
    for part in parts:
        assert part.dtype == np.int64
        assert len(part) > 0
        assert (np.diff(part) > 0).all()
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(size))


@pytest.mark.parametrize(("rule", "values"), COVERING)
def test_the_generator_alone_decides(rule: type[Any], values: dict[str, Any]) -> None:
    samples = random_samples(1, 300)
    first, again, other = (make(rule, **values).assign(samples, 4, generator(seed)) for seed in (5, 5, 6))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_iid_sizes_differ_by_at_most_one() -> None:
    sizes = [len(part) for part in make(Iid).assign(random_samples(0, 103), 10, generator())]
    assert sorted(sizes) == [10] * 7 + [11] * 3


@given(seed=st.integers(0, 1000), nodes=st.integers(1, 12))
def test_by_user_keeps_users_whole_and_spreads_them_evenly(seed: int, nodes: int) -> None:
    samples = random_samples(seed, 200)
    assert samples.users is not None
    owned = [set(samples.users[part]) for part in make(ByUser).assign(samples, nodes, generator(seed))]
    assert sum(len(users) for users in owned) == 12  # no user on two nodes
    assert max(map(len, owned)) - min(map(len, owned)) <= 1


def test_by_user_accepts_user_numbers_with_gaps() -> None:
    samples = samples_of(np.zeros(4, np.int64), np.array([7, 1000, 7, 3]))
    parts = make(ByUser).assign(samples, 3, generator())
    assert sorted(part.tolist() for part in parts) == [[0, 2], [1], [3]]


def test_by_user_needs_users() -> None:
    with pytest.raises(DataError, match="no users"):
        make(ByUser).assign(samples_of(np.zeros(4, np.int64)), 2, generator())


def test_shards_are_contiguous_in_label_order() -> None:
    """As in the paper: 10 classes, 20 shards of one class each, so no node has more than two classes."""
    samples = samples_of(generator().permutation(np.repeat(np.arange(10), 60)))
    parts = make(Shards).assign(samples, 10, generator())
    assert {len(part) for part in parts} == {60}
    for part in parts:
        classes, counts = np.unique(samples.targets[part], return_counts=True)
        assert len(classes) <= 2
        assert set(counts) <= {30, 60}


def classes_that_hold_most(alpha: float) -> float:
    """The share of a node's largest class, mean over nodes."""
    samples = samples_of(np.repeat(np.arange(10), 500))
    parts = make(Dirichlet, alpha=alpha).assign(samples, 20, generator(3))
    return float(np.mean([np.bincount(samples.targets[part]).max() / len(part) for part in parts]))


def test_a_small_alpha_means_few_classes_per_node() -> None:
    assert classes_that_hold_most(0.05) > 0.7
    assert classes_that_hold_most(1000.0) < 0.13  # 0.1 would be exactly iid


def test_dirichlet_keeps_min_samples_or_gives_up() -> None:
    samples = samples_of(np.repeat(np.arange(10), 30))
    parts = make(Dirichlet, alpha=0.3, min_samples=15).assign(samples, 8, generator())
    assert min(len(part) for part in parts) >= 15
    with pytest.raises(TooFewSamples, match=r"8 nodes.*38 of the 300"):
        make(Dirichlet, min_samples=38).assign(samples, 8, generator())
    with pytest.raises(TooFewSamples, match="no draw of 2"):
        make(Dirichlet, alpha=0.001, min_samples=30, draws=2).assign(samples, 8, generator())


@given(seed=st.integers(0, 1000), nodes=st.integers(1, 20), classes_per_node=st.integers(1, 7))
def test_by_class_holds_exactly_that_many_classes_evenly(seed: int, nodes: int, classes_per_node: int) -> None:
    samples = samples_of(generator(seed).permutation(np.repeat(np.arange(7), 41)))
    parts = make(ByClass, classes_per_node=classes_per_node).assign(samples, nodes, generator(seed))
    counts_NC = np.stack([np.bincount(samples.targets[part], minlength=7) for part in parts])
    assert ((counts_NC > 0).sum(axis=1) == classes_per_node).all()
    holders_C = (counts_NC > 0).sum(axis=0)
    assert holders_C.max() - holders_C.min() <= 1
    for label in np.flatnonzero(holders_C):
        held = counts_NC[:, label][counts_NC[:, label] > 0]
        assert held.sum() == 41
        assert held.max() - held.min() <= 1
    if nodes * classes_per_node >= 7:
        assert holders_C.min() >= 1


def test_by_class_mistakes_are_named() -> None:
    samples = samples_of(np.array([0, 0, 0, 1]))
    with pytest.raises(DataError, match=r"classes_per_node = 3.*2 classes"):
        make(ByClass, classes_per_node=3).assign(samples, 1, generator())
    with pytest.raises(TooFewSamples, match=r"has 1 of the 4 .* held by 2 of 2 nodes: node 1"):
        make(ByClass).assign(samples, 2, generator())


@pytest.mark.parametrize("rule", [Shards, Dirichlet, ByClass])
def test_rules_by_class_refuse_ratings(rule: type[Any]) -> None:
    with pytest.raises(DataError, match="no classes"):
        make(rule).assign(samples_of(np.array([0.5, 5.0], np.float32)), 1, generator())


@pytest.mark.parametrize("rule", [Iid, ByUser, Shards])
def test_more_nodes_than_samples_is_an_error_that_names_the_node(rule: type[Any]) -> None:
    samples = samples_of(np.zeros(3, np.int64), np.arange(3))
    with pytest.raises(TooFewSamples, match=r"node \d gets no samples: 3 training samples for 7 nodes"):
        make(rule).assign(samples, 7, generator())


def test_settings_are_checked(configured: Callable[..., Any]) -> None:
    mistakes: list[tuple[type[Any], dict[str, Any]]] = [
        (Dirichlet, {"alpha": 0.0}),
        (Shards, {"shards_per_node": 0}),
        (Iid, {"alpha": 1.0}),
    ]
    for rule, values in mistakes:
        with pytest.raises(ValidationError):
            configured(rule, **values)
