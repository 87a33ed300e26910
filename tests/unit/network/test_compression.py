"""Indices come back exactly, by the shortest coding, near the entropy; other bytes are answered with CodecError."""

from __future__ import annotations

import hashlib
import math
import tracemalloc
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decentralized.compression.index_set import Coding, IndexSet
from decentralized.compression.indices import CODINGS, decode_indices, encode_indices
from decentralized.compression.subset import MAX_SEED, seeded_indices
from decentralized.errors import CodecError
from decentralized.types import Scalar

unhurried = settings(deadline=None)  # the machine may be busy
by_name = {coding.name: coding for coding in CODINGS}
each_coding = pytest.mark.parametrize("coding", CODINGS, ids=list(by_name))


def integers(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


@st.composite
def index_sets(draw: st.DrawFn) -> tuple[np.ndarray, int]:
    """Sets of few indices far apart, and of many close together, at least one index in each."""
    widest = draw(st.sampled_from([1, 2, 5, 200, 20_000]))
    gaps = draw(st.lists(st.integers(1, widest), min_size=1, max_size=60))
    indices = np.cumsum(gaps) - 1
    return indices, int(indices[-1]) + 1 + draw(st.sampled_from([0, 1, 7, 1000]))


any_scalar: st.SearchStrategy[Scalar] = st.one_of(
    st.booleans(), st.integers(-3, 12), st.integers(-(2**63), 2**64 - 1), st.floats(), st.text(max_size=3)
)


@unhurried
@given(index_sets(), st.sampled_from([np.int64, np.uint32]))
def test_round_trip(chosen: tuple[np.ndarray, int], dtype: type[np.integer]) -> None:
    indices, total = chosen
    encoded = encode_indices(indices.astype(dtype), total)
    assert encoded.buffer.dtype == np.uint8 and encoded.buffer.ndim == 1
    decoded = decode_indices(encoded.buffer, {**encoded.scalars, "degree": 2}, total)
    assert decoded.dtype == np.int64
    np.testing.assert_array_equal(decoded, indices)


@each_coding
@unhurried
@given(index_sets())
def test_every_coding_gives_back_what_it_got_in_the_bytes_it_said(
    coding: Coding, chosen: tuple[np.ndarray, int]
) -> None:
    indices, total = chosen
    index_set = IndexSet(indices, total)
    size, parameters = coding.plan(index_set)
    buffer = coding.encode(index_set, parameters)
    assert len(buffer) == size
    np.testing.assert_array_equal(coding.decode(buffer, parameters, total), indices)


@unhurried
@given(index_sets())
def test_the_shortest_coding_is_chosen(chosen: tuple[np.ndarray, int]) -> None:
    indices, total = chosen
    encoded = encode_indices(indices, total)
    shortest = min(coding.plan(IndexSet(indices, total))[0] for coding in CODINGS)
    assert len(encoded.buffer) == (0 if len(indices) == total else shortest)


@unhurried
@given(index_sets())
def test_no_number_of_low_bits_beats_the_one_chosen(chosen: tuple[np.ndarray, int]) -> None:
    indices, total = chosen
    index_set = IndexSet(indices, total)
    size, _ = by_name["golomb-rice"].plan(index_set)
    values = index_set.gaps_n.astype(np.int64) - 1
    assert size == min(-(-(len(values) * (b + 1) + int((values >> b).sum())) // 8) for b in range(40))


@pytest.mark.parametrize(
    ("indices", "total", "coding"),
    [
        (integers(), 0, "none"),
        (integers(), 1000, "none"),
        (integers(0), 1, "all"),
        (np.arange(1000), 1000, "all"),
        (integers(0, 2, 3, 5), 7, "bitmap"),
        (integers(2**30 - 2), 2**30, "golomb-rice"),
        (np.arange(0, 10_000, 50), 10_000, "golomb-rice"),
        (np.arange(9_000, 9_100), 20_000, "elias-gamma"),
        (np.cumsum(np.tile([100, 16_000], 50)), 10**6, "variable-bytes"),
        (integers(0, 2**40, 2**47 - 1), 2**47, "variable-bytes"),
    ],
)
def test_where_each_coding_wins(indices: np.ndarray, total: int, coding: str) -> None:
    encoded = encode_indices(indices, total)
    assert encoded.scalars["coding"] == coding
    np.testing.assert_array_equal(decode_indices(encoded.buffer, encoded.scalars, total), indices)


@pytest.mark.parametrize("coding", ["variable-bytes", "golomb-rice", "elias-gamma"])
def test_indices_beyond_31_bits(coding: str) -> None:
    index_set = IndexSet(np.sort(np.random.default_rng(0).integers(0, 2**47, 500)), 2**47)
    _, parameters = by_name[coding].plan(index_set)
    buffer = by_name[coding].encode(index_set, parameters)
    np.testing.assert_array_equal(by_name[coding].decode(buffer, parameters, 2**47), index_set.indices_n)


def test_known_bytes() -> None:
    """The format must not change unnoticed: two versions of the program would misread each other."""
    index_set = IndexSet(integers(2, 3, 9, 300), 301)
    expected: dict[str, tuple[Mapping[str, int], Sequence[int]]] = {
        "variable-bytes": ({}, [3, 1, 6, 0xA3, 0x02]),  # gaps 3, 1, 6, 291 = 35 + 2 * 128
        # widths 1, 0, 2, 8: 01 1 001 000000001, then bit 0 of 3, 6, 291: 101, bit 1 of 6, 291: 11, the rest of 291
        "elias-gamma": ({}, [0b00100110, 0b11000000, 0b10001110, 0]),
    }
    for name, (parameters, content) in expected.items():
        assert by_name[name].encode(index_set, parameters).tolist() == content
    small = IndexSet(integers(2, 3, 9), 10)  # v = 2, 0, 5: low bits 0, 0, 1, then 1, 0, 2 in unary: 01 1 001
    assert by_name["golomb-rice"].encode(small, {"low_bits": 1}).tolist() == [0b00110100, 0b1]
    assert by_name["bitmap"].encode(small, {}).tolist() == [0b00001100, 0b10]


@pytest.mark.parametrize(
    "indices",
    [
        integers(3, 3),
        integers(4, 3),
        integers(-1, 3),
        integers(3, 10),
        integers(0, 2**32 + 1, 5),
        np.zeros((2, 2), int),
    ],
)
def test_what_is_no_index_set_is_refused(indices: np.ndarray) -> None:
    with pytest.raises(CodecError):
        encode_indices(indices, 10)


def test_the_caller_keeps_its_array() -> None:
    indices = integers(1, 5, 8)
    indices.flags.writeable = False
    encode_indices(indices, 10)


def entropy(alpha: float) -> float:
    """Bits for each index of a random set: H(alpha) / alpha."""
    return -(alpha * math.log2(alpha) + (1 - alpha) * math.log2(1 - alpha)) / alpha


@pytest.mark.parametrize(("alpha", "coding"), [(0.01, "golomb-rice"), (0.1, "golomb-rice"), (0.3, "golomb-rice")])
def test_random_sets_are_coded_near_their_entropy(alpha: float, coding: str) -> None:
    indices = seeded_indices(1, alpha, 217_014)
    encoded = encode_indices(indices, 217_014)
    assert encoded.scalars["coding"] == coding
    assert 8 * len(encoded.buffer) / len(indices) < 1.02 * entropy(len(indices) / 217_014)


def test_half_of_all_indices_are_a_bitmap_or_as_short() -> None:
    indices = seeded_indices(1, 0.5, 217_014)
    encoded = encode_indices(indices, 217_014)
    assert encoded.scalars == {"coding": "bitmap"} and len(encoded.buffer) == 27_127


# ---- bytes from a stranger


def read(buffer: np.ndarray, scalars: Mapping[str, Scalar], total: int) -> None:
    """Either valid indices or CodecError; nothing else may happen."""
    try:
        indices = decode_indices(buffer, scalars, total)
    except CodecError:
        return
    assert indices.dtype == np.int64 and len(indices) <= total
    if len(indices):
        assert indices[0] >= 0 and indices[-1] < total and (np.diff(indices) > 0).all()


@settings(deadline=None, max_examples=500)
@given(
    st.binary(max_size=30),
    st.sampled_from([*by_name, "all", "none"]),
    st.integers(0, 240),
    st.integers(0, 9),
    st.sampled_from([0, 1, 8, 100, 240, 2**20, 2**31, 2**47]),
)
def test_random_bytes(content: bytes, coding: str, count: int, low_bits: int, total: int) -> None:
    if coding == "all" and total > 2**20:
        total = 2**20
    scalars: dict[str, Scalar] = {"coding": coding, "count": count, "low_bits": low_bits}
    read(np.frombuffer(content, np.uint8), scalars, total)


@unhurried
@given(index_sets(), st.sampled_from(list(by_name)), st.data())
def test_a_valid_message_with_something_changed(chosen: tuple[np.ndarray, int], name: str, data: st.DataObject) -> None:
    index_set = IndexSet(*chosen)
    _, parameters = by_name[name].plan(index_set)
    buffer = by_name[name].encode(index_set, parameters)
    scalars: dict[str, Scalar] = {"coding": name, **parameters}
    match data.draw(st.sampled_from(["flip", "cut", "longer", "scalar"])):
        case "flip":
            buffer[data.draw(st.integers(0, len(buffer) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        case "cut":
            buffer = buffer[: data.draw(st.integers(0, len(buffer) - 1))]
        case "longer":
            buffer = np.concatenate([buffer, np.frombuffer(data.draw(st.binary(min_size=1, max_size=9)), np.uint8)])
        case _:
            scalars[data.draw(st.sampled_from(sorted(scalars)))] = data.draw(any_scalar)
    read(buffer, scalars, index_set.total)


@each_coding
@pytest.mark.parametrize("change", ["shorter", "longer", "last bit"])
def test_every_bit_and_byte_counts(coding: Coding, change: str) -> None:
    index_set = IndexSet(np.arange(0, 301, 7)[:41], 301)
    _, parameters = coding.plan(index_set)
    buffer = coding.encode(index_set, parameters)
    if change == "shorter":
        buffer = buffer[:-1]
    elif change == "longer":
        buffer = np.append(buffer, np.uint8(0))
    else:
        buffer[-1] ^= 0x80
    with pytest.raises(CodecError):
        coding.decode(buffer, parameters, 301)


def encoded_as(name: str, content: Sequence[int], **parameters: Scalar) -> tuple[np.ndarray, dict[str, Scalar]]:
    return np.array(content, np.uint8), {"coding": name, **parameters}


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (encoded_as("huffman", [1]), "known are"),
        (encoded_as("all", [1]), "nothing should travel"),
        (encoded_as("none", [1]), "nothing should travel"),
        ((np.zeros(1, np.uint8), {}), "known are"),
        ((np.zeros(1, np.uint8), {"coding": True}), "known are"),
        (encoded_as("bitmap", []), "known are"),
        (encoded_as("bitmap", [1]), "a bitmap of 16"),
        (encoded_as("bitmap", [1, 2, 3]), "at most 2 bytes"),
        (encoded_as("variable-bytes", [17], count=1), "past the end"),
        (encoded_as("variable-bytes", [9, 8], count=2), "past the end"),
        (encoded_as("variable-bytes", [0], count=1), "a gap of nothing"),
        (encoded_as("variable-bytes", [0x81], count=1), "others came"),
        (encoded_as("variable-bytes", [1, 0x81], count=1), "others came"),
        (encoded_as("variable-bytes", [1, 1], count=1), "others came"),
        (encoded_as("variable-bytes", [0x80, 1], count=1), "past the end"),
        (encoded_as("variable-bytes", [0x81, 0], count=1), "longer than it need be"),
        (encoded_as("golomb-rice", [1]), "count is None"),
        (encoded_as("golomb-rice", [1], count=0, low_bits=0), "count is 0"),
        (encoded_as("golomb-rice", [1], count=True, low_bits=0), "count is True"),
        (encoded_as("golomb-rice", [1], count=1.0, low_bits=0), r"count is 1\.0"),
        (encoded_as("golomb-rice", [1], count=17, low_bits=0), "count is 17"),
        (encoded_as("golomb-rice", [1], count=1, low_bits=6), "low_bits is 6"),
        (encoded_as("golomb-rice", [1], count=1, low_bits=-1), "low_bits is -1"),
        (encoded_as("golomb-rice", [3], count=1, low_bits=0), "others came"),
        (encoded_as("golomb-rice", [0x80, 0x00], count=1, low_bits=0), "follows the last index"),
        (encoded_as("golomb-rice", [0x80], count=1, low_bits=3), "past the end"),
        (encoded_as("elias-gamma", [1], count=2), "fewer came"),
        (encoded_as("elias-gamma", [0x20], count=1), "past the end"),
        (encoded_as("elias-gamma", [0x10], count=1), "ends within"),
        (encoded_as("elias-gamma", [0x10, 1], count=1), "past the end"),
        (encoded_as("elias-gamma", [3], count=1), "follows the last index"),
    ],
)
def test_the_reason_is_said(message: tuple[np.ndarray, dict[str, Scalar]], reason: str) -> None:
    with pytest.raises(CodecError, match=reason):
        decode_indices(*message, 16)


@pytest.mark.parametrize("buffer", [np.zeros(1, np.int8), np.zeros((1, 1), np.uint8), np.zeros(2, np.float32)])
def test_another_type_of_buffer(buffer: np.ndarray) -> None:
    with pytest.raises(CodecError, match="at most 2 bytes"):
        decode_indices(buffer, {"coding": "bitmap"}, 16)


@each_coding
def test_a_long_message_takes_no_memory(coding: Coding) -> None:
    buffer = np.full(10_000_000, 0xFF, np.uint8)
    tracemalloc.start()
    try:
        with pytest.raises(CodecError):
            decode_indices(buffer, {"coding": coding.name, "count": 1000, "low_bits": 1}, 1000)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


# ---- the subset that both ends draw


def test_a_seed_gives_one_subset() -> None:
    """The digest was recorded once: other versions and processors must draw the same subset."""
    indices = seeded_indices(90, 0.3, 100_001)
    np.testing.assert_array_equal(indices, seeded_indices(90, 0.3, 100_001))
    assert hashlib.sha256(indices.astype("<i8").tobytes()).hexdigest()[:16] == "dbe37a259a38a0bf"
    assert not np.array_equal(indices, seeded_indices(91, 0.3, 100_001))


@pytest.mark.parametrize("alpha", [0.01, 0.1, 0.3, 0.5, 0.99])
def test_each_index_is_drawn_with_probability_alpha(alpha: float) -> None:
    seeds, total = 20, 100_000
    drawn = [seeded_indices(seed, alpha, total) for seed in range(seeds)]
    deviation = math.sqrt(alpha * (1 - alpha) / (total * seeds))
    assert abs(sum(map(len, drawn)) / (total * seeds) - alpha) < 4 * deviation
    odd = sum(int((indices % 2).sum()) for indices in drawn) / (total * seeds / 2)  # both halves of a raw number
    assert abs(odd - alpha) < 4 * math.sqrt(2) * deviation


@pytest.mark.parametrize("total", [0, 1, 2, 999])
def test_none_all_and_the_type(total: int) -> None:
    assert len(seeded_indices(0, 0.0, total)) == 0
    np.testing.assert_array_equal(seeded_indices(MAX_SEED, 1.0, total), np.arange(total))
    indices = seeded_indices(5, 0.5, total)
    assert indices.dtype == np.int64 and (np.diff(indices) > 0).all()


@pytest.mark.parametrize(("seed", "alpha"), [(-1, 0.5), (2**63, 0.5), (True, 0.5), (1, 1.5), (1, -0.1), (1, math.nan)])
def test_a_subset_that_cannot_be(seed: int, alpha: float) -> None:
    with pytest.raises(CodecError):
        seeded_indices(seed, alpha, 10)


@pytest.mark.parametrize("scalars", [{"coding": "x" * 60_000}, {"coding": "golomb-rice", "count": "x" * 60_000}])
def test_what_a_peer_wrote_is_not_repeated_at_length(scalars: dict[str, Scalar]) -> None:
    with pytest.raises(CodecError) as caught:
        decode_indices(np.ones(3, np.uint8), scalars, 100)
    assert len(str(caught.value)) < 200
