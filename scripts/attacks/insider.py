"""D-PSGD in which somebody is not loyal: leaks what attackers would like to have, or speaks in the name of others.

To attack with keys that are right, one must have them, and to look for parameters in what a wiretap heard, one must
know them. Models are those of D-PSGD, bit for bit.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from decentralized.algorithms.dpsgd import DPSGD
from decentralized.channel import Channel
from decentralized.interfaces import Context, MessageChannel
from decentralized.transport.security import Curve
from decentralized.transport.zeromq import ZeroMqTransport
from decentralized.types import Message, NodeId, Payload, RoundReport

BOOK = "book.json"
SENT = "sent"
GO_ON = "go on"
LEAKED_FROM: NodeId = 0


class Insider(DPSGD):
    """Node 0 writes down all addresses and public keys; each node writes down what it sends, if asked to."""

    class Config(DPSGD.Config):
        leaks: str
        """Folder for what is written down."""
        payloads: bool = False
        """Whether all parameters that are sent are written down."""
        impostor: NodeId = -1
        """This node sends messages in the name of all others, before its own."""
        holds: bool = False
        """Node 0 does not begin its last round before there is a file named "go on" in that folder."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._leaks, self._payloads = Path(config.leaks), config.payloads
        self._impostor, self._holds = config.impostor, config.holds

    def rounds(self, context: Context, first: int = 1) -> Iterator[RoundReport]:
        if context.node == LEAKED_FROM:
            _leak_book(cast(Channel, context.channel), self._leaks)
        holds = self._holds and context.node == LEAKED_FROM
        channel: Any = context.channel
        if context.node == self._impostor:
            channel = Impostor(channel, context.nodes)
        if self._payloads:
            channel = Witness(channel, self._leaks / SENT / str(context.node))
        for report in super().rounds(replace(context, channel=channel), first):
            yield report
            while holds and report.round == self._config.rounds - 1 and not (self._leaks / GO_ON).exists():
                context.channel.progress()
                time.sleep(0.01)


class Around:
    """A channel with something added."""

    def __init__(self, channel: MessageChannel) -> None:
        self._channel = channel

    def __getattr__(self, name: str) -> Any:
        return getattr(self._channel, name)


class Witness(Around):
    """Writes down the parameters of each message."""

    def __init__(self, channel: MessageChannel, file: Path) -> None:
        super().__init__(channel)
        file.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(file, "ab")  # noqa: SIM115 - as long as the node lives

    def broadcast(self, peers: Sequence[NodeId], message: Message) -> None:
        self._file.write(message.payload.buffers["values"].tobytes())
        self._file.flush()
        self._channel.broadcast(peers, message)


class Impostor(Around):
    """Sends noise in the name of every other node, for this round and the next, before it sends its own message."""

    def __init__(self, channel: MessageChannel, nodes: int) -> None:
        super().__init__(channel)
        self._nodes = nodes
        self._noise = np.random.default_rng(1)

    def broadcast(self, peers: Sequence[NodeId], message: Message) -> None:
        count = len(message.payload.buffers["values"])
        noise = Payload({"values": self._noise.standard_normal(count, np.float32)}, message.payload.scalars)
        for name in range(self._nodes):
            if name != message.sender:
                for round in (message.round, message.round + 1):
                    self._channel.broadcast(peers, Message(message.kind, round, name, noise))
        self._channel.broadcast(peers, message)


def _leak_book(channel: Channel, folder: Path) -> None:
    transport = cast(ZeroMqTransport, channel._transport)
    keys = transport._security._keys if isinstance(transport._security, Curve) else {}
    draft = folder / f"{BOOK}.tmp"
    draft.write_text(json.dumps({"addresses": transport._addresses, "keys": keys}))
    draft.rename(folder / BOOK)
