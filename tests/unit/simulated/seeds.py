"""Tests over many simulated runs."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

Test = Callable[..., None]


def seeds(count: int) -> Callable[[Test], Test]:
    """The test is called with so many different values of `seed`, always the same ones; the failing one is shown."""
    # A smaller seed is no simpler run: there is nothing to shrink.
    options = settings(max_examples=count, deadline=None, derandomize=True, phases=[Phase.generate])
    return lambda test: options(given(seed=st.integers(0, 2**32))(test))
