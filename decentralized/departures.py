"""Going on without lost nodes: what one node must know and do so that all neighbors of a lost node treat it alike.

When node d is lost, agent 0 tells everybody. From then on nobody takes anything more from d, and each node says which
of d's rounds it has. The newest of these rounds, r, is the last in which d takes part: a neighbor that has d's messages
up to r hands them to those that lack them, so a message of d is used by all of its neighbors or by none.

In round r + 1 some neighbors had already sent with d in their degree. They all go on so: d's weight stays with the
receiver itself. No neighbor of d can complete that round before it knows of the loss, so from r + 2 on all of them
leave d out of their degree. In every round the weights of the living are then symmetric and sum to 1.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection

from decentralized.channel import Channel
from decentralized.control import AnyFact, Lost, Parted, Removed, Tell
from decentralized.interfaces import Context, Losses, Topology, WalkAccounts
from decentralized.keeper import Keeper
from decentralized.types import Mixed, Neighbors, NodeId

WALKS = "walks"  # the kind of messages that are models that walk: they are of no round
LEFT_OUT_AFTER = 2  # rounds after the last one in which a lost node takes part


class Departures:
    """The view of the keeper's node. `channel` gives its channel, once there is one."""

    def __init__(
        self, keeper: Keeper, neighbors: Collection[NodeId], tell: Tell, channel: Callable[[], Channel | None]
    ) -> None:
        self._keeper, self._neighbors, self._tell, self._channel = keeper, neighbors, tell, channel
        self._node = keeper.node
        self.lost: set[NodeId] = set()
        self.greeted = False  # whether this node has met all of its neighbors
        self.reissues = 0  # walks that this node is to start anew
        self.walks: WalkAccounts | None = None  # set by an algorithm whose models walk, or did
        self.walking = False
        self._last: dict[NodeId, int] = {}
        self._heard: deque[Lost | Removed] = deque()

    def hear(self, fact: AnyFact) -> None:
        """Take in a fact from the agent; others than those about lost nodes are ignored."""
        if isinstance(fact, (Lost, Removed)):
            self._heard.append(fact)
            self.catch_up()

    def catch_up(self) -> None:
        """Heed what was heard; without a channel, which is not there from the beginning, not yet."""
        channel = self._channel()
        while self._heard and channel is not None:
            fact = self._heard.popleft()
            if isinstance(fact, Lost):
                self._part(fact.node, channel)
            else:
                self._remove(fact, channel)

    @property
    def pending(self) -> bool:
        """Whether it is not known yet from when on a lost node is left out."""
        return len(self._last) < len(self.lost)

    def left_out(self, round: int) -> set[NodeId]:
        """The nodes that are not part of the graph any more in this round."""
        return {node for node, last in self._last.items() if round >= last + LEFT_OUT_AFTER}

    def _part(self, lost: NodeId, channel: Channel) -> None:
        """Take nothing more from it, and say what has come."""
        self.lost.add(lost)
        channel.mute(lost)
        neighbor = lost in self._neighbors
        # A neighbor that has begun a round has, or never needed, what came in those before.
        counts = neighbor and self.greeted and self._keeper.synchronous
        newest = min(self._keeper.begun - 1, self._last.get(lost, self._keeper.begun)) if counts else -1
        newest = max(newest, channel.newest(lost, besides=WALKS))
        sent, received = self._exchanged(lost, channel)
        self._tell(Parted(self._node, lost, newest, neighbor, sent, received, self.walking))

    def _remove(self, fact: Removed, channel: Channel) -> None:
        self._last[fact.lost] = fact.last
        channel.depart(fact.lost, fact.last, fact.holder)
        if fact.holder == self._node:
            for peer, newest in fact.lacking.items():
                channel.relay(peer, fact.lost, newest, besides=WALKS)
        if fact.reissuer == self._node:
            self.reissues += fact.reissued

    def _exchanged(self, lost: NodeId, channel: Channel) -> tuple[int, int]:
        """Models that walked to the lost node and that came from it."""
        if self.walks is not None:
            return self.walks.exchanged(lost)
        return 0, sum(message.sender == lost for message in channel.kept(WALKS))  # ours have not begun yet


class LivingTopology:
    """A topology without the nodes that are lost."""

    def __init__(self, topology: Topology, losses: Losses) -> None:
        self._topology, self._losses = topology, losses

    def neighbors(self, round: int) -> Neighbors:
        neighbors = self._topology.neighbors(round)
        out = self._losses.left_out(round)
        if not out:
            return neighbors
        return Neighbors(_without(neighbors.send_to, out), _without(neighbors.receive_from, out), neighbors.weights)

    def observe(self, round: int, mixed: Mixed, context: Context) -> None:
        self._topology.observe(round, mixed, context)


def _without(nodes: tuple[NodeId, ...], out: set[NodeId]) -> tuple[NodeId, ...]:
    return tuple(node for node in nodes if node not in out)
