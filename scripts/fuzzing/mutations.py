"""Kinds of hostile messages. Most begin as what an honest peer would send next, so that they get as far as they can.

The attacker sees the victim's memory: it knows which sequence number, incarnation and process the victim expects.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import msgspec
import numpy as np

from decentralized import codec
from decentralized.channel import Channel
from decentralized.compression.indices import encode_indices
from decentralized.compression.subset import seeded_indices
from decentralized.link import CHUNK_BYTES, DATA, GAP, MAGIC, PREFIX_BYTES, PROBE, Prefix
from decentralized.types import Buffer, Message, NodeId, Payload, Scalar
from scripts.fuzzing.honest import ALPHA, HOSTILE, MAX_PAYLOAD_BYTES, OPEN_KIND, PARAMETERS, RUN, STRANGER

Frames = Sequence[Buffer]
Attack = tuple[NodeId, Frames]  # in whose name, and what
NUMBERS = (0, 1, 2, 7, 255, 256, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**47, 2**48 - 1, 2**48, 2**62, 2**64 - 1)
ODD_SCALARS: tuple[object, ...] = (
    *NUMBERS, -1, -(2**63), True, False, None, 0.5, float("nan"), float("inf"), -0.0, "", "x", "x" * 5000,
    "\0\n\x1b[2J", b"bytes", [], [1], {}, {"a": 1}, "golomb-rice", "elias-gamma", "variable-bytes", "bitmap", "all",
)  # fmt: skip
FORGOTTEN_EVERY = 3  # messages, on average
DTYPES = (*sorted(codec.DTYPES), "|O", "<U4", ">f4", "f4,f4", "<c8", "<m8", "|V8", "", "x" * 65)


class Attacker:
    """Makes hostile messages for one victim, from one generator."""

    def __init__(self, victim: Channel, honest: NodeId, random: np.random.Generator) -> None:
        self._victim, self._honest, self._random = victim, honest, random
        self._round = 0
        self._chunks: list[Frames] = []
        self.overheard: list[Frames] = []  # what the honest peer sent to the victim

    # What an honest peer would send.

    def message(self, sender: NodeId = HOSTILE, kind: str = OPEN_KIND) -> Message:
        """With top-k, full or seeded sharing, of a round that never was."""
        self._round += 1
        form = self._random.integers(3)
        if form == 0:
            payload = Payload({"values": self.values(PARAMETERS)})
        elif form == 1:
            seed = int(self._random.integers(2**48))
            count = len(seeded_indices(seed, ALPHA, PARAMETERS))
            payload = Payload({"values": self.values(count)}, {"seed": seed, "alpha": ALPHA})
        else:
            payload = self.sparse()
        return Message(kind, self._round, sender, Payload(payload.buffers, {**payload.scalars, "degree": 2}))

    def values(self, count: int) -> np.ndarray:
        return self._random.standard_normal(count, np.float32)

    def sparse(self) -> Payload:
        """Some entries; how many and how near to each other decides on the coding."""
        spread = 2 ** self._random.integers(1, 12, endpoint=True)
        gaps = self._random.integers(1, spread, 300, endpoint=True)
        indices = np.cumsum(gaps) - 1
        indices = indices[indices < PARAMETERS]
        encoded = encode_indices(indices, PARAMETERS)
        return Payload({"values": self.values(len(indices)), "indices": encoded.buffer}, encoded.scalars)

    def prefix(self, payload_bytes: int, sender: NodeId = HOSTILE) -> Prefix:
        """Of the chunk that the victim expects next."""
        link = self._victim._links.get(sender)
        quiet = Prefix(RUN, DATA, 1, 0, 1, 0, sequence=1, acknowledged=0, chunks=1, payload_bytes=payload_bytes)
        if link is None or not link.peer_incarnation:
            return quiet
        return replace(
            quiet,
            incarnation=link.peer_incarnation,
            stream=link.peer_stream,
            peer_stream=link.stream,
            sequence=link.received + 1,
            process=link.peer_process,
        )

    def frames(self, header: bytes, payload: bytes, sender: NodeId = HOSTILE) -> list[bytes]:
        return [self.prefix(len(payload), sender).pack(), header, payload]

    def valid(self, sender: NodeId = HOSTILE, kind: str = OPEN_KIND) -> list[bytes]:
        encoded = codec.encode(self.message(sender, kind))
        return self.frames(encoded.header, b"".join(encoded.parts), sender)

    def starts_over(self) -> bool:
        """Whether the victim should forget what came, as after a restart: after one far round all others are stale."""
        return not self._random.integers(FORGOTTEN_EVERY)

    # What can be done to it.

    def pick(self, *choices: object) -> object:
        return choices[int(self._random.integers(len(choices)))]

    def number(self, bits: int = 64) -> int:
        """An interesting one, or any."""
        fitting = [number for number in NUMBERS if number < 2**bits]
        if self._random.integers(2):
            return fitting[int(self._random.integers(len(fitting)))]
        return int.from_bytes(self._random.bytes(bits // 8), "little")

    def flipped(self, data: bytes) -> bytes:
        changed = bytearray(data or b"\0")
        for _ in range(int(self._random.integers(1, 4))):
            changed[int(self._random.integers(len(changed)))] ^= 1 << int(self._random.integers(8))
        return bytes(changed)

    def garbled(self, data: bytes) -> bytes:
        """Flipped, cut, longer, or something else."""
        form = self._random.integers(4)
        if form == 0:
            return self.flipped(data)
        if form == 1:
            return data[: int(self._random.integers(len(data) + 1))]
        if form == 2:
            return data + self._random.bytes(int(self._random.integers(1, 100)))
        return self._random.bytes(int(self._random.integers(200)))

    def head(self) -> tuple[list[object], bytes]:
        """The fields of a valid header, to be changed, and its payload."""
        encoded = codec.encode(self.message())
        return msgspec.msgpack.decode(encoded.header), b"".join(encoded.parts)

    def with_prefix(self, **fields: int) -> list[bytes]:
        """A valid message but for these fields."""
        first, *rest = self.valid()
        return [replace(Prefix.unpack(first), **fields).pack(), *rest]  # type: ignore[arg-type]

    def control(self, flags: int, **fields: int) -> list[bytes]:
        return [replace(self.prefix(0), flags=flags, chunks=0, sequence=0, **fields).pack()]  # type: ignore[arg-type]

    def chunked(self) -> Frames:
        """The chunks of one long message, one at each call; now and then a wrong one."""
        if not self._chunks:
            payload = bytes(int(self._random.integers(CHUNK_BYTES + 1, MAX_PAYLOAD_BYTES)) & ~3)
            header = codec.encode(Message(OPEN_KIND, self._round, HOSTILE, Payload({}))).header
            whole = replace(self.prefix(len(payload)), chunks=-(-len(payload) // CHUNK_BYTES))
            self._chunks = [
                [
                    replace(whole, chunk=chunk, sequence=whole.sequence + chunk).pack(),
                    header,
                    payload[chunk * CHUNK_BYTES : (chunk + 1) * CHUNK_BYTES],
                ]
                for chunk in range(whole.chunks)
            ]
        return self._chunks.pop(int(self._random.integers(len(self._chunks))))


def _random_frames(attacker: Attacker) -> Frames:
    random = attacker._random
    sizes = random.choice([0, 1, PREFIX_BYTES, 300], int(random.integers(0, 6)))
    return [random.bytes(int(size)) for size in sizes]


def _random_prefix(attacker: Attacker) -> Frames:
    start = attacker.prefix(0).pack()[:12]
    return [start + attacker._random.bytes(PREFIX_BYTES - 12), *_random_frames(attacker)]


def _garbled_frame(attacker: Attacker) -> Frames:
    frames = attacker.valid()
    which = int(attacker._random.integers(3))
    frames[which] = attacker.garbled(frames[which])
    return frames


def _garbled_content(attacker: Attacker) -> Frames:
    """The frames fit each other, the content does not."""
    _, header, payload = attacker.valid()
    if attacker._random.integers(2):
        return attacker.frames(attacker.garbled(header), payload)
    return attacker.frames(header, attacker.garbled(payload))


def _other_frame_count(attacker: Attacker) -> Frames:
    frames = attacker.valid()
    return frames * int(attacker._random.integers(2, 20)) if attacker._random.integers(2) else frames[:2]


def _other_magic(attacker: Attacker) -> Frames:
    first, *rest = attacker.valid()
    return [attacker._random.bytes(len(MAGIC)) + first[len(MAGIC) :], *rest]


def _sequence(attacker: Attacker) -> Frames:
    return attacker.with_prefix(sequence=attacker.number())


def _lives(attacker: Attacker) -> Frames:
    """Incarnations go up by little, or the attacker would soon have no larger one left."""
    now = attacker.prefix(0)
    change = int(attacker._random.integers(-3, 4))
    if attacker._random.integers(2):
        return attacker.with_prefix(incarnation=max(0, now.incarnation + change), sequence=1)
    return attacker.with_prefix(stream=max(0, now.stream + change), sequence=1)


def _acknowledged(attacker: Attacker) -> Frames:
    return attacker.control(0, acknowledged=attacker.number())


def _questions(attacker: Attacker) -> Frames:
    """Probes, and reports of gaps that ask for everything again."""
    flags = PROBE if attacker._random.integers(2) else GAP
    return attacker.control(flags, asked=attacker.number(32), attempt=attacker.number(32))


def _flags(attacker: Attacker) -> Frames:
    return attacker.with_prefix(flags=attacker.number(32))


def _bomb(attacker: Attacker) -> Frames:
    """Announces far more than it brings."""
    size = int(attacker._random.choice([MAX_PAYLOAD_BYTES, MAX_PAYLOAD_BYTES + 1, 2**32, 2**62]))
    return attacker.with_prefix(payload_bytes=size, chunks=min(2**32 - 1, -(-size // CHUNK_BYTES)))


def _chunk_counts(attacker: Attacker) -> Frames:
    return attacker.with_prefix(chunk=attacker.number(32), chunks=attacker.number(32))


def _header_field(attacker: Attacker) -> Frames:
    """Kind, round, step or sender: another value, or another type."""
    head, payload = attacker.head()
    head[int(attacker._random.integers(4))] = attacker.pick(*ODD_SCALARS)
    return attacker.frames(msgspec.msgpack.encode(head), payload)


def _made_up_kinds(attacker: Attacker) -> Frames:
    head, payload = attacker.head()
    head[0] = attacker._random.bytes(8).hex()
    return attacker.frames(msgspec.msgpack.encode(head), payload)


def _rounds(attacker: Attacker) -> Frames:
    """Far in the future or in the past, for a kind that is taken by its round."""
    message = attacker.message(kind="parameters")
    round = min(attacker.number(48), 2**48 - 1)
    encoded = codec.encode(replace(message, round=round))
    return attacker.frames(encoded.header, b"".join(encoded.parts))


def _scalars(attacker: Attacker) -> Frames:
    head, payload = attacker.head()
    scalars = head[4]
    if isinstance(scalars, dict):
        name = attacker.pick(*scalars, "", "new", "n" * 65, 7)
        scalars[name] = attacker.pick(*ODD_SCALARS)
        if not attacker._random.integers(20):
            scalars.update((f"s{number}", number) for number in range(100))
    return attacker.frames(msgspec.msgpack.encode(head), payload)


def _buffers(attacker: Attacker) -> Frames:
    """Another name, type or count of a buffer."""
    head, payload = attacker.head()
    buffers = head[5]
    if isinstance(buffers, list):
        spec = buffers[int(attacker._random.integers(len(buffers)))]
        which = int(attacker._random.integers(3))
        names = ("values", "indices", "", "n" * 65, 7)
        spec[which] = attacker.pick(*(names, DTYPES, ODD_SCALARS)[which])
        if not attacker._random.integers(20):
            buffers.extend([f"b{number}", "<f4", 0] for number in range(100))
    return attacker.frames(msgspec.msgpack.encode(head), payload)


def _header_bomb(attacker: Attacker) -> Frames:
    """Deeply nested, or announcing billions of entries, or simply long."""
    depth = int(attacker._random.integers(1, 60_000))
    bombs = (
        b"\x91" * depth,
        b"\x81\xa1a" * (depth // 3),
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        bytes(depth),
    )
    bomb = bombs[int(attacker._random.integers(len(bombs)))]
    start = msgspec.msgpack.encode([OPEN_KIND, 1, 0, HOSTILE])
    return attacker.frames(b"\x96" + start[1:] + bomb if attacker._random.integers(2) else bomb, b"")


def _not_finite(attacker: Attacker) -> Frames:
    values = attacker.values(PARAMETERS)
    odd = attacker.pick(np.nan, np.inf, -np.inf)
    values[int(attacker._random.integers(PARAMETERS))] = odd
    attacker._round += 1
    encoded = codec.encode(Message(OPEN_KIND, attacker._round, HOSTILE, Payload({"values": values})))
    return attacker.frames(encoded.header, b"".join(encoded.parts))


def _index_coding(attacker: Attacker) -> Frames:
    """Valid but for the coding's name or parameters, or its bytes: unsorted, repeated, past the end, never ending."""
    payload = attacker.sparse()
    scalars: dict[str, Scalar] = dict(payload.scalars)
    buffers = dict(payload.buffers)
    form = attacker._random.integers(4)
    if form == 0:
        scalars["coding"] = str(attacker.pick("bitmap", "variable-bytes", "golomb-rice", "elias-gamma", "all", "no"))
        scalars.update(count=len(buffers["values"]), low_bits=int(attacker._random.integers(12)))
    elif form == 1:
        scalars[str(attacker.pick("count", "low_bits"))] = attacker.number()
    else:
        garbled = attacker.garbled(buffers["indices"].tobytes())
        buffers["indices"] = np.frombuffer(garbled, np.uint8)
    if form == 3:
        dtypes = [np.dtype(name) for name in sorted(codec.DTYPES)]
        buffers["indices"] = np.ones(int(attacker._random.integers(400)), dtypes[attacker._round % len(dtypes)])
    attacker._round += 1
    encoded = codec.encode(Message(OPEN_KIND, attacker._round, HOSTILE, Payload(buffers, scalars)))
    return attacker.frames(encoded.header, b"".join(encoded.parts))


