"""What only a real network can do wrong: strangers, ports, addresses, connections that die."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import numpy as np
import pytest
import zmq

from decentralized.errors import StartError
from decentralized.transport.zeromq import MAX_FRAME_BYTES, MAX_POLLED, SEND_QUEUE, ZeroMqTransport

from .networks import TOKEN, closing, receive, zeromq_nodes

QUIET_S = 0.15


@pytest.fixture
def nodes() -> Iterator[list[ZeroMqTransport]]:
    transports = zeromq_nodes(3)
    with closing(transports):
        yield transports


@contextmanager
def dealer(
    address: str, user: bytes | None = b"1", password: bytes = TOKEN.encode(), routing_id: bytes = b"client"
) -> Iterator[zmq.Socket[bytes]]:
    """A ZeroMQ client of its own; with `user` None it offers no name and no token."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    context.linger, context.sndhwm = 0, 0
    try:
        client = context.socket(zmq.DEALER)
        client.routing_id = routing_id
        if user is not None:
            client.plain_username, client.plain_password = user, password
        client.connect(address)
        yield client
    finally:
        context.destroy()


def port_of(address: str) -> int:
    return int(address.rpartition(":")[2])


def still_works(nodes: Sequence[ZeroMqTransport]) -> None:
    nodes[2].send(0, [b"hello from two"])
    assert receive(nodes[0], 1) == [(2, [b"hello from two"])]


def test_a_client_with_the_token_and_a_known_id_gets_through(nodes: list[ZeroMqTransport]) -> None:
    """The other tests of strangers differ from this one only in what the stranger lacks."""
    with dealer(nodes[0].address) as client:
        client.send_multipart([b"a", b"b"])
        assert receive(nodes[0], 1) == [(1, [b"a", b"b"])]


STRANGERS: dict[str, tuple[bytes | None, bytes]] = {
    "a wrong token": (b"1", b"guess"),
    "half of the token": (b"1", TOKEN.encode()[:-1]),
    "more than the token": (b"1", TOKEN.encode() + b"\0"),
    "neither name nor token": (None, b""),
    "an id that was never introduced": (b"3", TOKEN.encode()),
    "the receiver's own id": (b"0", TOKEN.encode()),
    "a negative id": (b"-1", TOKEN.encode()),
    "a huge id": (b"1" * 200, TOKEN.encode()),
    "a name": (b"node", TOKEN.encode()),
    "a digit of another script": ("\u0661".encode(), TOKEN.encode()),
}


@pytest.mark.parametrize(("user", "password"), STRANGERS.values(), ids=STRANGERS)
def test_strangers_do_not_get_through(nodes: list[ZeroMqTransport], user: bytes | None, password: bytes) -> None:
    with dealer(nodes[0].address, user, password) as client:
        client.send(b"let me in")
        assert receive(nodes[0], 1, QUIET_S) == []
        still_works(nodes)


def test_nobody_gets_through_before_anybody_was_introduced() -> None:
    transport = ZeroMqTransport(0, TOKEN)
    with closing([transport]), dealer(transport.address) as client:
        client.send(b"too early")
        assert receive(transport, 1, QUIET_S) == []


def test_a_client_cannot_choose_the_id_by_its_routing_id(nodes: list[ZeroMqTransport]) -> None:
    with dealer(nodes[0].address, routing_id=b"2") as client:
        client.send(b"hello")
        assert receive(nodes[0], 1) == [(1, [b"hello"])]


GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00"
JUNK = {
    "nothing": b"",
    "a web browser": b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n",
    "zeros": bytes(10_000),
    "random bytes": np.random.default_rng(1).bytes(100_000),
    "a greeting without security": GREETING + b"NULL".ljust(20, b"\0") + bytes(32) + b"\x04\x19\x05READY" + bytes(99),
    "a greeting and then junk": GREETING + b"PLAIN".ljust(20, b"\0") + bytes(32) + b"\xff" * 10_000,
    "an old protocol version": b"\x01\x00" + b"\x05\x00hello",
    "frames instead of a handshake": GREETING + b"PLAIN".ljust(20, b"\0") + bytes(32) + b"\x00\x05hello" * 100,
}


@pytest.mark.parametrize("junk", JUNK.values(), ids=JUNK)
def test_junk_on_the_port_is_ignored(nodes: list[ZeroMqTransport], junk: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port_of(nodes[0].address)), timeout=2) as client:
        client.setblocking(False)
        with suppress(ConnectionError):
            client.send(junk)
        assert receive(nodes[0], 1, QUIET_S) == []
        still_works(nodes)


