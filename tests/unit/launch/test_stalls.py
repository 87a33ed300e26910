"""Who waits for whom, who is at the root of it, and whether anybody is."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decentralized.types import NodeId
from launch.stalls import cycle_in, root_of

NODES = 9
nodes = st.integers(0, NODES - 1)
waits = st.dictionaries(nodes, nodes, max_size=NODES)


def after(steps: int, node: NodeId, waits_for: Mapping[NodeId, NodeId]) -> NodeId | None:
    """Where so many steps along the waits lead; None if they end before."""
    for _ in range(steps):
        if node not in waits_for:
            return None
        node = waits_for[node]
    return node


def in_circle(node: NodeId, waits_for: Mapping[NodeId, NodeId]) -> bool:
    return any(after(steps, node, waits_for) == node for steps in range(1, NODES + 1))


def test_the_root_is_at_the_end_of_the_chain() -> None:
    waits_for = {0: 1, 1: 2, 2: 5, 3: 2}
    assert [root_of(node, waits_for) for node in (0, 3, 2, 5, 7)] == [5, 5, 5, 5, 7]
    assert cycle_in(waits_for) == []


@pytest.mark.parametrize("waits_for", [{0: 1, 1: 2, 2: 3, 3: 1}, {3: 1, 1: 2, 2: 3, 4: 5, 5: 6}])
def test_a_circle_has_no_root(waits_for: dict[NodeId, NodeId]) -> None:
    assert root_of(1, waits_for) is None and root_of(3, waits_for) is None
    assert sorted(cycle_in(waits_for)) == [1, 2, 3]


def test_one_who_leads_into_a_circle_is_not_part_of_it() -> None:
    assert root_of(0, {0: 1, 1: 2, 2: 1}) is None
    assert sorted(cycle_in({0: 1, 1: 2, 2: 1})) == [1, 2]


def test_a_node_that_waits_for_itself() -> None:
    assert cycle_in({4: 4}) == [4] and root_of(4, {4: 4}) is None


def test_nobody_waits() -> None:
    assert cycle_in({}) == [] and root_of(3, {}) == 3


@given(waits)
def test_a_root_waits_for_nobody_and_only_circles_have_none(waits_for: dict[NodeId, NodeId]) -> None:
    for node in range(NODES):
        root = root_of(node, waits_for)
        if root is None:
            assert after(NODES, node, waits_for) is not None, "it can be followed for ever"
        else:
            assert root not in waits_for
            assert root in [after(steps, node, waits_for) for steps in range(NODES + 1)]


@given(waits)
def test_a_circle_is_found_whenever_there_is_one(waits_for: dict[NodeId, NodeId]) -> None:
    cycle = cycle_in(waits_for)
    assert bool(cycle) == any(in_circle(node, waits_for) for node in range(NODES))
    assert [waits_for[node] for node in cycle] == [*cycle[1:], *cycle[:1]]
    assert len(set(cycle)) == len(cycle)
