"""Hostile connections to a node that exchanges messages with an honest peer: it must not stop, slow down or grow."""

from __future__ import annotations

import multiprocessing
import os
import resource
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection

import numpy as np

from decentralized.channel import Channel, ChannelSettings
from decentralized.transport.security import Plain
from decentralized.transport.zeromq import ZeroMqTransport
from decentralized.types import Message, Payload
from launch.heap import give_memory_back
from scripts.fuzzing.clients import CLIENTS, HONEST, HOSTILE, NEWCOMER, PATIENCE_S, RUN, TOKEN, VICTIM

VALUES = 50_000
SETTLE_S = 1.0
WINDOW_S = 1.0
RESET = struct.pack("ii", 1, 0)
NEAR_BASELINE = 16  # descriptors


@dataclass(frozen=True)
class Sample:
    """What the victim says of itself: totals since it began."""

    rounds: int
    wrong: int
    newcomers: int
    wall_s: float
    cpu_s: float
    resident_bytes: int
    descriptors: int
    refused: dict[str, int]
    dropped: dict[str, int]


@dataclass
class ConnectionReport:
    """Rounds are exchanges of the honest pair, which has one process of its own."""

    opened: Counter[str] = field(default_factory=Counter)
    failed: int = 0  # connections that could not even be opened
    most_descriptors: int = 0
    grown_bytes: int = 0
    wrong_rounds: int = 0
    reclaimed_s: float = 0.0  # after the attack, until the victim had its descriptors back
    newcomer: bool = False  # whether an honest peer that came during the attack got through
    alive: bool = False
    refused: dict[str, int] = field(default_factory=dict)
    round_ratio: float = 0.0  # wall time of a round under attack by that without
    cpu_ratio: float = 0.0  # likewise, processor time of the victim
    seconds: float = 0.0

    @property
    def good(self) -> bool:
        return self.alive and self.newcomer and not self.wrong_rounds


@dataclass(frozen=True)
class Plan:
    """An attack.

    With `leave` all connections are only opened and left; else they are of all kinds, and half of them stay open until
    the end. `per_second`: so many in each second of attack, with a quiet second before each, to compare with; None: all
    of them as fast as possible. `descriptors` limits the victim's own.
    """

    count: int
    seed: int = 1
    per_second: float | None = None
    leave: bool = False
    descriptors: int | None = None
    deadline_s: float = 5.0


def fuzz_connections(plan: Plan) -> ConnectionReport:
    """Attack a node that has an honest peer; see how both do meanwhile and afterwards."""
    report = ConnectionReport()
    began = time.monotonic()
    with _victim(plan) as (ask, book):
        _wait(SETTLE_S)
        start = ask()
        attack = _Attack(book[VICTIM], np.random.default_rng(plan.seed), report)
        attack.run(plan, ask)
        loud = ask()
        report.newcomer = _newcomer(book, plan.deadline_s, lambda: ask().newcomers)
        calm = start.descriptors + NEAR_BASELINE
        report.reclaimed_s = _until(lambda: ask().descriptors <= calm, 4 * plan.deadline_s)
        attack.close()
        _wait(WINDOW_S)
        end = ask()
        report.alive = end.rounds > loud.rounds
    report.wrong_rounds, report.refused = end.wrong, end.refused
    report.grown_bytes = end.resident_bytes - start.resident_bytes
    report.round_ratio, report.cpu_ratio = np.median(attack.ratios, axis=0).tolist()
    report.seconds = time.monotonic() - began
    return report


def _per_round(before: Sample, after: Sample) -> tuple[float, float]:
    """Wall time and processor time, in seconds."""
    rounds = max(1, after.rounds - before.rounds)
    return (after.wall_s - before.wall_s) / rounds, (after.cpu_s - before.cpu_s) / rounds


def _wait(seconds: float) -> None:
    time.sleep(seconds)


def _until(done: Callable[[], bool], patience_s: float) -> float:
    """How long it took; infinity when patience ended."""
    began = time.monotonic()
    while not done():
        if time.monotonic() - began > patience_s:
            return float("inf")
        _wait(0.1)
    return time.monotonic() - began


