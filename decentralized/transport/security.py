"""How the two ends of a connection prove who they are: the handshakes PLAIN and CURVE of ZeroMQ.

Either one binds a node id to the connection. With PLAIN that id comes with a token that all of a run know, in clear
text. With CURVE every end has a key pair; only public keys of this run are let in, the key decides which node it is,
and everything that follows is encrypted with keys of that one connection.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import zmq
from zmq.utils import z85

from decentralized.types import NodeId

KEY_BYTES = 32
KEY_CHARACTERS = 40  # of a key in ZeroMQ's own printable coding, Z85
ALPHABET = set(z85.Z85CHARS.decode())
FRAME_OVERHEAD_BYTES = 64  # what encryption adds to a frame, at most


class Security(Protocol):
    """One node's side of the handshakes."""

    overhead_bytes: int
    """What it adds to a frame, at most."""

    def listen(self, socket: zmq.Socket[bytes]) -> None:
        """Prepare the listening socket."""

    def connect(self, socket: zmq.Socket[bytes], node: NodeId, to: NodeId) -> None:
        """Prepare a socket of `node` that is to reach node `to`."""

    def node_of(self, mechanism: bytes, credentials: Sequence[bytes]) -> NodeId:
        """Who has shown these credentials. Raises Stranger, with the reason, when it is nobody of this run."""


class Stranger(Exception):
    """Somebody who is not let in; the message says why, in few words."""


class Plain:
    """The run's token in clear text: keeps strangers out where nobody listens, such as on loopback."""

    overhead_bytes = 0

    def __init__(self, token: str) -> None:
        self._token = token.encode()

    def listen(self, socket: zmq.Socket[bytes]) -> None:
        socket.plain_server = True

    def connect(self, socket: zmq.Socket[bytes], node: NodeId, to: NodeId) -> None:
        socket.plain_username = str(node).encode()
        socket.plain_password = self._token

    def node_of(self, mechanism: bytes, credentials: Sequence[bytes]) -> NodeId:
        if mechanism != b"PLAIN" or len(credentials) != 2:
            raise Stranger("another mechanism")
        user, password = credentials
        if not hmac.compare_digest(password, self._token):
            raise Stranger("a wrong token")
        if not (user.isdigit() and len(user) < 10):
            raise Stranger("an unknown node")
        return int(user)


@dataclass(frozen=True)
class KeyPair:
    """A CURVE key pair, each key in Z85. The secret half is never shown."""

    public: str
    _secret: bytes

    @classmethod
    def new(cls) -> KeyPair:
        """From the system's random numbers, so that forked processes cannot share a generator."""
        return cls.of(os.urandom(KEY_BYTES))

    @classmethod
    def of(cls, secret: bytes) -> KeyPair:
        """The pair of a secret of 32 bytes."""
        coded = z85.encode(secret)
        return cls(zmq.curve_public(coded).decode(), coded)

    def use(self, socket: zmq.Socket[bytes]) -> None:
        socket.curve_secretkey, socket.curve_publickey = self._secret, self.public.encode()

    def __repr__(self) -> str:
        return f"KeyPair({self.public!r})"


class Curve:
    """Encryption, and a key pair for each node. `introduce` tells the public keys of the run."""

    overhead_bytes = FRAME_OVERHEAD_BYTES

    def __init__(self, pair: KeyPair, keys: Mapping[NodeId, str] | None = None) -> None:
        self._pair = pair
        self._keys: dict[NodeId, str] = {}
        self._nodes: dict[bytes, NodeId] = {}
        self.introduce(keys or {})

    def introduce(self, keys: Mapping[NodeId, str]) -> None:
        """The public key of each node, in Z85; raises ValueError for what is no key."""
        for node, key in keys.items():
            self._nodes[public_key(key)] = node
            self._keys[node] = key

    def listen(self, socket: zmq.Socket[bytes]) -> None:
        self._pair.use(socket)
        socket.curve_server = True

    def connect(self, socket: zmq.Socket[bytes], node: NodeId, to: NodeId) -> None:
        self._pair.use(socket)
        socket.curve_serverkey = self._keys[to].encode()

    def node_of(self, mechanism: bytes, credentials: Sequence[bytes]) -> NodeId:
        if mechanism != b"CURVE" or len(credentials) != 1:
            raise Stranger("another mechanism")
        node = self._nodes.get(credentials[0])
        if node is None:
            raise Stranger("an unknown key")
        return node


def public_key(text: str) -> bytes:
    """The 32 bytes of a public key; raises ValueError."""
    if len(text) != KEY_CHARACTERS or set(text) - ALPHABET:
        raise ValueError(f"not a public key: {text!r}")
    return z85.decode(text.encode())
