"""Kinds of hostile connections: raw TCP, and ZMTP 3.1 (ZeroMQ's protocol, RFC 37 and RFC 24 for PLAIN) by hand.

A client does its part and returns; whether its connection is then closed, reset or left is up to the caller.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress

import numpy as np

from decentralized.link import Prefix

TOKEN = "the token of this run"
RUN = b"fuzzing!"
VICTIM, HONEST, NEWCOMER, HOSTILE = 0, 1, 2, 3
PATIENCE_S = 2.0

Client = Callable[[socket.socket, np.random.Generator], None]


def greeting(mechanism: bytes = b"PLAIN", version: bytes = b"\x03\x01") -> bytes:
    return b"\xff" + bytes(8) + b"\x7f" + version + mechanism.ljust(20, b"\0") + bytes(32)


def command(body: bytes) -> bytes:
    return bytes([4, len(body)]) + body if len(body) < 256 else b"\x06" + len(body).to_bytes(8, "big") + body


def frame(body: bytes, more: bool = False) -> bytes:
    flags = int(more)
    return (
        bytes([flags, len(body)]) + body
        if len(body) < 256
        else bytes([flags | 2]) + len(body).to_bytes(8, "big") + body
    )


def hello(user: bytes, token: bytes) -> bytes:
    return command(b"\x05HELLO" + bytes([len(user)]) + user + bytes([len(token)]) + token)


def initiate(**properties: bytes) -> bytes:
    fields = {"Socket-Type": b"DEALER", "Identity": b"", **properties}
    body = b"".join(
        bytes([len(name)]) + name.encode() + len(value).to_bytes(4, "big") + value for name, value in fields.items()
    )
    return command(b"\x08INITIATE" + body)


def welcomed(client: socket.socket, user: int = HOSTILE) -> bool:
    """The first half of the handshake with the right token; whether the victim agreed."""
    client.sendall(greeting() + hello(b"%d" % user, TOKEN.encode()))
    answer = b""
    with suppress(OSError):
        while b"WELCOME" not in answer and (data := client.recv(4096)):
            answer += data
    return b"WELCOME" in answer


def _inside(what: bytes) -> Client:
    """With valid credentials, and then this."""

    def act(client: socket.socket, random: np.random.Generator) -> None:
        if welcomed(client):
            client.sendall(what)

    return act


def _says(what: bytes) -> Client:
    return lambda client, random: client.sendall(what)


def _junk(client: socket.socket, random: np.random.Generator) -> None:
    client.sendall(random.bytes(int(random.integers(1, 5000))))


def _half_greeting(client: socket.socket, random: np.random.Generator) -> None:
    client.sendall(greeting()[: int(random.integers(1, 64))])


def _half_hello(client: socket.socket, random: np.random.Generator) -> None:
    said = hello(b"3", TOKEN.encode())
    client.sendall(greeting() + said[: int(random.integers(1, len(said)))])


def _garbled_hello(client: socket.socket, random: np.random.Generator) -> None:
    said = bytearray(hello(b"3", TOKEN.encode()))
    said[int(random.integers(len(said)))] ^= int(random.integers(1, 256))
    client.sendall(greeting() + said)


def _slowly(client: socket.socket, random: np.random.Generator) -> None:
    """One byte in a packet of its own, and no more for now: the caller leaves such connections open."""
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for byte in greeting()[: int(random.integers(2, 20))]:
        client.sendall(bytes([byte]))


def _garbled_frames(client: socket.socket, random: np.random.Generator) -> None:
    if welcomed(client):
        client.sendall(initiate() + frame(random.bytes(76), more=True) + random.bytes(300))


def _borrowed_name(client: socket.socket, random: np.random.Generator) -> None:
    """A valid peer that gives itself another's id where the protocol lets it name properties."""
    if welcomed(client):
        prefix = Prefix(RUN, 0, 2**31, 0, 1, 0, 0, 0)  # believed, it would make the honest peer's stream an old one
        said = initiate(**{"User-Id": b"%d" % HONEST, "user-id": b"%d" % HONEST, "Identity": b"%d" % HONEST})
        client.sendall(said + frame(prefix.pack()))


WRONG = hello(b"%d" % HOSTILE, b"guess")
HUGE = b"\x02" + (2**40).to_bytes(8, "big")

CLIENTS: dict[str, Client] = {
    "opened, nothing said": lambda client, random: None,
    "raw TCP junk": _junk,
    "a web browser": _says(b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n"),
    "half a greeting": _half_greeting,
    "one byte at a time": _slowly,
    "a greeting and no more": _says(greeting()),
    "an old protocol version": _says(b"\x01\x00" + frame(b"hello") * 20),
    "another mechanism (NULL)": _says(greeting(b"NULL") + command(b"\x05READY")),
    "another mechanism (CURVE)": _says(greeting(b"CURVE") + command(b"\x05HELLO" + bytes(194))),
    "half a hello": _half_hello,
    "a garbled hello": _garbled_hello,
    "a hello of 2^40 bytes": _says(greeting() + b"\x06" + (2**40).to_bytes(8, "big") + b"\x05HELLO" + bytes(2000)),
    "a hello of 60 kB": _says(greeting() + command(b"\x05HELLO" + bytes(60_000))),
    "messages before the handshake": _says(greeting() + frame(b"hello") * 100),
    "a wrong token": _says(greeting() + WRONG),
    "an unknown id": _says(greeting() + hello(b"77", TOKEN.encode())),
    "the victim's own id": _says(greeting() + hello(b"%d" % VICTIM, TOKEN.encode())),
    "a name for an id": _says(greeting() + hello(b"root", TOKEN.encode())),
    "valid, then half a handshake": _inside(initiate()[:20]),
    "valid, then a wrong socket type": _inside(initiate(**{"Socket-Type": b"PUB"})),
    "valid, then nothing": _inside(initiate()),
    "valid, then a huge frame": _inside(initiate() + HUGE + bytes(1000)),
    "valid, then an unknown command": _inside(initiate() + command(b"\x04EVIL" + bytes(100))),
    "valid, then pings": _inside(initiate() + command(b"\x04PING\x00\x01" + bytes(16)) * 50),
    "valid, then garbled frames": _garbled_frames,
    "valid, with another's id in its properties": _borrowed_name,
}