class _Attack:
    """Opens connections, one after the other."""

    def __init__(self, address: str, random: np.random.Generator, report: ConnectionReport) -> None:
        host, _, port = address.removeprefix("tcp://").rpartition(":")
        self._address = (host, int(port))
        self._random, self._report = random, report
        self._left: list[socket.socket] = []
        self._room = _raise_limit() // 2
        self.ratios: list[list[float]] = []  # of an attacked window to the quiet one before: wall and processor time

    def run(self, plan: Plan, ask: Callable[[], Sample]) -> None:
        in_window = plan.count if plan.per_second is None else int(plan.per_second * WINDOW_S)
        for first in range(0, plan.count, in_window):
            before = ask()
            _wait(WINDOW_S)
            between = ask()
            self._window(plan, range(first, min(plan.count, first + in_window)), ask)
            quiet, loud = _per_round(before, between), _per_round(between, ask())
            self.ratios.append([attacked / calm for attacked, calm in zip(loud, quiet, strict=True)])

    def _window(self, plan: Plan, numbers: range, ask: Callable[[], Sample]) -> None:
        kinds = list(CLIENTS)[:1] if plan.leave else list(CLIENTS)
        began = time.monotonic()
        for number in numbers:
            if plan.per_second is not None:
                _wait(max(0.0, began + (number - numbers.start) / plan.per_second - time.monotonic()))
            self._open(kinds[number % len(kinds)], plan.leave or number // len(kinds) % 2 == 0)
            if number % 100 == 99:
                self._report.most_descriptors = max(self._report.most_descriptors, ask().descriptors)

    def close(self) -> None:
        for client in self._left:
            client.close()

    def _open(self, kind: str, leave: bool) -> None:
        try:
            client = socket.create_connection(self._address, PATIENCE_S)
        except OSError:
            self._report.failed += 1
            return
        with suppress(OSError):  # the victim may cut us in the middle
            CLIENTS[kind](client, self._random)
        self._report.opened[kind] += 1
        if leave and len(self._left) < self._room:
            self._left.append(client)
            return
        if self._random.integers(2):
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        client.close()


def _raise_limit() -> int:
    """The descriptors that this process may have, after asking for all that it can get."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def _newcomer(book: dict[int, str], deadline_s: float, seen: Callable[[], int]) -> bool:
    """An honest peer that connects only now."""
    transport = ZeroMqTransport(NEWCOMER, Plain(TOKEN), deadline_s=deadline_s)
    try:
        transport.introduce({VICTIM: book[VICTIM]})
        channel = Channel(NEWCOMER, transport, ChannelSettings(RUN, deadline_s))
        channel.send(VICTIM, Message("newcomer", 1, NEWCOMER, Payload({})))
        return _until(lambda: seen() > 0, 4 * deadline_s) < float("inf")
    finally:
        transport.close()


@contextmanager
def _victim(plan: Plan) -> Iterator[tuple[Callable[[], Sample], dict[int, str]]]:
    """The honest pair's process: a way to ask it for a sample, and the addresses."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(there, plan))
    process.start()
    there.close()
    try:
        book = here.recv()
        yield lambda: _ask(here), book
        here.send(None)
        process.join(4 * plan.deadline_s)
    finally:
        here.close()
        process.kill()
        process.join()


def _ask(here: Connection) -> Sample:
    here.send("sample")
    sample: Sample = here.recv()
    return sample


def _serve(there: Connection, plan: Plan) -> None:
    """The victim and its honest peer, taking turns, until told to stop."""
    if plan.descriptors is not None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (plan.descriptors, plan.descriptors))
    transports = [ZeroMqTransport(node, Plain(TOKEN), deadline_s=plan.deadline_s) for node in (VICTIM, HONEST)]
    nobody = "tcp://127.0.0.1:9"
    book = {VICTIM: transports[0].address, HONEST: transports[1].address, NEWCOMER: nobody, HOSTILE: nobody}
    channels = []
    for node, transport in enumerate(transports):
        transport.introduce(book)
        channels.append(Channel(node, transport, ChannelSettings(RUN, 100 * plan.deadline_s)))
    pair = _Pair(channels, transports[VICTIM])
    give_memory_back(pair.round)  # as the parent of all nodes does
    there.send(book)
    with suppress(EOFError):
        while True:
            pair.round()
            if there.poll():
                if there.recv() is None:
                    break
                there.send(pair.sample())
    for transport in transports:
        transport.close()


def _open_descriptors() -> int:
    try:
        return len(os.listdir("/proc/self/fd"))
    except OSError:  # there is none left to look with
        return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


class _Pair:
    """Exchanges vectors and looks whether they arrive as they were sent."""

    def __init__(self, channels: list[Channel], victim: ZeroMqTransport) -> None:
        self._channels, self._victim = channels, victim
        self._pages = open("/proc/self/statm", encoding="ascii")  # noqa: SIM115 - while there is a descriptor for it
        self._rounds = self._wrong = self._newcomers = 0

    def round(self) -> None:
        self._rounds += 1
        for node, channel in enumerate(self._channels):
            channel.send(1 - node, Message("parameters", self._rounds, node, Payload({"values": self._values(node)})))
        for node, channel in enumerate(self._channels):
            ((_, message),) = channel.collect("parameters", self._rounds, [1 - node])
            self._wrong += not np.array_equal(message.payload.buffers["values"], self._values(1 - node))
        self._newcomers += len(self._channels[VICTIM].poll("newcomer"))

    def sample(self) -> Sample:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return Sample(
            self._rounds,
            self._wrong,
            self._newcomers,
            time.monotonic(),
            usage.ru_utime + usage.ru_stime,
            self._resident_bytes(),
            _open_descriptors(),
            dict(self._victim.refused),
            dict(self._channels[VICTIM].dropped),
        )

    def _resident_bytes(self) -> int:
        self._pages.seek(0)
        return int(self._pages.read().split()[1]) * resource.getpagesize()

    def _values(self, node: int) -> np.ndarray:
        return np.full(VALUES, 2 * self._rounds + node, np.float32)
