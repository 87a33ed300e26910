"""Clients that speak ZeroMQ as it should be, and have no key of the run, or not the right one."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import zmq
from zmq.utils.monitor import recv_monitor_message

from decentralized.transport.security import Curve, KeyPair, Plain

CONNECT_S = 1.0
LINGER_S = 0.1  # how long one who was let in stays
SAYS = [b"not a message of this run"] * 3
LET_IN, NOT_CONNECTED = "let in", "not connected"
ENDS = {
    int(zmq.EVENT_HANDSHAKE_SUCCEEDED): LET_IN,
    int(zmq.EVENT_HANDSHAKE_FAILED_AUTH): "told that it is not of this run",
    int(zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL): "hung up on",
    int(zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL): "hung up on",
    int(zmq.EVENT_DISCONNECTED): "hung up on",
}

Prepare = Callable[["zmq.Socket[bytes]"], None]


@dataclass(frozen=True)
class Stranger:
    """Somebody at the door, of whom it is known whether he should come in."""

    name: str
    address: str
    prepare: Prepare
    welcome: bool = False


def strangers(address: str, server_key: str, who: str) -> list[Stranger]:
    """All that come without a key pair of the run, to `who` at the address."""

    def with_key(key: str) -> Prepare:
        return lambda socket: Curve(KeyPair.new(), {1: key}).connect(socket, 2, 1)

    return [
        Stranger(f"{who}: with a key for the listener that is not its own", address, with_key(KeyPair.new().public)),
        Stranger(f"{who}: with the listener's key, and an own key pair", address, with_key(server_key)),
        Stranger(f"{who}: a plain client", address, lambda socket: Plain("decentralized").connect(socket, 2, 1)),
        Stranger(f"{who}: a client without security", address, lambda socket: None),
    ]


def visit(visitors: list[Stranger], seconds: float) -> dict[str, Counter[str]]:
    """They come again and again, one after the other, and say something; how each visit ended, by name."""
    ends: dict[str, Counter[str]] = {stranger.name: Counter() for stranger in visitors}
    until = time.monotonic() + seconds
    with zmq.Context() as context:
        context.linger = 0
        while time.monotonic() < until:
            for stranger in visitors:
                ends[stranger.name][_knock(context, stranger)] += 1
    return ends


def _knock(context: zmq.Context[zmq.Socket[bytes]], stranger: Stranger) -> str:
    socket = context.socket(zmq.DEALER)
    stranger.prepare(socket)
    socket.reconnect_ivl = -1
    monitor = socket.get_monitor_socket()
    try:
        socket.connect(stranger.address)
        with suppress(zmq.Again):  # hung up on already
            socket.send_multipart(SAYS, zmq.NOBLOCK)
        until = time.monotonic() + CONNECT_S
        while monitor.poll(max(0, int((until - time.monotonic()) * 1000))):
            event = int(recv_monitor_message(monitor)["event"])
            if event in ENDS:
                if ENDS[event] == LET_IN:
                    time.sleep(LINGER_S)  # so that what it says is sent
                return ENDS[event]
        return NOT_CONNECTED
    finally:
        socket.disable_monitor()
        socket.close()
