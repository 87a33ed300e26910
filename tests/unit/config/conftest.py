"""What the tests of the configuration share: a small one that is right, and the mistakes in others."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from decentralized import config
from decentralized.build import BuiltIn
from decentralized.errors import ConfigError

GOOD = """\
name = "small"
nodes = 4

[topology]
name = "ring"

[data]
name = "digits"

[model]
name = "mlp"

[algorithm]
name = "dpsgd"
rounds = 3
"""


@pytest.fixture(scope="session")
def good() -> str:
    """A configuration without mistakes."""
    return GOOD


@pytest.fixture
def mistakes_in() -> Callable[..., tuple[str, ...]]:
    """`mistakes_in(text, *overrides)`: the lines about a file of that content; it must have mistakes."""

    def find(text: str, *overrides: str) -> tuple[str, ...]:
        with pytest.raises(ConfigError) as caught:
            config.parse(text, BuiltIn(), "x.toml", overrides)
        assert str(caught.value) == "\n".join(caught.value.mistakes)
        return caught.value.mistakes

    return find
