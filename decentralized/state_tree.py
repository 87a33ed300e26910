"""The state of components as one JSON text and named arrays, and back: exactly, without pickle.

In the text, null, true, false, strings, lists, finite floats and small integers stand for themselves. Everything else
is an object with one entry, whose key says what it is:

    {"tuple": [...]}                {"dict": [[key, value], ...]}     {"counter": [[key, count], ...]}
    {"int": "-0x1f..."}             {"float": "nan"}
    {"array": name}                 {"tensor": name}                  {"sparse": [indices, values, shape, coalesced]}

An array's name is its place in the tree, such as "learner/optimizer/state/0/exp_avg".
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from decentralized.errors import StateError
from decentralized.lazy import torch
from decentralized.types import State

if TYPE_CHECKING:
    from torch import Tensor

DTYPES = frozenset({"|b1", "|u1", "|i1", "<u2", "<i2", "<f2", "<u4", "<i4", "<f4", "<u8", "<i8", "<f8"})
RESERVED = "__metadata__"  # a name that array files keep for themselves
SMALL = 2**63  # integers below it, on both sides of 0, are written in decimal


def flatten(tree: State) -> tuple[str, dict[str, np.ndarray]]:
    """The text and the arrays of a tree.

    Arrays are C-contiguous and little-endian, and view the tree's memory where that is possible. Raises StateError,
    with the place in the tree, for what cannot be kept.
    """
    writer = _Writer()
    try:
        text = json.dumps(writer.encoded(tree, ()), allow_nan=False, separators=(",", ":"))
    except RecursionError:
        raise StateError("the state is nested too deeply, or holds itself") from None
    return text, writer.arrays


def unflatten(text: str, arrays: Mapping[str, np.ndarray]) -> State:
    """The tree; it views the memory of arrays that are writable. Tensors are on the processor, without gradients.

    Raises StateError for a text and arrays that `flatten` did not make.
    """
    reader = _Reader(arrays)
    try:
        tree = reader.decoded(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise StateError(f"not the text of a state: {error}") from None
    if not isinstance(tree, dict):
        raise StateError("not the text of a state: there is no dict at its top")
    if reader.unused:
        raise StateError(f"{len(reader.unused)} arrays have no place in the state, {min(reader.unused)!r} among them")
    return tree


class _Writer:
    def __init__(self) -> None:
        self.arrays: dict[str, np.ndarray] = {}

    def encoded(self, value: object, path: tuple[object, ...]) -> object:
        """Types are compared exactly: a subclass, such as a numpy scalar, would come back as something else."""
        kind = type(value)
        if value is None or kind in (bool, str):
            return value
        if isinstance(value, int) and kind is int:
            return value if -SMALL < value < SMALL else {"int": hex(value)}
        if isinstance(value, float) and kind is float:
            return value if math.isfinite(value) else {"float": str(value)}
        if isinstance(value, (list, tuple)) and kind in (list, tuple):
            items = [self.encoded(item, (*path, number)) for number, item in enumerate(value)]
            return items if kind is list else {"tuple": items}
        if isinstance(value, dict) and kind in (dict, Counter):
            return {"dict" if kind is dict else "counter": self._items(value, path)}
        if isinstance(value, np.ndarray) and kind in (np.ndarray, np.memmap):
            return {"array": self._keep(value, path)}
        if isinstance(value, torch.Tensor):
            return self._tensor(value, path)
        raise StateError(f"{_place(path)}: a {kind.__name__} cannot be kept in a check-point")

    def _items(self, items: Mapping[object, object], path: tuple[object, ...]) -> list[list[object]]:
        for key in items:
            if type(key) not in (str, int):
                raise StateError(f"{_place(path)}: the key {key!r} is neither a str nor an int")
        return [[self.encoded(key, path), self.encoded(value, (*path, key))] for key, value in items.items()]

    def _tensor(self, tensor: Tensor, path: tuple[object, ...]) -> object:
        if tensor.layout == torch.sparse_coo:
            indices, values = tensor.detach()._indices(), tensor.detach()._values()
            codes = [self._tensor(indices, (*path, "indices")), self._tensor(values, (*path, "values"))]
            return {"sparse": [*codes, list(tensor.shape), tensor.is_coalesced()]}
        try:
            array = tensor.detach().cpu().numpy()
        except (TypeError, RuntimeError):
            kind = f"{tensor.dtype}, {tensor.layout}, {tensor.device}"
            raise StateError(f"{_place(path)}: a tensor of {kind} cannot be kept in a check-point") from None
        return {"tensor": self._keep(array, path)}

    def _keep(self, array: np.ndarray, path: tuple[object, ...]) -> str:
        if array.dtype.str not in DTYPES:
            raise StateError(f"{_place(path)}: an array of {array.dtype.str} cannot be kept in a check-point")
        parts = (re.sub(r"[^A-Za-z0-9_.-]", "_", str(part)) for part in path)
        name = first = "/".join(parts)
        number = 1
        while name in self.arrays or name == RESERVED:
            number += 1
            name = f"{first}~{number}"
        self.arrays[name] = np.asarray(array, order="C")
        return name


class _Reader:
    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        self._arrays, self.unused = arrays, set(arrays)
        self._kinds: dict[str, Callable[[object], object]] = {
            "tuple": lambda items: tuple(self._list(items)),
            "dict": self._dict,
            "counter": lambda items: Counter(self._dict(items)),
            "int": lambda text: int(_text(text), 16),
            "float": lambda text: float(_text(text)),
            "array": self._array,
            "tensor": lambda name: torch.from_numpy(self._array(name)),
            "sparse": self._sparse,
        }

    def decoded(self, code: object) -> object:
        if isinstance(code, list):
            return self._list(code)
        if not isinstance(code, dict):
            return code
        if len(code) != 1 or (kind := next(iter(code))) not in self._kinds:
            raise ValueError(f"unknown kinds of value: {', '.join(map(repr, code))[:80]}")
        return self._kinds[kind](code[kind])

    def _list(self, codes: object) -> list[object]:
        if not isinstance(codes, list):
            raise ValueError("a list is missing")
        return [self.decoded(code) for code in codes]

    def _dict(self, codes: object) -> dict[str | int, object]:
        result: dict[str | int, object] = {}
        for item in self._list(codes):
            if not isinstance(item, list) or len(item) != 2 or type(item[0]) not in (str, int):
                raise ValueError("an entry of a dict is not a key and a value")
            result[item[0]] = item[1]
        return result

    def _array(self, name: object) -> np.ndarray:
        array = self._arrays.get(_text(name))
        if array is None:
            raise ValueError(f"there is no array {name!r}")
        self.unused.discard(_text(name))
        return array if array.flags.writeable else array.copy()

    def _sparse(self, codes: object) -> Tensor:
        indices, values, shape, coalesced = self._list(codes)  # another number of them is a ValueError
        try:
            return torch.sparse_coo_tensor(indices, values, shape, is_coalesced=coalesced, check_invariants=True)  # type: ignore[arg-type]
        except (TypeError, RuntimeError) as error:
            raise ValueError(f"not a sparse tensor: {error}") from None


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} should be a text")
    return value


def _place(path: tuple[object, ...]) -> str:
    return "state/" + "/".join(map(str, path)) if path else "state"
