"""One edge's reliable stream of chunks, as pure state: no sockets, no clock of its own.

ZeroMQ loses what it had queued when a connection breaks. So each chunk carries a sequence number, the receiver takes
chunks strictly in order (anything else is a duplicate, dropped, or shows a gap, asked for), and the sender keeps each
chunk until the peer has acknowledged it. Acknowledgements ride on the chunks that go the other way.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from decentralized.codec import MAX_HEADER_BYTES, Encoded
from decentralized.errors import CodecError
from decentralized.types import Buffer

CHUNK_BYTES = 1024 * 1024
MAGIC = b"DCN1"
DATA, PROBE, GAP = 1, 2, 4
PROBE_AFTER_S = 1.0
REPEAT_AFTER_S = 0.5

# magic, run, flags, incarnation, sequence, acknowledged, chunk, chunks, payload bytes
_PREFIX = struct.Struct("<4s8sIIQQIIQ")
PREFIX_BYTES = _PREFIX.size


@dataclass(frozen=True)
class Prefix:
    """The first frame of everything that travels. In a chunk `sequence` is its own number, else the last one sent."""

    run: bytes
    flags: int
    incarnation: int
    sequence: int
    acknowledged: int
    chunk: int = 0
    chunks: int = 0
    payload_bytes: int = 0

    def pack(self) -> bytes:
        numbers = (self.sequence, self.acknowledged, self.chunk, self.chunks, self.payload_bytes)
        return _PREFIX.pack(MAGIC, self.run, self.flags, self.incarnation, *numbers)

    @staticmethod
    def unpack(frame: Buffer) -> Prefix:
        """Raises CodecError unless the frame is a prefix of this protocol version."""
        if len(frame) != PREFIX_BYTES:
            raise CodecError(f"prefix of {len(frame)} bytes, expected {PREFIX_BYTES}")
        magic, run, flags, *numbers = _PREFIX.unpack(frame)
        if magic != MAGIC:
            raise CodecError(f"wrong magic number {magic!r}")
        return Prefix(run, flags, *numbers)


@dataclass(frozen=True)
class Snapshot:
    """A message's frames as they are at the time of sending, shared by all peers to which it goes.

    `bodies` are the payload cut into chunks of at most CHUNK_BYTES; there is always at least one.
    """

    header: bytes
    bodies: Sequence[Buffer]
    payload_bytes: int

    @staticmethod
    def of(encoded: Encoded, freeze: Callable[[Buffer], Buffer]) -> Snapshot:
        """Copies the payload once, through `freeze` of the transport, which owns the copy from then on."""
        if len(encoded.parts) == 1:
            payload = encoded.parts[0]
        else:
            payload = memoryview(b"".join(encoded.parts))
        starts = range(0, max(payload.nbytes, 1), CHUNK_BYTES)
        bodies = [freeze(payload[start : start + CHUNK_BYTES]) for start in starts]
        return Snapshot(encoded.header, bodies, encoded.payload_bytes)


@dataclass
class _Waiting:
    """A chunk that is kept until it is acknowledged."""

    sequence: int
    chunk: int
    snapshot: Snapshot


@dataclass
class _Assembly:
    """A message of several chunks, being put together."""

    header: bytes
    payload: bytearray
    chunks: int
    done: int = 0


@dataclass
class Link:
    """Both directions of the stream between this node and one peer. Times are seconds of the caller's clock."""

    run: bytes
    incarnation: int
    max_payload_bytes: int
    sent: int = 0
    acknowledged: int = 0  # the peer has everything up to here
    received: int = 0  # this node has everything up to here
    unconfirmed: int = 0  # whole messages received since this node last told the peer anything
    peer_incarnation: int = 0
    resent_bytes: int = 0
    _kept: deque[_Waiting] = field(default_factory=deque)
    _assembly: _Assembly | None = None
    _last_progress: float = 0.0  # when the peer last acknowledged something new, or the first chunk was kept
    _last_probe: float = float("-inf")
    _last_gap: tuple[int, float] = (-1, float("-inf"))
    _last_resend: float = float("-inf")

    @property
    def idle(self) -> bool:
        """Whether the peer has acknowledged everything."""
        return not self._kept

    def push(self, snapshot: Snapshot, now: float) -> list[list[Buffer]]:
        """The chunks of one message, to be sent now; they are kept until acknowledged."""
        if not self._kept:
            self._last_progress = now
        chunks = []
        for chunk in range(len(snapshot.bodies)):
            self.sent += 1
            waiting = _Waiting(self.sent, chunk, snapshot)
            self._kept.append(waiting)
            chunks.append(self._frames(waiting))
        return chunks

    def status(self, flags: int = 0) -> list[Buffer]:
        """A message without content: what this node has sent and received."""
        self.unconfirmed = 0
        return [Prefix(self.run, flags, self.incarnation, self.sent, self.received).pack()]

    def tick(self, now: float) -> list[list[Buffer]]:
        """What time alone makes necessary: asking a peer that has long confirmed nothing what it has."""
        if self._kept and now - max(self._last_progress, self._last_probe) > PROBE_AFTER_S:
            self._last_probe = now
            return [self.status(PROBE)]
        return []

    def receive(
        self, frames: Sequence[Buffer], now: float
    ) -> tuple[tuple[Buffer, memoryview] | None, list[list[Buffer]]]:
        """Takes in what came from the peer.

        Returns the (header, payload) of the message that it completes, if any, and what must be sent back at once.
        Raises CodecError for what no peer of this run would send; nothing has changed then.
        """
        prefix = Prefix.unpack(frames[0]) if frames else None
        if prefix is None or prefix.run != self.run or prefix.incarnation < self.peer_incarnation:
            raise CodecError("frames of another run or of an earlier incarnation")
        if prefix.acknowledged > self.sent:
            raise CodecError(f"acknowledges chunk {prefix.acknowledged}; only {self.sent} were sent")
        if prefix.flags & DATA:
            self._check_chunk(prefix, frames)
        if prefix.incarnation > self.peer_incarnation:
            self.peer_incarnation, self.received, self._assembly = prefix.incarnation, 0, None
        self._confirm(prefix.acknowledged, now)
        answers = self._resend(now) if prefix.flags & GAP else []
        if not prefix.flags & DATA:
            return None, answers + self._answer(prefix, now)
        if prefix.sequence <= self.received:  # a duplicate: the peer has not heard that it arrived
            return None, [*answers, self.status()]
        if prefix.sequence > self.received + 1:
            return None, answers + self._ask(now)
        self.received = prefix.sequence
        return self._assemble(prefix, frames[1], frames[2]), answers

    def _frames(self, waiting: _Waiting) -> list[Buffer]:
        snapshot = waiting.snapshot
        counts = (waiting.chunk, len(snapshot.bodies), snapshot.payload_bytes)
        prefix = Prefix(self.run, DATA, self.incarnation, waiting.sequence, self.received, *counts)
        self.unconfirmed = 0
        return [prefix.pack(), snapshot.header if waiting.chunk == 0 else b"", snapshot.bodies[waiting.chunk]]

    def _check_chunk(self, prefix: Prefix, frames: Sequence[Buffer]) -> None:
        if len(frames) != 3 or len(frames[1]) > MAX_HEADER_BYTES:
            raise CodecError(f"a chunk of {len(frames)} frames")
        if prefix.payload_bytes > self.max_payload_bytes:
            raise CodecError(
                f"a payload of {prefix.payload_bytes} bytes; at most {self.max_payload_bytes} are expected"
            )
        chunks = max(1, -(-prefix.payload_bytes // CHUNK_BYTES))
        if prefix.chunks != chunks or prefix.chunk >= chunks:
            raise CodecError(f"chunk {prefix.chunk} of {prefix.chunks} for {prefix.payload_bytes} bytes")
        expected = min(CHUNK_BYTES, prefix.payload_bytes - prefix.chunk * CHUNK_BYTES)
        if len(frames[2]) != expected:
            raise CodecError(f"chunk {prefix.chunk} has {len(frames[2])} bytes, expected {expected}")

    def _confirm(self, acknowledged: int, now: float) -> None:
        if acknowledged > self.acknowledged:
            self.acknowledged = acknowledged
            self._last_progress = now
        while self._kept and self._kept[0].sequence <= self.acknowledged:
            self._kept.popleft()

    def _resend(self, now: float) -> list[list[Buffer]]:
        """Everything the peer lacks; not again while the last repetition may still be on its way."""
        if now - self._last_resend < REPEAT_AFTER_S:
            return []
        self._last_resend = now
        repeated = [self._frames(waiting) for waiting in self._kept]
        self.resent_bytes += sum(len(frame) for frames in repeated for frame in frames)
        return repeated

    def _answer(self, prefix: Prefix, now: float) -> list[list[Buffer]]:
        if prefix.sequence > self.received:
            return self._ask(now)
        return [self.status()] if prefix.flags & PROBE else []

    def _ask(self, now: float) -> list[list[Buffer]]:
        """Say that there is a gap, once for each gap and while."""
        position, when = self._last_gap
        if position == self.received and now - when < REPEAT_AFTER_S:
            return []
        self._last_gap = (self.received, now)
        return [self.status(GAP)]

    def _assemble(self, prefix: Prefix, header: Buffer, body: Buffer) -> tuple[Buffer, memoryview] | None:
        if prefix.chunks == 1:
            self.unconfirmed += 1
            return header, memoryview(body)
        if prefix.chunk == 0:
            self._assembly = _Assembly(bytes(header), bytearray(prefix.payload_bytes), prefix.chunks)
        assembly = self._assembly
        if assembly is None or (prefix.chunk, prefix.chunks) != (assembly.done, assembly.chunks):
            self._assembly = None
            raise CodecError(f"chunk {prefix.chunk} out of order")
        start = prefix.chunk * CHUNK_BYTES
        assembly.payload[start : start + len(body)] = body
        assembly.done += 1
        if assembly.done < assembly.chunks:
            return None
        self._assembly = None
        self.unconfirmed += 1
        return assembly.header, memoryview(assembly.payload)
