"""Facts between the agents of several machines: each talks to agent 0, over the same reliable channel as the nodes."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence

import msgspec
import numpy as np

from decentralized import control
from decentralized.channel import Channel, ChannelSettings
from decentralized.control import AnyFact, Fact
from decentralized.errors import StartError
from decentralized.transport.security import Plain, Security
from decentralized.transport.zeromq import ZeroMqTransport
from decentralized.types import Message, Payload
from launch.key import default_key
from launch.plan import Plan

RUN = b"agents\0\0"  # agents meet before the run has an id
KIND = "facts"
OPEN_TOKEN = "decentralized"  # without encryption and without a key: keeps out only what comes by mistake
MAX_WAITING = 1_000_000


class AgentNetwork:
    """This machine's end. `log` takes one line for each kind of stranger that is not let in."""

    def __init__(self, plan: Plan, log: Callable[[str], None]) -> None:
        self._machine = machine = plan.machine
        ip_map, deadline_s = plan.ip_map, plan.experiment.network.deadline_s
        port = ip_map.agent_port(machine)
        bind, security = ip_map.machines[machine].bound, security_of(plan)
        try:
            self._transport = ZeroMqTransport(machine, security, bind, range(port, port + 1), deadline_s, log)
        except StartError as error:
            advice = 'Another run may use it: give this machine another "port" in the IP map, on every machine.'
            raise StartError(str(error), advice if "no free port" in str(error) else error.advice) from None
        addresses = {index: ip_map.agent_address(index) for index in range(len(ip_map.machines))}
        self._transport.introduce(addresses)
        self.others = [index for index in addresses if index != machine] if machine == 0 else [0]
        # An agent that is started again must not be taken for the one that went: its life has a later number.
        life = int(time.time())
        settings = ChannelSettings(RUN, deadline_s, control.MAX_LINE_BYTES, life, MAX_WAITING)
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
            body = message.payload.buffers.get("values", np.empty(0, np.uint8))
            for line in body.tobytes().splitlines():
                with contextlib.suppress(msgspec.DecodeError):  # not a fact: no agent of this version sent it
                    yield message.sender, control.decode(line)

    def forget(self, machine: int) -> None:
        """That machine is lost: nothing more is sent to it, or taken from it."""
        self._channel.mute(machine)
        self.others.remove(machine)

    def silent(self) -> dict[int, float]:
        """Seconds since each machine was last heard; machines never heard, or lost, are missing."""
        return {machine: seconds for machine, seconds in self._channel.heard().items() if machine in self.others}

    def close(self, patience_s: float = 2.0) -> None:
        """Give the last facts a moment to arrive."""
        until = time.monotonic() + patience_s
        self._channel.drain(lambda: self._channel.idle or time.monotonic() > until)
        self._transport.close()


def security_of(plan: Plan) -> Security:
    """How this machine's agent proves that it belongs to the run. Raises KeyFileError."""
    if plan.encrypted:
        return (plan.key or default_key()).curve(plan.machine, len(plan.ip_map.machines))
    if plan.key is not None or plan.ip_map.loopback:
        return Plain((plan.key or default_key()).token())
    return Plain(OPEN_TOKEN)
