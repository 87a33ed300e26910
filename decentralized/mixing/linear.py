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

    Summed in node order with the own vector last, so the result does not depend on the order of arrival; each vector
    can be freed as soon as it is added.
    """
    total_P = own_P.new_zeros(len(own_P))
    weights: dict[NodeId, float] = {}
    for item in received:
        weights[item.sender] = weight_of(item)
        total_P.add_(item.vector_P, alpha=weights[item.sender])
    weights[node] = 1.0 - sum(weights.values())
    return Mixed(total_P.add_(own_P, alpha=weights[node]), weights)
