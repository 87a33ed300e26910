"""The dense kernel of all linear mixing: a weighted sum, one received vector at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from decentralized.types import Mixed, NodeId, Received

if TYPE_CHECKING:
    from decentralized.types import Vector


def weighted_sum(
    node: NodeId, own_P: Vector, received: Iterable[Received], weight_of: Callable[[Received], float]
) -> Mixed:
    """w_k p_k + sum_i w_i p_i with w_k = 1 - sum_i w_i (communication study, section 3.2.1).

    Summed in node order with the own vector last, so the result does not depend on the order of arrival. The first
    received vector becomes the sum, and each other one can be freed as soon as it is added.
    """
    total_P: Vector | None = None
    weights: dict[NodeId, float] = {}
    for item in received:
        weight = weights[item.sender] = weight_of(item)
        total_P = item.vector_P.mul_(weight) if total_P is None else total_P.add_(item.vector_P, alpha=weight)
    own_weight = weights[node] = 1.0 - sum(weights.values())
    mixed_P = own_P * own_weight if total_P is None else total_P.add_(own_P, alpha=own_weight)
    return Mixed(mixed_P, weights)
