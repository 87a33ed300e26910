"""The codec gives back what it was given, and answers CodecError to any other bytes."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decentralized.codec import ALIGNMENT, DTYPES, MAX_HEADER_BYTES, Encoded, check_finite, decode, encode
from decentralized.errors import CodecError
from decentralized.types import Message, Payload, Scalar

unhurried = settings(deadline=None)  # the machine may be busy

names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=64)
scalars: st.SearchStrategy[Scalar] = st.one_of(
    st.booleans(), st.integers(-(2**63), 2**64 - 1), st.floats(), st.text(st.characters(exclude_categories=["Cs"]))
)


@st.composite
def arrays(draw: st.DrawFn) -> np.ndarray:
    """Any bit pattern of any type that travels; often empty."""
    dtype = np.dtype(draw(st.sampled_from(sorted(DTYPES))))
    count = draw(st.integers(0, 9))
    content = draw(st.binary(min_size=count * dtype.itemsize, max_size=count * dtype.itemsize))
    return np.frombuffer(content, dtype)


messages = st.builds(
    Message,
    kind=names,
    round=st.integers(0, 2**48 - 1),
    sender=st.integers(0, 2**31 - 1),
    payload=st.builds(
        Payload, st.dictionaries(names, arrays(), max_size=4), st.dictionaries(names, scalars, max_size=4)
    ),
    step=st.integers(0, 2**48 - 1),
)


def payload_of(encoded: Encoded) -> bytes:
    return b"".join(encoded.parts)


def message(**buffers: np.ndarray) -> Message:
    return Message("parameters", 3, 1, Payload(buffers, {"degree": 2}))


@unhurried
@given(messages, st.integers(0, 9))
def test_round_trip_at_any_address(sent: Message, shift: int) -> None:
    encoded = encode(sent)
    memory = bytearray(shift) + payload_of(encoded)
    got = decode(encoded.header, memoryview(memory)[shift:])
    assert (got.kind, got.round, got.sender, got.step) == (sent.kind, sent.round, sent.sender, sent.step)
    assert [(name, type(value), repr(value)) for name, value in got.payload.scalars.items()] == [
        (name, type(value), repr(value)) for name, value in sent.payload.scalars.items()
    ]
    assert list(got.payload.buffers) == list(sent.payload.buffers)
    for name, array in sent.payload.buffers.items():
        assert got.payload.buffers[name].dtype == array.dtype
        assert got.payload.buffers[name].tobytes() == array.tobytes()
        assert got.payload.buffers[name].flags.aligned


@unhurried
@given(messages)
def test_sizes_are_those_of_the_parts(sent: Message) -> None:
    encoded = encode(sent)
    assert encoded.payload_bytes == len(payload_of(encoded)) == encoded.values_bytes + encoded.indices_bytes
    exact = sum(array.nbytes for array in sent.payload.buffers.values())
    assert exact <= encoded.payload_bytes <= exact + (ALIGNMENT - 1) * len(sent.payload.buffers)


def test_one_array_travels_without_padding_and_is_not_copied() -> None:
    values = np.arange(5, dtype=np.float32)
    encoded = encode(message(values=values))
    assert encoded.payload_bytes == values.nbytes
    assert np.shares_memory(np.frombuffer(encoded.parts[0], np.uint8), values)


def test_indices_are_counted_apart_with_the_padding_before_them() -> None:
    encoded = encode(message(values=np.ones(3, np.float32), indices=np.ones(3, np.uint32)))
    assert (encoded.values_bytes, encoded.indices_bytes) == (12, 4 + 12)


def test_an_aligned_payload_is_viewed_not_copied() -> None:
    encoded = encode(message(values=np.arange(4, dtype=np.float64)))
    memory = np.frombuffer(payload_of(encoded), np.float64)
    got = decode(encoded.header, memory.data.cast("B"))
    assert np.shares_memory(got.payload.buffers["values"], memory)


@pytest.mark.parametrize(
    "array",
    [
        np.ones(3, np.int16),
        np.ones(3, np.complex64),
        np.ones(3, ">f4"),
        np.ones((2, 2), np.float32),
        np.float32(1).reshape(()),
        np.ones(6, np.float32)[::2],
        np.array([None]),
        np.array(["text"]),
        np.zeros(2, [("a", "<f4")]),
    ],
    ids=lambda array: f"{array.dtype}-{array.shape}-{array.strides}",
)
def test_arrays_that_do_not_travel(array: np.ndarray) -> None:
    with pytest.raises(CodecError, match="values"):
        encode(message(values=array))


@pytest.mark.parametrize(
    "change",
    [
        {"kind": ""},
        {"kind": "k" * 65},
        {"kind": "\ud800"},
        {"round": -1},
        {"round": 2**48},
        {"step": 2**64},
        {"sender": -1},
        {"sender": 2**31},
        {"scalars": {"": 1}},
        {"scalars": {"n" * 65: 1}},
        {"scalars": {"n": 2**64}},
        {"scalars": {"n": None}},
        {"scalars": {"n": np.float32(1)}},
        {"scalars": {"n": [1]}},
        {"scalars": {str(n): n for n in range(65)}},
        {"scalars": {"n": "x" * MAX_HEADER_BYTES}},
        {"buffers": {str(n): np.ones(1) for n in range(65)}},
        {"buffers": {"n" * 65: np.ones(1)}},
    ],
    ids=lambda change: repr(change)[:40],
)
def test_what_every_peer_would_drop_is_not_sent(change: dict[str, Any]) -> None:
    given_ = {"kind": "k", "round": 1, "sender": 0, "step": 0, "scalars": {}, "buffers": {}, **change}
    payload = Payload(given_.pop("buffers"), given_.pop("scalars"))
    with pytest.raises(CodecError):
        encode(Message(payload=payload, **given_))


def header(*buffers: object, **change: object) -> bytes:
    """A header as a peer could write it."""
    fields = {"kind": "k", "round": 1, "step": 0, "sender": 0, "scalars": {}, "buffers": list(buffers), **change}
    return msgspec.msgpack.encode(list(fields.values()))


GOOD = header(["a", "<f4", 3], ["b", "|u1", 1])  # 12 bytes, 4 of padding, 1 byte


def test_the_header_of_the_next_test_is_understood_without_a_mistake() -> None:
    assert list(decode(GOOD, memoryview(bytes(17))).payload.buffers) == ["a", "b"]


REFUSED = {
    "payload too short": (GOOD, 16),
    "payload without the last buffer": (GOOD, 12),
    "payload too long": (GOOD, 18),
    "payload empty": (GOOD, 0),
    "payload without header": (header(), 1),
    "count too small": (header(["a", "<f4", 3]), 16),
    "count too large": (header(["a", "<f4", 4]), 12),
    "count huge": (header(["a", "<f8", 2**48 - 1]), 8),
    "count beyond 64 bits": (header(["a", "<f8", 2**61]), 8),
    "count negative": (header(["a", "<f8", -1]), 8),
    "count a float": (header(["a", "<f8", 1.0]), 8),
    "name twice": (header(["a", "<f4", 1], ["a", "<f4", 1]), 12),
    "name empty": (header(["", "<f4", 1]), 4),
    "name long": (header(["a" * 65, "<f4", 1]), 4),
    "type of objects": (header(["a", "|O", 1]), 8),
    "type of text": (header(["a", "<U4", 1]), 16),
    "type of the other byte order": (header(["a", ">f4", 1]), 4),
    "type unknown": (header(["a", "nonsense", 1]), 4),
    "type a list": (header(["a", "f4,f4", 1]), 8),
    "a buffer with more fields": (header(["a", "<f4", 1, 1]), 4),
    "a buffer with fewer fields": (header(["a", "<f4"]), 4),
    "65 buffers": (header(*[[str(n), "<f4", 0] for n in range(65)]), 0),
    "65 scalars": (header(scalars={str(n): n for n in range(65)}), 0),
    "a scalar that is a list": (header(scalars={"a": [1]}), 0),
    "a scalar that is bytes": (header(scalars={"a": b"1"}), 0),
    "a scalar that is nothing": (header(scalars={"a": None}), 0),
    "a scalar without a name": (header(scalars={"": 1}), 0),
    "a scalar with a number as name": (header(scalars={1: 1}), 0),
    "kind empty": (header(kind=""), 0),
    "kind long": (header(kind="k" * 65), 0),
    "kind a number": (header(kind=1), 0),
    "round negative": (header(round=-1), 0),
    "round huge": (header(round=2**48), 0),
    "round true": (header(round=True), 0),
    "sender huge": (header(sender=2**31), 0),
    "more fields": (header(more=1), 0),
    "a map": (msgspec.msgpack.encode({"kind": "k"}), 0),
    "nothing": (b"", 0),
    "something after the end": (header() + b"\0", 0),
    "header too long": (header(scalars={"a": "x" * MAX_HEADER_BYTES}), 0),
    "nested without end": (b"\x91" * MAX_HEADER_BYTES, 0),
    "a list of 2**32 - 1 buffers": (header()[:-1] + b"\xdd\xff\xff\xff\xff", 0),
    "a map of 2**32 - 1 scalars": (header()[:-2] + b"\xdf\xff\xff\xff\xff", 0),
    "a text of 2**32 - 1 bytes": (b"\x96\xdb\xff\xff\xff\xff", 0),
    "a text that is not UTF-8": (b"\x96\xa1\xff\x01\x00\x00\x80\x90", 0),
    "an extension type": (b"\x96\xc7\x00\x01\x01\x00\x00\x80\x90", 0),
}


@pytest.mark.parametrize(("head", "size"), REFUSED.values(), ids=REFUSED)
def test_every_bound_is_checked(head: bytes, size: int) -> None:
    with pytest.raises(CodecError):
        decode(head, memoryview(bytes(size)))


@unhurried
@given(st.integers(0, len(GOOD) - 1))
def test_a_truncated_header_is_unreadable(length: int) -> None:
    with pytest.raises(CodecError):
        decode(GOOD[:length], memoryview(bytes(17)))


def decode_or_refuse(head: bytes, payload: bytes) -> None:
    """Whatever is accepted must be what it says; whatever is refused must be refused with CodecError."""
    try:
        got = decode(head, memoryview(payload))
    except CodecError:
        return
    assert sum(array.nbytes for array in got.payload.buffers.values()) <= len(payload)
    assert encode(got).payload_bytes == len(payload)


@unhurried
@given(st.binary(max_size=200), st.binary(max_size=40))
def test_random_bytes(head: bytes, payload: bytes) -> None:
    decode_or_refuse(head, payload)


@unhurried
@given(messages, st.data())
def test_mutated_messages(sent: Message, data: st.DataObject) -> None:
    encoded = encode(sent)
    head, payload = bytearray(encoded.header), payload_of(encoded)
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(head)))
        end = data.draw(st.integers(start, min(len(head), start + 4)))
        head[start:end] = data.draw(st.binary(max_size=4))
    cut = data.draw(st.integers(0, len(payload)))
    decode_or_refuse(bytes(head), payload)
    decode_or_refuse(bytes(head), payload[:cut])
    decode_or_refuse(encoded.header, payload[:cut])


@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8"])
@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 500, 999])
def test_one_value_that_is_not_finite_is_found(dtype: str, odd: float, place: int) -> None:
    values = np.ones(1000, dtype)
    values[place] = odd
    with pytest.raises(CodecError, match="'values' holds NaN or infinity"):
        check_finite(Payload({"values": values, "other": np.ones(2)}))


def test_infinities_that_cancel_out_are_found() -> None:
    with pytest.raises(CodecError):
        check_finite(Payload({"values": np.array([np.inf, -np.inf], np.float32)}))


@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8"])
def test_finite_values_whose_sum_is_not_are_finite(dtype: str) -> None:
    values = np.full(1000, np.finfo(dtype).max, dtype)
    check_finite(Payload({"values": values, "none": np.empty(0, dtype)}, {"degree": 2, "name": "nan"}))
    check_finite(Payload({"numbers": np.full(9, -1, np.int64).view(np.uint64)}))


@pytest.mark.parametrize("odd", [float("nan"), float("inf"), float("-inf")])
def test_a_scalar_that_is_not_finite_is_found(odd: float) -> None:
    with pytest.raises(CodecError, match="'alpha' is"):
        check_finite(Payload({}, {"alpha": odd}))
