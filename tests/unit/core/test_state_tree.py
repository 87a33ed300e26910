"""A state is the same after it went through text and arrays: values, types and bits."""

from __future__ import annotations

import contextlib
import json
from collections import Counter, OrderedDict
from enum import IntEnum
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from decentralized.errors import StateError
from decentralized.state_tree import DTYPES, flatten, unflatten


def same(one: object, other: object) -> bool:
    """Equal in type, order and bits, down to the last leaf."""
    if type(one) is not type(other):
        return False
    if isinstance(one, (dict, Counter)) and isinstance(other, dict):
        return same(list(one.items()), list(other.items()))
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        if one.layout != other.layout or one.dtype != other.dtype or one.shape != other.shape:
            return False
        if one.layout == torch.sparse_coo:
            coalesced = one.is_coalesced() == other.is_coalesced()
            return coalesced and same((one._indices(), one._values()), (other._indices(), other._values()))
        return one.contiguous().numpy().tobytes() == other.contiguous().numpy().tobytes()
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
    if isinstance(one, float) and isinstance(other, float):
        return one.hex() == other.hex()
    return bool(one == other)


def there_and_back(tree: Any) -> Any:
    return unflatten(*flatten(tree))


@st.composite
def arrays(draw: st.DrawFn) -> np.ndarray:
    dtype = np.dtype(draw(st.sampled_from(sorted(DTYPES))))
    shape = draw(st.lists(st.integers(0, 3), max_size=3))
    size = int(np.prod(shape, dtype=int)) * dtype.itemsize
    data = bytearray(draw(st.binary(min_size=size, max_size=size)))
    array = np.frombuffer(data, dtype if dtype.kind != "b" else np.uint8).reshape(shape)
    return np.asarray(array % 2 == 1) if dtype.kind == "b" else array


