"""How a component takes its memory out of a state: each part is checked against what the component has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from decentralized.errors import StateError
from decentralized.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor

MISSING = "missing"
SHOWN = 3  # differences in one message


def need_entries(state: object, names: Iterable[str], where: str) -> Mapping[str, Any]:
    """The state, if it is a dict with exactly these entries. `where` begins the message of a StateError."""
    expected = sorted(names)
    if not isinstance(state, Mapping):
        raise StateError(f"{where}: expected {_listed(expected)}, the state holds a {type(state).__name__}")
    found = sorted(map(str, state))
    if found != expected:
        raise StateError(f"{where}: expected {_listed(expected)}, the state holds {_listed(found)}")
    return state


def need_equal(found: object, expected: Mapping[str, object], where: str) -> None:
    """Raises StateError, which names what differs, unless the state describes what the component is."""
    if not isinstance(found, Mapping):
        raise StateError(f"{where}: the state does not tell its {_listed(sorted(expected))}")
    differing = [key for key in {**expected, **found} if expected.get(key, MISSING) != found.get(key, MISSING)]
    if differing:
        said = [
            f"{key} is {expected.get(key, MISSING)} here, {found.get(key, MISSING)} in the state" for key in differing
        ]
        more = f"; and {len(said) - SHOWN} more" if len(said) > SHOWN else ""
        raise StateError(f"{where}: {'; '.join(said[:SHOWN])}{more}")


def need_like(value: object, own: Tensor, where: str) -> Tensor:
    """The value, if it is a tensor of the form of the component's own; raises StateError."""
    if not isinstance(value, torch.Tensor):
        raise StateError(f"{where}: expected a tensor, the state holds a {type(value).__name__}")
    if value.dtype != own.dtype or value.shape != own.shape:
        raise StateError(f"{where}: {_form(own)} here, {_form(value)} in the state")
    return value


def restore_generator(generator: np.random.Generator, state: object, where: str) -> None:
    """Let the generator go on from a `generator.bit_generator.state`; raises StateError."""
    known: Any = state  # numpy checks it
    try:
        generator.bit_generator.state = known
    except (TypeError, ValueError, KeyError, OverflowError) as error:
        raise StateError(f"{where}: not a state of this random generator: {error}") from None


def _listed(names: list[str]) -> str:
    return ", ".join(names) or "nothing"


def _form(tensor: Tensor) -> str:
    return f"{tensor.dtype} {tuple(tensor.shape)}"
