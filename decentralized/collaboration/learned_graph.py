"""Which neighbors a node goes on with: the sparse graph of L2C (Algorithm 1, lines 19 to 22).

After some round each node drops the neighbors with the smallest weights and tells them. Edges are directed: j stops
sending its updates to i once i has dropped j, and may go on to receive those of i. Of two nodes of which only one
receives, the receiver sends an empty message in each round, so that the other one cannot run ahead of it. So do, both
ways, two nodes of which one takes no part yet.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from decentralized.errors import StateError
from decentralized.interfaces import Context
from decentralized.state_checks import need_entries
from decentralized.types import Message, Neighbors, NodeId, Payload, State

NOTICE = "pruned"


@dataclass(frozen=True)
class Edges:
    """One node's edges in one round, in node order."""

    send_to: tuple[NodeId, ...]
    """Who wants its updates."""
    receive_from: tuple[NodeId, ...]
    """Whose updates it wants."""
    in_step: tuple[NodeId, ...]
    """Whose message it waits for, and who waits for its own: an update, or an empty one."""


class LearnedGraph:
    """One node's view: whom it has dropped, and who has dropped it."""

    def __init__(self) -> None:
        self._dropped: set[NodeId] = set()
        self._dropped_by: set[NodeId] = set()

    def edges(self, neighbors: Neighbors, absent: Collection[NodeId] = ()) -> Edges:
        """Those of a node that takes part, of the ones that the topology has; `absent` are nodes that do not yet."""
        around, late = {*neighbors.send_to, *neighbors.receive_from}, set(absent)
        send_to = tuple(node for node in neighbors.send_to if node not in self._dropped_by | late)
        receive_from = tuple(node for node in neighbors.receive_from if node not in self._dropped | late)
        return Edges(send_to, receive_from, tuple(sorted({*send_to, *receive_from, *(around & late)})))

    def prune(
        self, context: Context, round: int, neighbors: Neighbors, weights: Mapping[NodeId, float], count: int
    ) -> None:
        """Drop `count` neighbors, and hear of those who drop this node.

        Of equal weights those of the later nodes go first; a neighbor without a weight in this round has weight 0.
        """
        by_weight = sorted(neighbors.receive_from, key=lambda node: (weights.get(node, 0.0), -node))
        self._dropped = set(by_weight[:count])
        for node in neighbors.receive_from:
            said = Payload({}, {"dropped": node in self._dropped})
            context.channel.send(node, Message(NOTICE, round, context.node, said))
        for node, message in context.channel.collect(NOTICE, round, neighbors.send_to):
            if message.payload.scalars.get("dropped") is True:
                self._dropped_by.add(node)

    def state(self) -> State:
        return {"dropped": sorted(self._dropped), "dropped_by": sorted(self._dropped_by)}

    def restore(self, state: State) -> None:
        parts = need_entries(state, ("dropped", "dropped_by"), "learned graph")
        if not all(isinstance(part, list) and all(type(node) is int for node in part) for part in parts.values()):
            raise StateError("learned graph: the state holds no nodes")
        self._dropped, self._dropped_by = set(parts["dropped"]), set(parts["dropped_by"])