keys = st.text(max_size=5) | st.integers()
leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**200), 2**200)
    | st.floats()
    | st.text()
    | arrays()
    | arrays().map(torch.from_numpy)
    | st.dictionaries(keys, st.integers()).map(Counter)
)
trees = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4) | st.lists(inner, max_size=4).map(tuple) | st.dictionaries(keys, inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(deadline=None)
@given(st.dictionaries(keys, trees, max_size=4))
def test_everything_comes_back(tree: Any) -> None:
    text, arrays = flatten(tree)
    json.loads(text, parse_constant=pytest.fail)  # standard JSON, without NaN
    assert same(unflatten(text, arrays), tree)


def test_integers_of_any_size() -> None:
    huge = 10**5000  # more digits than Python reads in decimal
    assert there_and_back({"huge": huge, "less": -huge}) == {"huge": huge, "less": -huge}


def test_names_are_places() -> None:
    state = {"learner": {"optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}}, "list": (1, np.zeros(1))}}
    _, arrays = flatten(state)
    assert sorted(arrays) == ["learner/list/1", "learner/optimizer/state/0/exp_avg"]


def test_names_never_clash() -> None:
    tree: Any = {
        1: np.zeros(1),
        "1": np.ones(1),
        "a/b": np.full(1, 2),
        "a": {"b": np.full(1, 3)},
        "__metadata__": np.ones(2),
    }
    text, arrays = flatten(tree)
    assert len(arrays) == 5 and "__metadata__" not in arrays
    assert same(unflatten(text, arrays), tree)


@pytest.mark.parametrize("name", ["PCG64", "MT19937", "Philox", "SFC64"])
def test_the_states_of_random_generators(name: str) -> None:
    bits = getattr(np.random, name)(5)
    generator = np.random.Generator(bits)
    generator.integers(10, size=3)  # leaves half a draw behind
    state = there_and_back({"generator": bits.state})["generator"]
    expected = generator.random(5)
    other = np.random.Generator(getattr(np.random, name)(6))
    other.bit_generator.state = state
    assert np.array_equal(other.random(5), expected)


@pytest.mark.parametrize("coalesced", [True, False])
def test_sparse_tensors(coalesced: bool) -> None:
    sparse = torch.sparse_coo_tensor(torch.tensor([[2, 0, 2]]), torch.rand(3, 4), (5, 4), check_invariants=True)
    sparse = sparse.coalesce() if coalesced else sparse
    back = there_and_back({"momentum": sparse})["momentum"]
    assert same(back, sparse) and same(back + back, sparse + sparse)


def test_layout_in_memory_does_not_matter() -> None:
    array = np.arange(12.0).reshape(3, 4)
    tree = {"turned": array.T, "part": array[:, 1], "tensor": torch.from_numpy(array).T, "backwards": array[::-1]}
    assert same(there_and_back(tree), tree)
    assert all(array.flags.c_contiguous for array in flatten(tree)[1].values())
    assert there_and_back({"x": torch.nn.Parameter(torch.ones(2))})["x"].requires_grad is False


def test_a_read_only_array_comes_back_writable() -> None:
    text, arrays = flatten({"x": torch.zeros(3)})
    arrays["x"].flags.writeable = False
    tree: Any = unflatten(text, arrays)
    tree["x"] += 1
    assert not arrays["x"].any()


class Color(IntEnum):
    RED = 1


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (object(), "object"),
        (b"bytes", "bytes"),
        ({1, 2}, "set"),
        (np.float64(1), "float64"),
        (Color.RED, "Color"),
        (OrderedDict(a=1), "OrderedDict"),
        (1j, "complex"),
        (torch.zeros(2, dtype=torch.bfloat16), "bfloat16"),
        (torch.zeros(2, dtype=torch.complex64), "c8"),
        (torch.zeros(2, device="meta"), "meta"),
        (np.zeros(2, ">f4"), ">f4"),
        (np.array([None]), "O"),
        (np.array(["text"]), "U4"),
        (np.ma.masked_array([1, 2]), "MaskedArray"),
        ({True: 1}, "True"),
        ({None: 1}, "None"),
        ({(1, 2): 1}, r"\(1, 2\)"),
    ],
)
def test_anything_else_is_refused_with_its_place(value: object, said: str) -> None:
    with pytest.raises(StateError, match=rf"^state/learner/0/x: .*{said}"):
        flatten({"learner": [{"x": value}]})


def test_a_state_that_holds_itself() -> None:
    tree: dict[str, object] = {}
    tree["again"] = tree
    with pytest.raises(StateError, match="nested too deeply"):
        flatten(tree)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        "[1]",
        "1",
        '{"list": [1]}',
        '{"tuple": [1]}',
        '{"tuple": 1, "dict": []}',
        '{"dict": [[1]]}',
        '{"dict": [["a", 1, 2]]}',
        '{"dict": {"a": 1}}',
        '{"dict": [[true, 1]]}',
        '{"dict": [["a", {"int": 5}]]}',
        '{"dict": [["a", {"int": "five"}]]}',
        '{"dict": [["a", {"float": "?"}]]}',
        '{"dict": [["a", {"array": "x"}], ["b", {"array": "y"}]]}',
        '{"dict": [["a", {"array": ["x"]}]]}',
        '{"dict": [["a", {"tensor": null}]]}',
        '{"dict": []}',  # and an array without a place
        '{"dict": [["a", {"sparse": [{"tensor": "x"}]}]]}',
        '{"dict": [["a", {"sparse": [{"tensor": "x"}, {"tensor": "x"}, [5], true]}]]}',
        '{"dict": [["a", {"sparse": [1, 2, 3, 4]}]]}',
        "[" * 100_000,
        '{"tuple":' * 100_000,
    ],
)
def test_texts_that_are_no_state(text: str) -> None:
    with pytest.raises(StateError):
        unflatten(text, {"x": np.zeros(2)})


@settings(deadline=None, max_examples=200)
@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=3) | st.just("x"),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(["tuple", "dict", "counter", "int", "float", "array", "tensor", "sparse"]),
                inner,
                max_size=1,
            )
        ),
    )
)
def test_no_text_raises_anything_else(code: object) -> None:
    with contextlib.suppress(StateError):
        unflatten(json.dumps({"dict": [["a", code]]}), {"x": np.zeros(2)})
