"""Connections by people without a key, so many in each second: python -m scripts.attacks.flood RATE SECONDS ADDRESS...

A process of its own, which prints a line when it begins, and then what it did as one line of JSON.
"""

from __future__ import annotations

import json
import resource
import signal
import socket
import subprocess
import sys
import time
from collections import Counter, deque
from contextlib import suppress

import numpy as np

from scripts.fuzzing.clients import CLIENTS, Client, command, greeting
from scripts.fuzzing.connections import RESET

LEFT_OPEN = 500  # older ones are closed
CONNECT_S = 0.5
SOURCES = 16  # addresses to come from: each has only so many ports


def _hello(client: socket.socket, random: np.random.Generator) -> None:
    """Well-formed, so that the listener must try to open it."""
    client.sendall(greeting(b"CURVE") + command(b"\x05HELLO\x01\x00" + bytes(72) + random.bytes(120)))


def _half_hello(client: socket.socket, random: np.random.Generator) -> None:
    client.sendall(greeting(b"CURVE") + command(b"\x05HELLO\x01\x00" + bytes(192))[: int(random.integers(1, 200))])


WITHOUT_A_KEY = (
    "opened, nothing said",
    "raw TCP junk",
    "a web browser",
    "half a greeting",
    "a greeting and no more",
    "another mechanism (NULL)",
    "a wrong token",
)
KINDS: dict[str, Client] = {
    **{name: CLIENTS[name] for name in WITHOUT_A_KEY},
    "an encrypted hello with a wrong key": _hello,
    "half an encrypted hello": _half_hello,
}


class Flood:
    """One third of all connections are left open, the others closed or reset at once."""

    def __init__(self, addresses: list[tuple[str, int]]) -> None:
        self.opened: Counter[str] = Counter()
        self.failed = 0
        self._addresses = addresses
        self._random = np.random.default_rng(1)
        self._kinds = list(KINDS.items())
        self._left: deque[socket.socket] = deque()
        self._ended = False
        signal.signal(signal.SIGTERM, self._end)

    def _end(self, number: int, frame: object) -> None:
        self._ended = True

    def run(self, rate: float, seconds: float) -> float:
        """At a steady pace, until SIGTERM or for so long; how long it took."""
        began = time.monotonic()
        for number in range(round(rate * seconds)):
            if self._ended:
                break
            ahead = began + number / rate - time.monotonic()
            if ahead > 0.001:
                time.sleep(ahead)
            self._open(number)
        return time.monotonic() - began

    def _open(self, number: int) -> None:
        address = self._addresses[number % len(self._addresses)]
        name, act = self._kinds[number % len(self._kinds)]
        client = socket.socket()
        client.settimeout(CONNECT_S)
        try:
            if address[0].startswith("127."):
                client.bind((f"127.1.1.{1 + number % SOURCES}", 0))
            client.connect(address)
        except OSError:
            self.failed += 1
            client.close()
            return
        self.opened[name] += 1
        with suppress(OSError):  # cut in the middle
            act(client, self._random)
        self._leave(client, number // len(self._kinds) % 3)

    def _leave(self, client: socket.socket, how: int) -> None:
        if how == 0:
            self._left.append(client)
            if len(self._left) > LEFT_OPEN:
                self._left.popleft().close()
            return
        if how == 1:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        client.close()


def main(rate: float, seconds: float, addresses: list[str]) -> dict[str, object]:
    pairs = [address.removeprefix("tcp://").rpartition(":") for address in addresses]
    flood = Flood([(host, int(port)) for host, _, port in pairs])
    print("begins", flush=True)
    took_s = flood.run(rate, seconds)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "opened": dict(flood.opened),
        "failed": flood.failed,
        "per_second": flood.opened.total() / took_s,
        "own_processor_s": usage.ru_utime + usage.ru_stime,
    }


def start(rate: float, seconds: float, addresses: list[str]) -> subprocess.Popen[str]:
    """As a process of its own, which has begun."""
    words = [sys.executable, "-m", __name__, str(rate), str(seconds), *addresses]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    if process.stdout is not None:
        process.stdout.readline()
    return process


if __name__ == "__main__":
    print(json.dumps(main(float(sys.argv[1]), float(sys.argv[2]), sys.argv[3:])))
