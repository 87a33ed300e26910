"""What every algorithm can be asked."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from decentralized.settings import Component


class AlgorithmSettings(Component):
    """Settings that every algorithm has."""

    ignores: ClassVar[tuple[str, ...]] = ()
    """Tables of the configuration that it has no use for."""
    changing_graphs: ClassVar[bool] = False
    """Whether its graph may be another one in each round."""

    rounds: Annotated[int, Field(ge=0)]
    """How many rounds each node makes."""

    def vectors_held(self, neighbors: int) -> int:
        """How many vectors as long as the model a node with so many neighbors holds at once, beside what all need.

        All need the model, its gradient, the optimizer's memory, and of two rounds one message of that length to all
        neighbors and one from each. For the estimate of `check`; vectors that do not grow with the neighbors need not
        be counted.
        """
        return 0
