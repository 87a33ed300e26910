"""A slow and lossy wire between network interfaces, for kernels without netem: python wire.py DELAY_S LOSS PORT...

Every packet that comes in at one port leaves at all others after the delay, or not at all. At SIGTERM it ends, and
prints how many packets it has lost. It imports nothing but the standard library, to start fast.
"""

from __future__ import annotations

import random
import select
import signal
import socket
import sys
import time
from collections import deque
from contextlib import suppress

ETH_P_ALL = 3
SOL_PACKET, PACKET_VNET_HDR = 263, 15  # the kernel tells, and is told, which checksums have been left to hardware
PACKET_OUTGOING = 4  # what this program itself has sent
LARGEST = 2**17


def port(name: str) -> socket.socket:
    one = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    one.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    one.bind((name, ETH_P_ALL))
    one.setblocking(False)
    return one


def main(delay_s: float, loss: float, names: list[str]) -> int:
    """Until SIGTERM; the number of packets lost."""
    ports = [port(name) for name in names]
    generator = random.Random(1)
    ended: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: ended.append(number))
    travelling: deque[tuple[float, socket.socket, bytes]] = deque()  # in order of arrival, and so of departure
    lost = 0
    while not ended:
        until = travelling[0][0] - time.monotonic() if travelling else 0.1
        ready, _, _ = select.select(ports, [], [], min(0.1, max(0.0, until)))
        for one in ready:
            packet, origin = one.recvfrom(LARGEST)
            if origin[2] == PACKET_OUTGOING:
                continue
            if generator.random() < loss:
                lost += 1
            else:
                travelling.append((time.monotonic() + delay_s, one, packet))
        while travelling and travelling[0][0] <= time.monotonic():
            _, origin_port, packet = travelling.popleft()
            for other in ports:
                if other is not origin_port:
                    with suppress(OSError):  # a link that is down, or a full queue: lost, as on any wire
                        other.send(packet)
    return lost


if __name__ == "__main__":
    print(main(float(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]))
