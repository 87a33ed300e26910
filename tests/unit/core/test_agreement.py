"""What nodes agree on through agent 0."""

from __future__ import annotations

from decentralized.agreement import Ledger, NodeAgreement
from decentralized.control import Contributed, Decided, Fact, Proposed, Summed


def test_the_first_proposal_decides_for_good() -> None:
    ledger = Ledger(3)
    assert ledger.hear(Proposed("end", 7)) == [Decided("end", 7)]
    assert ledger.hear(Proposed("end", 8)) == []
    assert ledger.hear(Proposed("other", 1)) == [Decided("other", 1)]


def test_sums_are_told_once_all_have_contributed_and_again_when_they_change() -> None:
    ledger = Ledger(2)
    assert ledger.hear(Contributed(0, "walks", {"sent": 3, "arrived": 1})) == []
    assert ledger.hear(Contributed(0, "walks", {"sent": 3, "arrived": 2})) == []
    assert ledger.hear(Contributed(1, "walks", {"sent": 1, "arrived": 1})) == [
        Summed("walks", {"sent": 4, "arrived": 3})
    ]
    assert ledger.hear(Contributed(1, "walks", {"sent": 1, "arrived": 2})) == [
        Summed("walks", {"sent": 4, "arrived": 4})
    ]


def test_a_node_says_and_hears() -> None:
    told: list[Fact] = []
    agreement = NodeAgreement(5, lambda fact, droppable=False: told.append(fact))
    agreement.propose("end", 9)
    agreement.contribute("walks", {"sent": 1})
    assert told == [Proposed("end", 9), Contributed(5, "walks", {"sent": 1})]
    assert agreement.decided("end") is None and agreement.sums("walks") is None
    agreement.hear(Decided("end", 4))
    agreement.hear(Summed("walks", {"sent": 2}))
    assert agreement.decided("end") == 4 and agreement.sums("walks") == {"sent": 2}
