"""Combined predictions: phi_g(x; u) + phi_l(x; v), the outputs of a global and a local model added.

Agarwal, Langford, Wei, "Federated residual learning", 2020; one of the personalization architectures of Pillutla et
al., "Federated Learning with Partial Model Personalization", ICML 2022. For classes the logits are added.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

from decentralized.settings import Component, Family

if TYPE_CHECKING:
    from torch import nn


class Combined:
    """Two models whose outputs are added: `shared.*` and `local.*`. With personal = "local-model" the second stays."""

    class Config(Component):
        """Settings of combined predictions."""

        base: Annotated[Component, Family("model")]
        """The global model."""
        local: Annotated[Component, Family("model")] | None = None
        """The local model; one more of the same kind when not given."""

    def __init__(self, config: Config) -> None:
        self._config = config

    def wrap(self, make: Callable[[Any], nn.Module]) -> nn.Module:
        """Both models as one."""
        from decentralized.models.layers.combined import CombinedNetwork  # imports torch

        return CombinedNetwork(make(self._config.base), make(self._config.local or self._config.base))
