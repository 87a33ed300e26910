"""Send changes instead of parameters, for any sharing rule.

Both ends keep a copy of what has been sent on an edge, starting from zero, and add the same float32 changes to it. So
the receiver gets the sender's parameters to float rounding, and both copies stay equal bit for bit. A message that is
sent to all neighbors has one copy at the sender.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from decentralized.errors import CodecError
from decentralized.interfaces import SelectiveSharing
from decentralized.lazy import torch
from decentralized.sharing.sparse import whole_number
from decentralized.types import NodeId, Payload

if TYPE_CHECKING:
    from decentralized.types import Vector

NUMBER = "delta"  # the scalar that counts the messages of an edge, so that a copy is never added to twice


@dataclass
class _Copy:
    """What has been sent on one edge, and in how many messages."""

    vector_P: Vector
    messages: int = 0

    def add(self, change_K: np.ndarray, indices_K: np.ndarray | None) -> np.ndarray:
        """Adds the changes; returns the entries as they are then."""
        change = torch.from_numpy(change_K)
        self.messages += 1
        if indices_K is None:
            self.vector_P.add_(change)
            return self.vector_P.numpy()
        chosen = torch.from_numpy(indices_K)
        self.vector_P[chosen] += change
        values_K: np.ndarray = self.vector_P[chosen].numpy()
        return values_K


class Deltas:
    """Wraps a sharing rule whose payload has "values", and says to which entries they belong."""

    def __init__(self, rule: SelectiveSharing) -> None:
        self._rule = rule
        self._sent: dict[NodeId | None, _Copy] = {}
        self._received: dict[NodeId, _Copy] = {}

    def begin(self, own_P: Vector) -> None:
        self._rule.begin(own_P)

    def pack(self, own_P: Vector, peer: NodeId | None, round: int) -> Payload:
        payload = self._rule.pack(own_P, peer, round)
        indices_K = self._rule.indices(payload, len(own_P))
        copy = self._sent.setdefault(peer, _Copy(torch.zeros_like(own_P)))
        before_K = copy.vector_P if indices_K is None else copy.vector_P[torch.from_numpy(indices_K)]
        change_K = payload.buffers["values"] - before_K.numpy()
        number = copy.messages
        copy.add(change_K, indices_K)
        return Payload({**payload.buffers, "values": change_K}, {**payload.scalars, NUMBER: number})

    def unpack(self, peer: NodeId, payload: Payload, own_P: Vector) -> Vector:
        number = whole_number(peer, payload.scalars, NUMBER)
        if number == 0:  # the peer begins, or begins again
            self._received[peer] = _Copy(torch.zeros_like(own_P))
        copy = self._received.get(peer)
        if copy is None or copy.messages != number:
            raise CodecError(f"node {peer} sent change {number}, but {copy.messages if copy else 0} came before it")
        self._rule.unpack(peer, payload, own_P)  # checks that the payload fits before the copy is touched
        values_K = copy.add(payload.buffers["values"], self._rule.indices(payload, len(own_P)))
        return self._rule.unpack(peer, Payload({**payload.buffers, "values": values_K.copy()}, payload.scalars), own_P)

    def commit(self, own_P: Vector, mixed_P: Vector) -> None:
        self._rule.commit(own_P, mixed_P)