def _seeds(attacker: Attacker) -> Frames:
    message = attacker.message()
    scalars = {"seed": attacker.number(), "alpha": attacker.pick(ALPHA, 1.0, 2.0, -1.0, float("nan"), 2**63)}
    payload = Payload(message.payload.buffers, scalars)  # type: ignore[arg-type]
    encoded = codec.encode(replace(message, payload=payload))
    return attacker.frames(encoded.header, b"".join(encoded.parts))


def _in_the_name_of_another(attacker: Attacker) -> Frames:
    encoded = codec.encode(attacker.message(attacker._honest))
    return attacker.frames(encoded.header, b"".join(encoded.parts))


def _again(attacker: Attacker) -> Frames:
    """The same twice: the second one must be dropped."""
    frames = attacker.valid()
    first = Prefix.unpack(frames[0])
    return [replace(first, sequence=max(1, first.sequence - 1)).pack(), *frames[1:]]


def _of_the_honest(make: Callable[[Attacker], Frames]) -> Callable[[Attacker], Attack]:
    return lambda attacker: (attacker._honest, make(attacker))


def _of_the_hostile(make: Callable[[Attacker], Frames]) -> Callable[[Attacker], Attack]:
    return lambda attacker: (HOSTILE, make(attacker))


def _replay(attacker: Attacker) -> Frames:
    overheard = attacker.overheard
    return overheard[int(attacker._random.integers(len(overheard)))] if overheard else [b""]


