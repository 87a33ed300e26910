"""What every sharing rule can be asked."""

from __future__ import annotations

from typing import Literal

from decentralized.settings import Component


class SharingSettings(Component):
    """Settings that every sharing rule has."""

    payload: Literal["values", "deltas"] = "values"
    """What travels: the parameters, or their changes since they were last sent to that neighbor.

    With "deltas" a node keeps a copy of what it sent and of what each neighbor sent.
    """
