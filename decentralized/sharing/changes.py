"""How much each parameter has changed since it was last shared: the score by which sparse sharing chooses.

Communication study (Dresevic, EPFL 2022, section 3.3.2). The residual keeps, for each parameter,

    accumulate                              training changes of all rounds since it was last shared
    accumulate + accumulate_mixing_changes  those, and what mixing changed
    neither                                 the training change of this round

so sent + residual = all changes: nothing is forgotten until it is shared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from decentralized.lazy import torch
from decentralized.sharing.settings import SharingSettings
from decentralized.state_checks import need_entries, need_like
from decentralized.types import State

if TYPE_CHECKING:
    from decentralized.types import Vector

Fraction = Annotated[float, Field(gt=0, le=1)]


class ChangeSettings(SharingSettings):
    """Settings of every rule that shares what changed most."""

    accumulate: bool = True
    """Add the changes up over the rounds until they are shared."""
    accumulate_mixing_changes: bool = True
    """Count what mixing changes too; without `accumulate` this has no effect."""


class Changes:
    """The residual of one node."""

    def __init__(self, settings: ChangeSettings) -> None:
        self._accumulates = settings.accumulate
        self._with_mixing = settings.accumulate and settings.accumulate_mixing_changes
        self._start_P: Vector | None = None  # the parameters at the start of this round's training
        self._residual_P: Vector | None = None

    def begin(self, own_P: Vector) -> None:
        """The parameters before the first round."""
        self._start_P = own_P.clone()
        self._residual_P = torch.zeros_like(own_P)

    def trained(self, own_P: Vector) -> Vector:
        """Training has led to `own_P`; returns the residual, length P."""
        start_P, residual_P = self._vectors()
        change_P = own_P - start_P
        if self._accumulates:
            residual_P.add_(change_P)
        elif change_P.any():  # there was training since the last look
            residual_P.copy_(change_P)
        start_P.copy_(own_P)
        return residual_P

    def shared(self, indices_K: np.ndarray | None) -> None:
        """These entries have been sent; all of them for None."""
        _, residual_P = self._vectors()
        if indices_K is None:
            residual_P.zero_()
        else:
            residual_P[torch.from_numpy(indices_K)] = 0.0

    def mixed(self, own_P: Vector, mixed_P: Vector) -> None:
        """Mixing turns `own_P` into `mixed_P`."""
        residual_P = self.trained(own_P)  # a random walk may train after it has sent
        start_P, _ = self._vectors()
        if self._with_mixing:
            residual_P.add_(mixed_P - own_P)
        start_P.copy_(mixed_P)

    def state(self) -> State:
        """The residual, and where training started from."""
        start_P, residual_P = self._vectors()
        return {"start": start_P, "residual": residual_P}

    def restore(self, state: State) -> None:
        start_P, residual_P = self._vectors()
        parts = need_entries(state, ("start", "residual"), "[sharing] changes")
        start_P.copy_(need_like(parts["start"], start_P, "[sharing] start of training"))
        residual_P.copy_(need_like(parts["residual"], residual_P, "[sharing] residual"))

    def _vectors(self) -> tuple[Vector, Vector]:
        if self._start_P is None or self._residual_P is None:
            raise RuntimeError("begin() comes first")
        return self._start_P, self._residual_P


def largest(scores_P: Vector, fraction: float) -> np.ndarray:
    """The sorted indices of the `fraction` of entries with the largest absolute score; at least one.

    Of equal scores at the limit the first entries are taken, so that the choice is the same on every machine.
    """
    total = len(scores_P)
    count = max(1, round(fraction * total))
    if count >= total:
        return np.arange(total)
    sizes_P = scores_P.abs().numpy()
    limit = np.partition(sizes_P, total - count)[total - count]
    chosen_P = sizes_P > limit
    missing = count - int(np.count_nonzero(chosen_P))
    chosen_P[np.flatnonzero(sizes_P == limit)[:missing]] = True
    return np.flatnonzero(chosen_P)
