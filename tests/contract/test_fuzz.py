"""The short form of `python -m scripts.fuzz`: seeded, with all kinds of hostile messages and connections."""

from __future__ import annotations

import pytest

from scripts.fuzzing.connections import Plan, fuzz_connections
from scripts.fuzzing.messages import fuzz_messages
from scripts.fuzzing.mutations import KINDS

SOME = 99  # messages of each kind, a third of them to each node
NEVER_READ = {"wrong magic", "another run", "second process with a node's id", "in the name of another", "header bomb"}


def test_hostile_messages_neither_crash_a_node_nor_change_what_it_mixes() -> None:
    report = fuzz_messages(SOME * len(KINDS), seed=3)
    assert report.crashes == []
    assert report.wrong_mixes == 0
    assert report.log_lines <= 3 * 3 * 6  # nodes, senders, reasons
    outcomes = report.outcomes
    assert all(counts["sent"] == SOME for counts in outcomes.values())
    for kind in NEVER_READ:
        assert outcomes[kind]["dropped"] == SOME, kind
    assert outcomes["valid (to compare)"]["read"] > SOME / 2, "or the others do not get far enough, either"
    assert outcomes["NaN and infinity"]["read"] == 0
    for kind in ("NaN and infinity", "index coding", "seeds", "scalars"):
        assert outcomes[kind]["refused"] > 0, f"{kind}: they should get as far as the sharing rules"


@pytest.mark.parametrize(
    "plan",
    [
        Plan(count=156, deadline_s=1.0),
        Plan(count=1000, leave=True, deadline_s=1.0),
        Plan(count=500, leave=True, descriptors=128, deadline_s=1.0),
    ],
    ids=["of all kinds", "opened and left", "when descriptors run out"],
)
def test_hostile_connections_do_not_stop_an_honest_pair(plan: Plan) -> None:
    report = fuzz_connections(plan)
    assert report.alive
    assert report.newcomer
    assert report.wrong_rounds == 0
    assert report.reclaimed_s < 4 * plan.deadline_s
    assert report.refused
