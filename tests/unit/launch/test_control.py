"""Facts on their way: one line each, never torn, never blocking the node."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from decentralized import control
from decentralized.control import (
    Abort,
    Addresses,
    AnyFact,
    ControlLine,
    Evaluated,
    Fact,
    Finished,
    Lines,
    RoundDone,
    Stop,
)

EXAMPLES: list[Fact] = [
    Stop(),
    Addresses({0: "tcp://127.0.0.1:1", 10: "tcp://[::1]:2"}, {0: "", 10: "key"}),
    RoundDone(3, 7, None, 2**40),
    Evaluated(0, 0, {"test_accuracy": 0.5, "test_loss": None}),
    Finished(1, 2, 0.25, {}, {"bytes_sent": 5}),
    Abort("NodeFailed", "two\nlines, and é", "", 6),
]


@pytest.mark.parametrize("fact", EXAMPLES, ids=lambda fact: type(fact).__name__)
def test_a_fact_is_one_line_and_comes_back(fact: Fact) -> None:
    line = control.encode(fact)
    assert line.count(b"\n") == 1 and line.endswith(b"\n")
    assert control.decode(line[:-1]) == fact


def test_every_fact_can_be_decoded() -> None:
    assert set(get_args(AnyFact)) == set(Fact.__subclasses__())


@pytest.mark.parametrize("line", [b"", b"{}", b"[]", b'{"type":"Nothing"}', b'{"type":"Stop","more":1}', b"\xff"])
def test_what_is_no_fact_is_an_error(line: bytes) -> None:
    with pytest.raises((msgspec.DecodeError, UnicodeDecodeError)):
        control.decode(line)


@given(lines=st.lists(st.binary(max_size=9).map(lambda line: line.replace(b"\n", b"")), max_size=9), cut=st.data())
def test_lines_come_whole_however_the_stream_is_cut(lines: list[bytes], cut: st.DataObject) -> None:
    stream = b"".join(line + b"\n" for line in lines) + b"rest"
    reader = Lines()
    found = []
    while stream:
        size = cut.draw(st.integers(1, len(stream)))
        found += list(reader.feed(stream[:size]))
        stream = stream[size:]
    assert found == lines
    assert list(reader.feed(b"\n")) == [b"rest"]


def test_a_line_without_end_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "MAX_LINE_BYTES", 100)
    reader = Lines()
    assert list(reader.feed(b"x" * 100)) == []
    with pytest.raises(ValueError, match="more than 100 bytes"):
        list(reader.feed(b"x"))


@pytest.fixture
def ends() -> Iterator[tuple[ControlLine, socket.socket]]:
    """A node's control line, and the other side's socket."""
    ours, theirs = socket.socketpair()
    line = ControlLine(ours)
    yield line, theirs
    theirs.close()
    line.close(patience_s=0)


def test_both_ways(ends: tuple[ControlLine, socket.socket]) -> None:
    line, other = ends
    line.tell(EXAMPLES[2])
    assert control.decode(other.recv(1000).strip()) == EXAMPLES[2]
    assert line.hear(0) == []
    other.sendall(control.encode(EXAMPLES[1]) + control.encode(Stop())[:5])
    assert line.hear(1) == [EXAMPLES[1]]
    other.sendall(control.encode(Stop())[5:])
    assert line.hear(1) == [Stop()]


def test_a_node_is_never_blocked_and_its_backlog_is_bounded(ends: tuple[ControlLine, socket.socket]) -> None:
    line, other = ends
    fact = RoundDone(1, 1, 0.5, 1)
    for _ in range(20_000):  # nobody reads
        line.tell(fact, droppable=True)
    line.tell(Stop())  # not droppable
    other.setblocking(False)
    reader = Lines()
    heard: list[Fact] = []
    while not heard or heard[-1] != Stop():
        heard += [control.decode(part) for part in reader.feed(other.recv(1 << 20))]
        line.hear(0)  # a look also sends what waits
    told = len(heard) - 1
    assert set(map(type, heard[:-1])) == {RoundDone}
    assert control.MAX_BACKLOG_BYTES / len(control.encode(fact)) < told < 20_000


def test_the_end_of_the_other_side_is_heard(ends: tuple[ControlLine, socket.socket]) -> None:
    line, other = ends
    other.close()
    line.tell(Stop())
    with pytest.raises(EOFError, match="is gone"):
        line.hear(0)
