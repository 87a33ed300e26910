"""What every algorithm can be asked."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from decentralized.settings import Component


class AlgorithmSettings(Component):
    """Settings that every algorithm has."""

    rounds: Annotated[int, Field(ge=0)]
    """How many rounds each node makes."""
