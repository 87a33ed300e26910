"""Pack, send, collect, unpack: parameters between one node and its neighbors in one round."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from decentralized.interfaces import AttachingMixer, Context
from decentralized.types import Message, Neighbors, Payload, Received

if TYPE_CHECKING:
    from decentralized.types import Vector

PARAMETERS = "parameters"


def send(context: Context, own_P: Vector, neighbors: Neighbors, round: int) -> None:
    """Send `own_P` to all neighbors, with this node's degree in the header."""
    packed = context.sharing.pack(own_P, None, round)
    scalars = {**packed.scalars, "degree": len(neighbors.send_to)}
    extras = context.mixer.attach(context) if isinstance(context.mixer, AttachingMixer) else {}
    message = Message(PARAMETERS, round, context.node, Payload({**packed.buffers, **extras}, scalars))
    context.channel.broadcast(neighbors.send_to, message)


def receive(context: Context, own_P: Vector, neighbors: Neighbors, round: int) -> Iterator[Received]:
    """What each neighbor sent in this round, dense, in node order, one at a time."""
    for peer, message in context.channel.collect(PARAMETERS, round, neighbors.receive_from):
        payload = message.payload
        yield Received(peer, context.sharing.unpack(peer, payload, own_P), payload.scalars, payload.buffers)
