"""How far a node may run ahead of those that it sends to and hears nothing from.

Where an edge goes both ways, each end waits for the other in every round. Where it goes one way only, the sender waits
for nothing: the first node of a chain 0 -> 1 -> 2 would finish its rounds while its messages pile up at node 1, beyond
what a node keeps of one sender (inbox.py), and what is dropped there is waited for for ever. A graph that is strongly
connected bounds this by itself, but nobody knows that of a graph that changes before the run is over. So:

- of every EVERY messages that a node takes over one-way edges from the same sender, it confirms the last one;
- a node begins no further round while AHEAD messages that it sent one way to some node are not confirmed.

Nothing waits for ever: a node waits for the confirmation of a message of an earlier round, and all nodes that are
through with that round have sent theirs; so the slowest node never waits here. None of them is lost meanwhile: going on
without a lost node needs edges that go both ways (graphs.py). Which values are mixed does not depend on who waits, so
the bits are the same. Edges that go both ways in a round cost nothing. The counts begin anew with each life of the
nodes, on both sides, since all begin it in the same round; hence confirmations count as control traffic, as those of
the link do: a run that was resumed may have fewer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from decentralized.interfaces import Context
from decentralized.types import Message, Neighbors, NodeId, Payload

TAKEN = "taken"
EVERY = 4  # messages of one sender from one confirmation to the next
AHEAD = 2 * EVERY  # messages to one node: with fewer than EVERY to spare it would wait at nodes that are as fast


class Pace:
    """One node's account of its one-way edges."""

    def __init__(self) -> None:
        self._sent: Counter[NodeId] = Counter()
        self._taken: Counter[NodeId] = Counter()
        self._confirmed: Counter[NodeId] = Counter()  # of those sent

    def keep(self, context: Context, neighbors: Neighbors) -> None:
        """At the end of a round, when everything of the round was sent and taken: confirm, and wait for who is late."""
        for sender in _one_way(neighbors.receive_from, neighbors.send_to):
            self._taken[sender] += 1
            if self._taken[sender] % EVERY == 0:
                context.channel.acknowledge(sender, Message(TAKEN, self._taken[sender], context.node, Payload({})))
        targets = _one_way(neighbors.send_to, neighbors.receive_from)
        self._sent.update(targets)
        while any(self._sent[node] - self._confirmed[node] >= AHEAD for node in targets):
            message = context.channel.next(TAKEN)
            if message is not None:
                self._confirmed[message.sender] = min(message.round, self._sent[message.sender])


def _one_way(nodes: Sequence[NodeId], others: Sequence[NodeId]) -> list[NodeId]:
    both = set(others)
    return [node for node in nodes if node not in both]
