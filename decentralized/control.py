"""The small facts that travel between nodes, the fork server and the agents. Parameters never do.

One fact is one line of JSON. A node talks to its fork server over a socket pair that was made before the fork; the fork
server passes lines on to its agent. When one side dies, the other sees the end of the stream.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from typing import Protocol

import msgspec

from decentralized.types import NodeId

MAX_LINE_BYTES = 16 * 1024 * 1024  # the address book of a very large run
MAX_BACKLOG_BYTES = 256 * 1024  # a node that cannot get rid of its facts drops the droppable ones


class Fact(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Base of all facts."""


class Warm(Fact, frozen=True, tag=True):
    """The fork server has imported and loaded everything."""

    seconds: float
    parameters: int
    train_samples: int
    test_samples: int
    targets: list[list[NodeId]]
    graph_hash: str


class Refused(Fact, frozen=True, tag=True):
    """The fork server found a mistake before any node was started."""

    error: str
    message: str
    advice: str
    exit_code: int


class Listening(Fact, frozen=True, tag=True):
    """A node is up and can be reached."""

    node: NodeId
    address: str
    pid: int


class RoundDone(Fact, frozen=True, tag=True):
    """A node has finished a round."""

    node: NodeId
    round: int
    train_loss: float | None
    bytes_sent: int


class Evaluated(Fact, frozen=True, tag=True):
    """A node was evaluated."""

    node: NodeId
    round: int
    metrics: dict[str, float | None]


class Finished(Fact, frozen=True, tag=True):
    """A node has done all its rounds and saved its model. `totals` are its traffic counters and memory."""

    node: NodeId
    round: int
    time_s: float
    metrics: dict[str, float | None]
    totals: dict[str, int]


class Failed(Fact, frozen=True, tag=True):
    """A node raised."""

    node: NodeId
    round: int
    error: str
    message: str
    advice: str
    exit_code: int


class Exited(Fact, frozen=True, tag=True):
    """A node process has ended; `status` is its exit code, or minus the signal that killed it."""

    node: NodeId
    status: int


class Proposed(Fact, frozen=True, tag=True):
    """A node proposes a value; the first proposal of a topic that agent 0 hears is the decision."""

    topic: str
    value: int


class Decided(Fact, frozen=True, tag=True):
    """To the nodes: what has been decided."""

    topic: str
    value: int


class Contributed(Fact, frozen=True, tag=True):
    """A node's numbers on a topic; newer ones replace its older ones."""

    node: NodeId
    topic: str
    values: dict[str, int]


class Summed(Fact, frozen=True, tag=True):
    """To the nodes: the sums over all nodes' newest numbers, once every node has contributed."""

    topic: str
    values: dict[str, int]


class Prepare(Fact, frozen=True, tag=True):
    """To the fork server, first of all: what the nodes will run. `host` is the address that its nodes listen on."""

    config: str
    data_root: str
    host: str


class Start(Fact, frozen=True, tag=True):
    """To the fork server: start these nodes."""

    nodes: list[NodeId]
    run: str
    token: str
    directory: str


class Kill(Fact, frozen=True, tag=True):
    """To the fork server: end all nodes."""


class Addresses(Fact, frozen=True, tag=True):
    """To the nodes: where all nodes are; the run begins."""

    book: dict[NodeId, str]


class Stop(Fact, frozen=True, tag=True):
    """To the nodes: all have finished, leave."""


class Join(Fact, frozen=True, tag=True):
    """From a machine's agent to agent 0: I am here, and this is what I run."""

    machine: int
    version: str
    digest: str


class Welcome(Fact, frozen=True, tag=True):
    """From agent 0 to a machine's agent: the run's id, its nodes' token, and its directory.

    `directory` is a name below each machine's own --out.
    """

    run: str
    token: str
    directory: str


class Abort(Fact, frozen=True, tag=True):
    """Between agents: the run ends now."""

    error: str
    message: str
    advice: str
    exit_code: int


class Tell(Protocol):
    """Passes a fact on; droppable ones may be left out when nobody listens fast enough."""

    def __call__(self, fact: Fact, droppable: bool = False) -> None: ...


AnyFact = (
    Prepare | Warm | Refused | Listening | RoundDone | Evaluated | Finished | Failed | Exited | Start | Kill
    | Addresses | Stop | Join | Welcome | Abort | Proposed | Decided | Contributed | Summed
)  # fmt: skip

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[AnyFact] = msgspec.json.Decoder(AnyFact)


def encode(fact: Fact) -> bytes:
    """One line, with its end."""
    return _encoder.encode(fact) + b"\n"


def decode(line: bytes) -> AnyFact:
    """Raises msgspec.DecodeError for anything that is not a fact."""
    return _decoder.decode(line)


class Lines:
    """Cuts a stream of bytes into whole lines."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The lines that `data` completes; raises ValueError when a line has no end."""
        self._rest += data
        if b"\n" not in data and len(self._rest) <= MAX_LINE_BYTES:  # a long line comes in many pieces
            return
        *lines, rest = self._rest.split(b"\n")
        self._rest = rest
        if len(rest) > MAX_LINE_BYTES:
            raise ValueError(f"a line of more than {MAX_LINE_BYTES} bytes")
        for line in lines:
            yield bytes(line)


class ControlLine:
    """A node's end of its socket pair. It never blocks on writing: training must not wait for a slow terminal."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._socket.setblocking(False)
        self._out = bytearray()
        self._lines = Lines()

    def tell(self, fact: Fact, droppable: bool = False) -> None:
        """Send a fact; droppable ones are left out while the other side does not read."""
        if droppable and len(self._out) > MAX_BACKLOG_BYTES:
            return
        self._out += encode(fact)
        self._flush()

    def hear(self, timeout_s: float) -> list[AnyFact]:
        """The facts that have arrived; waits up to `timeout_s`. Raises EOFError when the other side is gone."""
        self._flush()
        self._socket.settimeout(timeout_s)
        try:
            data = self._socket.recv(1 << 20)
        except (TimeoutError, BlockingIOError):
            return []
        except ConnectionError:
            data = b""
        finally:
            self._socket.setblocking(False)
        if not data:
            raise EOFError("the process that started this node is gone")
        return [decode(line) for line in self._lines.feed(data)]

    def close(self, patience_s: float = 1.0) -> None:
        """Try to get rid of the last facts, then close."""
        until = time.monotonic() + patience_s
        while self._out and time.monotonic() < until:
            self._flush()
            time.sleep(0.01)
        self._socket.close()

    def _flush(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._out:
                try:
                    sent = self._socket.send(self._out)
                except ConnectionError:  # nobody listens any more; `hear` says so
                    self._out.clear()
                    return
                del self._out[:sent]
