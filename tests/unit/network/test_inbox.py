"""What waits to be taken is matched by its key and bounded for each sender."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from decentralized.inbox import Inbox
from decentralized.types import Message, NodeId, Payload


def message(round: int, sender: NodeId = 1, kind: str = "k", step: int = 0, size: int = 0) -> Message:
    return Message(kind, round, sender, Payload({"values": np.zeros(size, np.uint8)}), step)


def test_the_key_is_kind_round_step_and_sender() -> None:
    inbox = Inbox(9, 9)
    kept = [message(1), message(1, kind="other"), message(2), message(1, step=1), message(1, sender=2)]
    assert [inbox.put(item) for item in kept] == [None] * 5
    assert [inbox.put(message(item.round, item.sender, item.kind, item.step)) for item in kept] == [
        "duplicate or stale"
    ] * 5
    assert inbox.take("k", (1, 0, 3)) is None
    assert inbox.take("k", (1, 0, 2)) is kept[4]
    assert inbox.take("other", (1, 0, 1)) is kept[1]
    assert inbox.take("k", (1, 0, 1)) is kept[0]
    assert inbox.take("k", (1, 1, 1)) is kept[3]
    assert inbox.take("k", (2, 0, 1)) is kept[2]
    assert inbox.take("k", (2, 0, 1)) is None


def test_what_is_not_newer_than_what_was_taken_is_stale() -> None:
    inbox = Inbox(9, 9)
    inbox.put(message(2, step=1))
    inbox.take("k", (2, 1, 1))
    assert inbox.put(message(1)) == "duplicate or stale"
    assert inbox.put(message(2)) == "duplicate or stale"
    assert inbox.put(message(2, step=1)) == "duplicate or stale"
    assert inbox.put(message(2, step=2)) is None
    assert inbox.put(message(1, kind="other")) is None
    assert inbox.put(message(1, sender=2)) is None


def test_the_first_is_the_one_that_arrived_first() -> None:
    inbox = Inbox(9, 9)
    for round, sender in [(5, 3), (1, 2), (6, 3), (1, 1)]:
        inbox.put(message(round, sender))
    inbox.take("k", (1, 0, 2))
    assert [(item.round, item.sender) for item in iter(lambda: inbox.take_first("k"), None)] == [(5, 3), (6, 3), (1, 1)]


def test_a_sender_cannot_take_more_room_by_making_up_kinds() -> None:
    inbox = Inbox(4, 100)
    dropped = [inbox.put(message(1, kind=f"kind-{number}")) for number in range(50)]
    assert dropped == [None] * 4 + ["too much waiting"] * 46
    assert len(inbox._waiting) == 4
    assert inbox.put(message(1, sender=2)) is None, "the room of others is their own"


def test_room_is_bounded_in_bytes_and_given_back() -> None:
    inbox = Inbox(99, 10)
    assert inbox.put(message(1, size=10)) is None
    assert inbox.put(message(2, size=1)) == "too much waiting"
    assert inbox.put(message(2, size=0)) is None
    assert inbox.take("k", (1, 0, 1)) is not None
    assert inbox.put(message(3, size=10)) is None


def test_a_sender_that_was_started_again_is_forgotten_and_no_other() -> None:
    inbox = Inbox(9, 9)
    for sender in (1, 2):
        for round in (1, 2):
            inbox.put(message(round, sender, size=2))
        inbox.take("k", (1, 0, sender))
    inbox.put(message(3, 1, "other"))
    inbox.forget(1)
    assert inbox.put(message(1, 1, size=9)) is None
    assert inbox.put(message(1, 2)) == "duplicate or stale"
    assert [item.round for item in iter(lambda: inbox.take_first("k"), None)] == [2, 1]
    assert inbox.take_first("other") is None


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.booleans(), st.integers(0, 4), st.integers(0, 2), st.sampled_from("ab"), st.integers(0, 1)),
        max_size=60,
    )
)
def test_nothing_is_given_out_twice_and_nothing_remains_of_what_was_taken(
    steps: list[tuple[bool, int, int, str, int]],
) -> None:
    inbox = Inbox(5, 8)
    given_out: set[tuple[str, int, int, int]] = set()
    for put, round, sender, kind, step in steps:
        if put:
            inbox.put(message(round, sender, kind, step, size=3))
        elif (taken := inbox.take(kind, (round, step, sender))) is not None:
            key = (taken.kind, taken.round, taken.step, taken.sender)
            assert key == (kind, round, step, sender)
            assert key not in given_out
            given_out.add(key)
        waiting = [key for kept in inbox._waiting.values() for key in kept]
        assert all(sum(key[2] == sender for key in waiting) <= 2 for sender in range(3))
    for kind in "ab":
        while inbox.take_first(kind) is not None:
            pass
    assert inbox._waiting == {}
    assert not any(inbox._bytes.values())
    assert not any(inbox._messages.values())


def test_texts_in_the_header_take_room_too() -> None:
    inbox = Inbox(99, 10)
    wordy = Message("k", 1, 1, Payload({}, {"text": "x" * 8, "number": 5}))
    assert inbox.put(wordy) is None
    assert inbox.put(message(2, size=3)) == "too much waiting"
    inbox.take("k", (1, 0, 1))
    assert inbox.put(message(2, size=10)) is None
