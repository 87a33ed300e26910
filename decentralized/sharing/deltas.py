"""Send changes instead of parameters, for any sharing rule.

Both ends keep a copy of what has been sent on an edge, starting from zero, and add the same float32 changes to it. So
the receiver gets the sender's parameters to float rounding, and both copies stay equal bit for bit. A message that is
sent to all neighbors has one copy at the sender.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from decentralized.errors import CodecError, StateError
from decentralized.interfaces import SelectiveSharing, Stateful
from decentralized.lazy import torch
from decentralized.sharing.sparse import whole_number
from decentralized.state_checks import need_entries, need_like
from decentralized.types import NodeId, Payload, State

if TYPE_CHECKING:
    from decentralized.types import Vector

ALL = "all"  # stands for peer None in a state
NUMBER = "delta"  # the scalar that counts the messages of an edge, so that a copy is never added to twice


@dataclass
class _Copy:
    """What has been sent on one edge, and in how many messages."""

    vector_P: Vector
    messages: int = 0

    def state(self) -> State:
        return {"vector": self.vector_P, "messages": self.messages}

    @classmethod
    def of(cls, state: object, like_P: Vector) -> _Copy:
        parts = need_entries(state, ("vector", "messages"), "[sharing] copy of an edge")
        if type(parts["messages"]) is not int:
            raise StateError(f"[sharing] copy of an edge: {parts['messages']!r} messages in the state")
        return cls(need_like(parts["vector"], like_P, "[sharing] copy of an edge").clone(), parts["messages"])

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
        self._parameters = 0

    def begin(self, own_P: Vector) -> None:
        self._parameters = len(own_P)
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

    def state(self) -> State:
        return {
            "rule": self._rule.state() if isinstance(self._rule, Stateful) else {},
            "sent": {ALL if peer is None else peer: copy.state() for peer, copy in self._sent.items()},
            "received": {peer: copy.state() for peer, copy in self._received.items()},
        }

    def restore(self, state: State) -> None:
        parts = need_entries(state, ("rule", "sent", "received"), "[sharing] deltas")
        if isinstance(self._rule, Stateful):
            self._rule.restore(parts["rule"])
        else:
            need_entries(parts["rule"], (), "[sharing] deltas of a rule without memory")
        self._sent = _copies(parts["sent"], self._parameters)
        self._received = _copies(parts["received"], self._parameters)


def _copies(state: object, parameters: int) -> dict[Any, _Copy]:
    """By peer, as they were given to `state`."""
    if not isinstance(state, dict):
        raise StateError("[sharing] deltas: the state does not hold the copies of the edges")
    like_P = torch.empty(parameters)
    return {None if peer == ALL else peer: _Copy.of(copy, like_P) for peer, copy in state.items()}
