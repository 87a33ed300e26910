"""meta-L2C's mixing weights: attention over what each node's training has changed so far.

    w_ij = exp(f_ij) / sum_l exp(f_il)     f_ij = <E(theta_i^(t+1/2) - theta_i^0), E(theta_j^(t+1/2) - theta_j^0)>

(Li et al., CVPR 2022, equations 4 and 5). One encoder E is trained on the validation losses of all nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from decentralized.collaboration.alphas import descent_of
from decentralized.collaboration.encoder import Encoder
from decentralized.collaboration.rule import Update
from decentralized.errors import CodecError
from decentralized.lazy import torch
from decentralized.settings import Named
from decentralized.state_checks import need_entries, need_like
from decentralized.types import NodeId, State

if TYPE_CHECKING:
    from torch import Tensor

    from decentralized.types import Vector

CHANGE = "change"  # the buffer with theta^(t+1/2) - theta^0


def add_changes(first_P: Vector, updates: Sequence[Update], weights_n: Sequence[float]) -> Vector:
    """theta^0 + sum_j w_ij (theta_j^(t+1/2) - theta_j^0): where the nodes are that the weights mean."""
    mixed_P = first_P.clone()
    for update, weight in zip(updates, weights_n, strict=True):
        mixed_P.add_(torch.from_numpy(update.extras[CHANGE]), alpha=weight)
    return mixed_P


@dataclass(frozen=True)
class Averages:
    """The mean over all nodes of what they know of the encoder, where it is taken; `over_nodes` gives a new vector."""

    over_nodes: Callable[[Vector], Vector]
    of: str  # "parameters", once a round, or "gradients", in each step


class Attention:
    """The view of one node, which trains its copy of the encoder's parameters. `first_P` is theta^0."""

    def __init__(
        self,
        node: NodeId,
        encoder: Encoder,
        parameters_E: Vector,
        first_P: Vector,
        optimizer: Named,
        averages: Averages,
    ) -> None:
        self._node, self._encoder, self._averages = node, encoder, averages
        self._first_P = first_P.clone()
        self._parameters_E = torch.nn.Parameter(parameters_E.clone())
        self._descent = descent_of(optimizer, self._parameters_E)

    def attach(self, own_P: Vector) -> Mapping[str, np.ndarray]:
        """All that has changed since the start."""
        return {CHANGE: (own_P - self._first_P).numpy()}

    def check(self, extras: Mapping[str, np.ndarray]) -> None:
        change_P = extras.get(CHANGE)
        if change_P is None or change_P.dtype.str != "<f4" or len(change_P) != len(self._first_P):
            raise CodecError(f"expected a change of {len(self._first_P)} float32 values")

    def weigh(self, updates: Sequence[Update]) -> Tensor:
        with torch.no_grad():
            return self._softmax(updates)

    def step(self, updates: Sequence[Update], slopes_n: Tensor) -> None:
        correct = self._average_gradient if self._averages.of == "gradients" else None
        self._descent.step(lambda: self._softmax(updates) @ slopes_n, correct)

    def end_round(self) -> None:
        if self._averages.of == "parameters":
            own_E = self._parameters_E.detach()
            own_E.copy_(self._averages.over_nodes(own_E.clone()))

    def learned(self) -> Mapping[str, np.ndarray]:
        """The encoder."""
        return self._encoder.arrays(self._parameters_E)

    def state(self) -> State:
        return {
            "first": self._first_P,
            "encoder": self._parameters_E.detach(),
            "descent": self._descent.state(),
        }

    def restore(self, state: State) -> None:
        parts = need_entries(state, ("first", "encoder", "descent"), "meta-l2c")
        own_E = self._parameters_E.detach()
        self._first_P.copy_(need_like(parts["first"], self._first_P, "meta-l2c's first parameters"))
        own_E.copy_(need_like(parts["encoder"], own_E, "meta-l2c's encoder"))
        self._descent.restore(parts["descent"])

    def _softmax(self, updates: Sequence[Update]) -> Tensor:
        changes = [torch.from_numpy(update.extras[CHANGE]) for update in updates]
        codes_nD = self._encoder.encode(self._parameters_E, changes)
        own = [update.node for update in updates].index(self._node)
        return torch.softmax((codes_nD @ codes_nD[own]).double(), dim=0)

    def _average_gradient(self) -> None:
        gradient_E = self._parameters_E.grad
        if gradient_E is not None:
            gradient_E.copy_(self._averages.over_nodes(gradient_E.clone()))
