"""Somebody on the way: passes on what others say to a listener, writes it down, and says it again later."""

from __future__ import annotations

import selectors
import socket
import threading
from dataclasses import dataclass, field

from scripts.fuzzing.connections import RESET

READ_BYTES = 64 * 1024
PATIENCE_S = 2.0
BEFORE_A_KEY_BYTES = 64 + 170  # all that ZeroMQ says to somebody who has not shown a key yet: greeting and WELCOME
LISTEN_S = 0.3  # how long the one who repeats waits for each answer


@dataclass
class Conversation:
    """One connection, as heard: who said what, in order."""

    port: int
    said: list[tuple[bool, bytes]] = field(default_factory=list)
    """Whether it was the one who connected, and the bytes."""


class Recorder:
    """Listens on ports of `host`, and passes everything on to the same ports of `to`, in a thread of its own."""

    def __init__(self, host: str, to: str, ports: range) -> None:
        self.conversations: list[Conversation] = []
        self._to = to
        self._selector = selectors.DefaultSelector()
        self._others: dict[socket.socket, tuple[socket.socket, Conversation, bool]] = {}
        self._closing = threading.Event()
        for port in ports:
            self._selector.register(socket.create_server((host, port)), selectors.EVENT_READ, port)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def close(self) -> None:
        self._closing.set()
        self._thread.join()

    def _run(self) -> None:
        with self._selector:
            while not self._closing.is_set():
                for key, _ in self._selector.select(0.05):
                    if key.data is not None:
                        self._accept(key.fileobj, key.data)  # type: ignore[arg-type]
                    elif key.fileobj in self._others:
                        self._pass_on(key.fileobj)
            for key in list(self._selector.get_map().values()):
                key.fileobj.close()  # type: ignore[union-attr]

    def _accept(self, listener: socket.socket, port: int) -> None:
        client, _ = listener.accept()
        try:
            server = socket.create_connection((self._to, port), PATIENCE_S)
        except OSError:  # nobody listens there yet
            client.close()
            return
        client.settimeout(PATIENCE_S)
        conversation = Conversation(port)
        self.conversations.append(conversation)
        for one, other, connects in ((client, server, True), (server, client, False)):
            self._others[one] = other, conversation, connects
            self._selector.register(one, selectors.EVENT_READ)

    def _pass_on(self, one: socket.socket) -> None:
        other, conversation, connects = self._others[one]
        try:
            data = one.recv(READ_BYTES)
            other.sendall(data)
        except OSError:
            data = b""
        if data:
            conversation.said.append((connects, data))
            return
        for end in (one, other):
            self._selector.unregister(end)
            del self._others[end]
            end.close()


def repeat(conversation: Conversation, host: str, port: int) -> int:
    """Say the same to whoever listens there, waiting for answers where there had been answers; bytes answered."""
    answered = 0
    with socket.create_connection((host, port), PATIENCE_S) as client:
        client.settimeout(LISTEN_S)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        try:
            for connects, data in conversation.said:
                if connects:
                    client.sendall(data)
                elif not (answer := _read(client, len(data))):
                    break
                else:
                    answered += answer
        except OSError:
            pass
    return answered


def _read(client: socket.socket, count: int) -> int:
    """Up to so many bytes; fewer when no more come."""
    read = 0
    try:
        while read < count and (data := client.recv(count - read)):
            read += len(data)
    except TimeoutError:
        pass
    return read