def _other_run(attacker: Attacker) -> Frames:
    """A valid message of the honest peer, but for the run."""
    first, *rest = attacker.valid(attacker._honest, "parameters")
    prefix = Prefix.unpack(first)
    return [replace(prefix, run=attacker._random.bytes(8)).pack(), *rest]


def _second_process(attacker: Attacker) -> Frames:
    """The honest peer's next message, from another process that claims its id."""
    first, *rest = attacker.valid(attacker._honest, "parameters")
    prefix = Prefix.unpack(first)
    process = (prefix.process + int(attacker._random.integers(1, 2**32))) % 2**32
    flags = int(attacker._random.choice([DATA, DATA, 0, PROBE, GAP]))
    stream = prefix.stream + int(attacker._random.integers(2))
    changed = replace(prefix, process=process, flags=flags, stream=stream).pack()
    return [changed, *rest] if flags == DATA else [changed]


def _non_neighbor(attacker: Attacker) -> Attack:
    return STRANGER, attacker.valid(STRANGER, "parameters")


HOSTILE_KINDS: dict[str, Callable[[Attacker], Frames]] = {
    "valid (to compare)": Attacker.valid,
    "random frames": _random_frames,
    "random prefix": _random_prefix,
    "frame flipped, cut or longer": _garbled_frame,
    "content flipped, cut or longer": _garbled_content,
    "another number of frames": _other_frame_count,
    "wrong magic": _other_magic,
    "sequence number": _sequence,
    "incarnation and stream": _lives,
    "acknowledgement": _acknowledged,
    "probes and gaps": _questions,
    "flags": _flags,
    "payload bomb": _bomb,
    "chunk counts": _chunk_counts,
    "chunks in disorder": Attacker.chunked,
    "header field": _header_field,
    "made-up kinds": _made_up_kinds,
    "rounds of future and past": _rounds,
    "scalars": _scalars,
    "buffer descriptions": _buffers,
    "header bomb": _header_bomb,
    "NaN and infinity": _not_finite,
    "index coding": _index_coding,
    "seeds": _seeds,
    "in the name of another": _in_the_name_of_another,
    "duplicates": _again,
}

KINDS: dict[str, Callable[[Attacker], Attack]] = {
    **{name: _of_the_hostile(make) for name, make in HOSTILE_KINDS.items()},
    "replay of an honest message": _of_the_honest(_replay),
    "another run": _of_the_honest(_other_run),
    "second process with a node's id": _of_the_honest(_second_process),
    "from a non-neighbor": _non_neighbor,
}
