"""What the L2C study makes of the weights of a run, and the places of its sweeps."""

from __future__ import annotations

import numpy as np
import pytest

from scripts.l2c.methods import Variant
from scripts.l2c.weights import Weights, by_shared, with_mates
from scripts.l2c_study import places

ROWS = np.array(  # nodes 0 and 1 have the same task, node 2 shares a class with both, node 3 none
    [
        [0.2, 0.5, 0.2, 0.1],
        [0.2, 0.2, 0.4, 0.2],
        [0.1, 0.3, 0.5, 0.1],
        [0.0, 0.0, 0.0, 1.0],
    ]
)
CLASSES = (frozenset({0, 1}), frozenset({0, 1}), frozenset({1, 2}), frozenset({3, 4}))
WEIGHTS = Weights({7: ROWS}, CLASSES)


def test_mates_are_those_with_the_same_classes() -> None:
    assert [WEIGHTS.mates(node) for node in range(4)] == [[1], [0], [], []]
    first, share = with_mates(WEIGHTS, ROWS)
    assert first == 0.5, "node 1 gives node 2 more"
    assert share == pytest.approx((0.5 / 0.8 + 0.2 / 0.8) / 2)


def test_equal_weights_find_nobody() -> None:
    first, share = with_mates(WEIGHTS, np.full((4, 4), 0.25))
    assert first == 0 and share == pytest.approx(1 / 3)


def test_pairs_by_the_number_of_shared_classes() -> None:
    found = {shared: sorted(values) for shared, values in by_shared(WEIGHTS, 7)}
    assert found == {0: [0.0, 0.0, 0.0, 0.1, 0.1, 0.2], 1: [0.1, 0.2, 0.3, 0.4], 2: [0.2, 0.5]}


def test_a_budget_is_pruning_for_those_who_learn_and_a_graph_for_the_others() -> None:
    learning, fixed, alone = (Variant(name, {"name": name.lower()}) for name in ("L2C", "D-PSGD", "local"))
    assert list(places("budget", learning, 15)) == [
        (1 / 15, ["algorithm.prune=13"]),
        (2 / 15, ["algorithm.prune=12"]),
        (4 / 15, ["algorithm.prune=10"]),
        (8 / 15, ["algorithm.prune=6"]),
    ]
    assert [x for x, _ in places("budget", fixed, 15)] == [2 / 15, 4 / 15, 8 / 15]
    assert not list(places("budget", alone, 15))
    assert [x for x, _ in places("ratio", alone, 15)] == [0.1, 0.2, 0.3, 0.4, 0.5]
