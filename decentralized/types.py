"""The plain data that all parts share. Nothing here opens a socket, imports torch or keeps state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    import torch

    Vector: TypeAlias = torch.Tensor  # a flat float32 vector

NodeId: TypeAlias = int  # 0 .. nodes - 1
Buffer: TypeAlias = "bytes | bytearray | memoryview"
Scalar: TypeAlias = "int | float | str | bool"

# What a component must remember: a tree of dict (keys str or int), list, tuple, Counter, None, bool, int, float, str,
# numpy arrays and torch tensors, with a dict at its top.
State: TypeAlias = Mapping[str, object]


@dataclass(frozen=True)
class Graph:
    """Who sends to whom.

    `targets[i]` are the nodes to which node i sends, in increasing order, without i itself.
    """

    targets: tuple[tuple[NodeId, ...], ...]

    @property
    def nodes(self) -> int:
        return len(self.targets)

    def sources(self, node: NodeId) -> tuple[NodeId, ...]:
        """The nodes that send to `node`, in increasing order."""
        return tuple(other for other, targets in enumerate(self.targets) if node in targets)

    def pieces(self) -> list[set[NodeId]]:
        """The connected pieces, edges taken both ways; one for a connected graph."""
        around = [set(targets) for targets in self.targets]
        for node, targets in enumerate(self.targets):
            for target in targets:
                around[target].add(node)
        pieces: list[set[NodeId]] = []
        unseen = set(range(self.nodes))
        while unseen:
            piece: set[NodeId] = set()
            front = {min(unseen)}
            while front:
                piece |= front
                front = {other for node in front for other in around[node]} - piece
            pieces.append(piece)
            unseen -= piece
        return pieces

    @property
    def undirected(self) -> bool:
        """Whether each edge goes both ways."""
        edges = {(i, j) for i, targets in enumerate(self.targets) for j in targets}
        return all((j, i) in edges for i, j in edges)


@dataclass(frozen=True)
class Neighbors:
    """One node's neighbors in one round.

    `weights` (node to mixing weight, own included) are given only where the graph brings them, as MATCHA does.
    """

    send_to: tuple[NodeId, ...]
    receive_from: tuple[NodeId, ...]
    weights: Mapping[NodeId, float] | None = None


@dataclass(frozen=True)
class Payload:
    """What a sharing rule sends: named flat arrays and scalars.

    A buffer's name says how its bytes are counted: "indices" apart, any other one as values; scalars count as header.
    """

    buffers: Mapping[str, np.ndarray]
    scalars: Mapping[str, Scalar] = field(default_factory=dict)


@dataclass(frozen=True)
class Message:
    """One message between two nodes. (kind, round, step, sender) is its key."""

    kind: str
    round: int
    sender: NodeId
    payload: Payload
    step: int = 0


@dataclass(frozen=True)
class Received:
    """What came from one peer: its parameters, dense, and the scalars that travelled with them.

    The vector is the receiver's own memory: a mixer may overwrite it.
    """

    sender: NodeId
    vector_P: Vector
    scalars: Mapping[str, Scalar]
    extras: Mapping[str, np.ndarray] = field(default_factory=dict)
    """All buffers of the message, as they came: what the sender's mixer attached is among them."""


@dataclass(frozen=True)
class Rows:
    """The rows of a model that is a table, such as a recommender.

    row_of_P (P,) int64: the row of each parameter. held_R (R,) bool: the rows that the node holds; it grows.
    """

    row_of_P: np.ndarray
    held_R: np.ndarray


@dataclass(frozen=True)
class Mixed:
    """The mixed parameters, and the weight given to each node (own included)."""

    vector_P: Vector
    weights: Mapping[NodeId, float]


@dataclass(frozen=True)
class RoundReport:
    """What an algorithm says of a finished round. Times are seconds of this round."""

    round: int
    metrics: Mapping[str, float]
    fit_s: float = 0.0
    wait_s: float = 0.0
    mix_s: float = 0.0
    weights: Mapping[NodeId, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Quiet:
    """What an algorithm without common rounds says when nothing is under way between any two nodes.

    The driver writes check-point `number`, and with `stops` asks for no further round.
    """

    number: int
    stops: bool


@dataclass(frozen=True)
class Facts:
    """What a model must know of the data. Shapes are those of one sample, without the batch axis."""

    input_shape: tuple[int, ...]
    classes: int = 0  # classification
    users: int = 0  # ratings: rows of the user table
    items: int = 0  # ratings: rows of the item table
    vocabulary: int = 0  # text: distinct characters or words
    target_length: int = 0  # sequences: places with a target of their own, or characters of the longest transcript
