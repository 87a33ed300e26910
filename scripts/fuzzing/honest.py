"""Three honest nodes that exchange and mix parameters for ever, in one thread: what an attack must not change.

They use the real channel, codec, index codings, sharing rule and weighted sum; only training is random noise.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch

from decentralized import codec
from decentralized.channel import Channel, ChannelSettings
from decentralized.errors import CodecError
from decentralized.mixing.linear import weighted_sum
from decentralized.sharing.full import Full
from decentralized.sharing.sub_sampling import SubSampling
from decentralized.sharing.top_k import TopK
from decentralized.transport.memory import MemoryNetwork
from decentralized.types import Buffer, Message, NodeId, Payload, Received

RUN = b"fuzzing!"
NODES: tuple[NodeId, ...] = (0, 1, 2)
HOSTILE: NodeId = 3  # a neighbor of all with valid credentials
STRANGER: NodeId = 9  # no neighbor of anybody
PARAMETERS = 2000
ALPHA = 0.1
MAX_PAYLOAD_BYTES = 2 * 1024 * 1024 + 5
OPEN_KIND = "walk"  # what a node takes from whoever sends it, as in a random walk
DEADLINE_S = 20.0  # a stream that an attack has broken ends the test


class Node:
    """One node of D-PSGD with top-k sharing. `digest` is over all vectors that it has ever mixed."""

    def __init__(self, node: NodeId, network: MemoryNetwork, seed: int) -> None:
        self.node, self.peers = node, [peer for peer in NODES if peer != node]
        settings = ChannelSettings(RUN, DEADLINE_S, MAX_PAYLOAD_BYTES)
        self.lines: list[str] = []
        self.channel = Channel(node, network.transport(node), settings, log=self.lines.append)
        self.digest = hashlib.sha256()
        self._noise = np.random.default_rng([seed, node])
        self._own_P = torch.from_numpy(self._noise.standard_normal(PARAMETERS, np.float32))
        self._sharing = TopK(TopK.Config(name="top-k", alpha=ALPHA), self._noise)
        self._sharing.begin(self._own_P)
        full, sampling = Full.Config(name="full"), SubSampling.Config(name="sub-sampling", alpha=ALPHA)
        self._rules = (self._sharing, Full(full, self._noise), SubSampling(sampling, self._noise))

    def send(self, round: int) -> None:
        """Some training, and what came of it to all peers."""
        self._own_P += torch.from_numpy(self._noise.standard_normal(PARAMETERS, np.float32))
        packed = self._sharing.pack(self._own_P, None, round)
        payload = Payload(packed.buffers, {**packed.scalars, "degree": len(self.peers)})
        self.channel.broadcast(self.peers, Message("parameters", round, self.node, payload))

    def mix(self, round: int) -> None:
        """Average with what all peers sent in this round."""
        received = [
            Received(peer, self._sharing.unpack(peer, message.payload, self._own_P), message.payload.scalars)
            for peer, message in self.channel.collect("parameters", round, self.peers)
        ]
        mixed = weighted_sum(self.node, self._own_P, received, lambda item: 1.0 / len(NODES))
        self._sharing.commit(self._own_P, mixed.vector_P)
        self._own_P = mixed.vector_P
        self.digest.update(self._own_P.numpy().tobytes())

    def read(self) -> Counter[str]:
        """Take what came from anybody, and read it by every sharing rule: how often that went well, or was refused."""
        outcomes: Counter[str] = Counter()
        for message in self.channel.poll(OPEN_KIND):
            good = sum(self._reads(rule, message) for rule in self._rules)
            outcomes["read" if good else "refused"] += 1
        return outcomes

    def _reads(self, rule: TopK | Full | SubSampling, message: Message) -> bool:
        try:
            codec.check_finite(message.payload)
            vector_P = rule.unpack(message.sender, message.payload, self._own_P)
            if isinstance(rule, TopK):
                _check_indices(rule.indices(message.payload, PARAMETERS))
        except CodecError:
            return False
        if vector_P.shape != self._own_P.shape or vector_P.dtype != torch.float32 or not vector_P.isfinite().all():
            raise RuntimeError(f"a vector of {vector_P.dtype}, shape {tuple(vector_P.shape)}, that may not be finite")
        return True


def _check_indices(indices_K: np.ndarray | None) -> None:
    """Whatever was accepted increases and is in range."""
    if indices_K is None or not len(indices_K):
        return
    if indices_K[0] < 0 or indices_K[-1] >= PARAMETERS or not (np.diff(indices_K) > 0).all():
        raise RuntimeError("indices that do not increase, or out of range")


class Community:
    """The honest nodes and the queues between them; `inject` is the attacker's way in."""

    def __init__(self, seed: int) -> None:
        self._network = MemoryNetwork()
        self.nodes = [Node(node, self._network, seed) for node in NODES]
        for other in (HOSTILE, STRANGER):  # what is sent to them is lost
            self._network.transport(other).close()
        self.round = 0

    def begin_round(self) -> None:
        """All have sent; what they sent is on its way."""
        self.round += 1
        for node in self.nodes:
            node.send(self.round)

    def end_round(self) -> None:
        for node in self.nodes:
            node.mix(self.round)

    def inject(self, sender: NodeId, to: NodeId, frames: Sequence[Buffer]) -> None:
        self._network.deliver(sender, to, frames)

    def digests(self) -> list[str]:
        return [node.digest.hexdigest() for node in self.nodes]
