"""A TCP proxy that breaks its connections: in the middle of the stream, or without a word."""

from __future__ import annotations

import selectors
import socket
import struct
import threading

import numpy as np

READ_BYTES = 64 * 1024
BLOCKED_S = 2.0  # a receiver that takes nothing for so long is cut off, too
RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Proxy:
    """Passes bytes between whoever connects to `address` and a local port, in one thread of its own.

    All connections are cut `cuts` times, each time after a random number of bytes, on average `mean_bytes`.
    """

    def __init__(self, port: int, seed: int = 0, cuts: int = 0, mean_bytes: int = 1) -> None:
        self._port = port
        self._random = np.random.default_rng(seed)
        self._left, self._mean_bytes = cuts, mean_bytes
        self.cuts = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._others: dict[socket.socket, socket.socket] = {}
        self._silence = threading.Event()
        self._closing = threading.Event()
        self._budget = self._draw()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def fall_silent(self) -> None:
        """The present connections stay open but pass nothing on any more."""
        self._silence.set()
        while self._silence.is_set() and self._thread.is_alive():
            self._thread.join(0.01)

    def close(self) -> None:
        self._closing.set()
        self._thread.join(10 * BLOCKED_S)

    def _draw(self) -> int:
        return int(self._random.integers(1, 2 * self._mean_bytes))

    def _run(self) -> None:
        with self._selector, self._listener:
            while not self._closing.is_set():
                for key, _ in self._selector.select(0.02):
                    self._serve(key.fileobj)  # type: ignore[arg-type]
                if self._silence.is_set():
                    for one in self._others:
                        self._selector.unregister(one)
                    self._silence.clear()
            self._cut()

    def _serve(self, one: socket.socket) -> None:
        if one is self._listener:
            self._accept()
        elif one in self._others:  # not cut a moment ago
            self._pass_on(one, self._others[one])

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        try:
            server = socket.create_connection(("127.0.0.1", self._port), BLOCKED_S)
        except OSError:
            client.close()
            return
        client.settimeout(BLOCKED_S)
        for one, other in ((client, server), (server, client)):
            self._others[one] = other
            self._selector.register(one, selectors.EVENT_READ)

    def _pass_on(self, one: socket.socket, other: socket.socket) -> None:
        due = self._left > 0
        try:
            data = one.recv(READ_BYTES)
            other.sendall(data[: self._budget] if due else data)
        except OSError:
            data = b""
        if not data:
            self._drop(one)
        elif due:
            self._budget -= len(data)
            if self._budget <= 0:
                self._budget = self._draw()
                self._left -= 1
                self.cuts += 1
                self._cut()

    def _cut(self) -> None:
        for one in list(self._others):
            self._drop(one)

    def _drop(self, one: socket.socket) -> None:
        """Resets a connection on both sides; what was under way is lost."""
        other = self._others.pop(one, None)
        if other is None:
            return
        del self._others[other]
        for end in (one, other):
            if end in self._selector.get_map():
                self._selector.unregister(end)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            end.close()
