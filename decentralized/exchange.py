"""Pack, send, collect, unpack: parameters between one node and its neighbors in one round."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from decentralized import codec
from decentralized.errors import CodecError
from decentralized.interfaces import AttachingMixer, CheckingMixer, Context
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
    """What each neighbor sent in this round, dense, in node order, one at a time; unusable messages are left out."""
    for _, message in context.channel.collect(PARAMETERS, round, neighbors.receive_from):
        if (item := read(context, own_P, message, lambda item: _check(context, item))) is not None:
            yield item


def read(context: Context, own_P: Vector, message: Message, check: Callable[[Received], object]) -> Received | None:
    """What a message says, dense; None for one that cannot be used, which is counted and logged.

    `check` raises CodecError for what the caller could not use.
    """
    payload = message.payload
    try:
        if not context.accepts_non_finite:
            codec.check_finite(payload)
        vector_P = context.sharing.unpack(message.sender, payload, own_P)
        item = Received(message.sender, vector_P, payload.scalars, payload.buffers)
        check(item)
    except CodecError as error:
        context.channel.reject(message, str(error))
        return None
    return item


def _check(context: Context, item: Received) -> None:
    if isinstance(context.mixer, CheckingMixer):
        context.mixer.check(item, context)
