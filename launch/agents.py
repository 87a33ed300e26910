"""Facts between the agents of several machines: each talks to agent 0, over the same reliable channel as the nodes."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence

import numpy as np

from decentralized import control
from decentralized.channel import Channel, ChannelSettings
from decentralized.control import AnyFact, Fact
from decentralized.transport.zeromq import ZeroMqTransport
from decentralized.types import Message, Payload
from launch.ip_map import AGENT_PORT, IpMap

RUN = b"agents\0\0"  # agents meet before the run has an id
TOKEN_VARIABLE = "DECENTRALIZED_TOKEN"
KIND = "facts"
MAX_WAITING = 1_000_000


class AgentNetwork:
    """This machine's end. Set DECENTRALIZED_TOKEN to the same secret on all machines to keep strangers out."""

    def __init__(self, machine: int, ip_map: IpMap, deadline_s: float) -> None:
        entry = ip_map.machines[machine]
        port = entry.port or AGENT_PORT + machine
        token = os.environ.get(TOKEN_VARIABLE, "decentralized")
        self._machine = machine
        self._transport = ZeroMqTransport(machine, token, entry.host, range(port, port + 1), deadline_s)
        addresses = {index: ip_map.agent_address(index) for index in range(len(ip_map.machines))}
        self._transport.introduce(addresses)
        self.others = [index for index in addresses if index != machine] if machine == 0 else [0]
        settings = ChannelSettings(RUN, deadline_s, control.MAX_LINE_BYTES, max_waiting=MAX_WAITING)
        self._channel = Channel(machine, self._transport, settings)
        self._sent = 0

    def tell(self, facts: Sequence[Fact], machines: Sequence[int] | None = None) -> None:
        """To agent 0, or from agent 0 to the given machines (all when not given)."""
        body = np.frombuffer(b"".join(control.encode(fact) for fact in facts), np.uint8)
        self._sent += 1
        message = Message(KIND, self._sent, self._machine, Payload({"values": body}))
        self._channel.broadcast(self.others if machines is None else machines, message)

    def hear(self) -> Iterator[tuple[int, AnyFact]]:
        """What has arrived, with the machine that it comes from; does not wait."""
        for message in self._channel.poll(KIND):
            for line in message.payload.buffers["values"].tobytes().splitlines():
                yield message.sender, control.decode(line)

    def silent(self) -> dict[int, float]:
        """Seconds since each machine was last heard; machines never heard are missing."""
        return dict(self._channel.heard())

    def close(self, patience_s: float = 2.0) -> None:
        """Give the last facts a moment to arrive."""
        until = time.monotonic() + patience_s
        self._channel.drain(lambda: self._channel.idle or time.monotonic() > until)
        self._transport.close()