def test_a_connection_that_does_not_say_who_it_is_is_cut() -> None:
    (node,) = zeromq_nodes(1, deadline_s=0.3)
    with closing([node]), socket.create_connection(("127.0.0.1", port_of(node.address)), timeout=5) as client:
        while client.recv(100):
            pass


def test_a_frame_that_is_too_large_is_not_read(nodes: list[ZeroMqTransport]) -> None:
    with dealer(nodes[0].address) as client:
        client.send(b"x" * MAX_FRAME_BYTES)
        assert [len(frames[0]) for _, frames in receive(nodes[0], 1)] == [MAX_FRAME_BYTES]
        client.send(b"x" * (MAX_FRAME_BYTES + 1))
        assert receive(nodes[0], 1, QUIET_S) == []
        still_works(nodes)


def test_a_flood_cannot_hold_a_node_in_one_poll(nodes: list[ZeroMqTransport]) -> None:
    with dealer(nodes[0].address) as client:
        for _ in range(3000):
            client.send(b"again")
        received = 0
        while received < 3000:
            polled = len(nodes[0].poll(5.0))
            assert polled <= MAX_POLLED
            received += polled
        still_works(nodes)


def test_an_address_of_another_machine_cannot_be_listened_on() -> None:
    with pytest.raises(StartError, match=r"cannot listen on 192\.0\.2\.1"):
        ZeroMqTransport(0, TOKEN, host="192.0.2.1")


def test_ports_are_taken_from_the_range_until_it_is_used_up() -> None:
    made: list[ZeroMqTransport] = []
    with closing(made):
        made.append(ZeroMqTransport(0, TOKEN))
        first = port_of(made[0].address)
        ports = range(first, min(first + 40, 65536))
        with pytest.raises(StartError, match=f"no free port on 127.0.0.1 in {first} to {first}"):
            ZeroMqTransport(1, TOKEN, ports=range(first, first + 1))
        made += [ZeroMqTransport(node, TOKEN, ports=ports) for node in (1, 2, 3)]
        chosen = [port_of(transport.address) for transport in made]
        assert len(set(chosen)) == 4
        assert set(chosen) <= set(ports)


def test_a_port_is_free_again_after_close() -> None:
    transport = ZeroMqTransport(0, TOKEN)
    port = port_of(transport.address)
    transport.close()
    again = ZeroMqTransport(0, TOKEN, ports=range(port, port + 1))
    again.close()
    assert port_of(again.address) == port


def test_ipv6() -> None:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    transports = [ZeroMqTransport(node, TOKEN, host="::1") for node in (0, 1)]
    with closing(transports):
        assert all(transport.address.startswith("tcp://[::1]:") for transport in transports)
        for transport in transports:
            transport.introduce({node: other.address for node, other in enumerate(transports)})
        transports[0].send(1, [b"hello"])
        assert receive(transports[1], 1) == [(0, [b"hello"])]


def test_a_peer_that_is_not_up_yet_gets_its_messages_later() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    sender = ZeroMqTransport(0, TOKEN)
    late: list[ZeroMqTransport] = []
    with closing([sender]), closing(late):
        sender.introduce({1: f"tcp://127.0.0.1:{port}"})
        sender.send(1, [b"early"])
        time.sleep(0.2)
        late.append(ZeroMqTransport(1, TOKEN, ports=range(port, port + 1)))
        late[0].introduce({0: sender.address})
        assert receive(late[0], 1) == [(0, [b"early"])]


def test_what_waits_for_a_peer_that_never_comes_is_bounded() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    sender = ZeroMqTransport(0, TOKEN)
    late: list[ZeroMqTransport] = []
    with closing([sender]), closing(late):
        sender.introduce({1: f"tcp://127.0.0.1:{port}"})
        for number in range(2 * SEND_QUEUE):
            sender.send(1, [b"%d" % number])
        late.append(ZeroMqTransport(1, TOKEN, ports=range(port, port + 1)))
        late[0].introduce({0: sender.address})
        arrived = receive(late[0], SEND_QUEUE)
        assert [int(frames[0]) for _, frames in arrived] == list(range(SEND_QUEUE))
        assert receive(late[0], 1, QUIET_S) == []
