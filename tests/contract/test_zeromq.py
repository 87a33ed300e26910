"""What only a real network can do wrong: strangers, ports, addresses, connections that die."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import numpy as np
import pytest
import zmq

from decentralized.errors import StartError
from decentralized.transport import door
from decentralized.transport.security import Plain
from decentralized.transport.zeromq import MAX_FRAME_BYTES, MAX_POLLED, SEND_QUEUE, ZeroMqTransport
from scripts.fuzzing import clients

from .networks import PATIENCE_S, TOKEN, closing, plain_nodes, receive

QUIET_S = 0.15


@pytest.fixture
def nodes() -> Iterator[list[ZeroMqTransport]]:
    transports = plain_nodes(3)
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
    transport = ZeroMqTransport(0, Plain(TOKEN))
    with closing([transport]), dealer(transport.address) as client:
        client.send(b"too early")
        assert receive(transport, 1, QUIET_S) == []


def test_a_client_cannot_choose_the_id_by_its_routing_id(nodes: list[ZeroMqTransport]) -> None:
    with dealer(nodes[0].address, routing_id=b"2") as client:
        client.send(b"hello")
        assert receive(nodes[0], 1) == [(1, [b"hello"])]


def test_of_connections_that_give_themselves_one_name_the_last_is_read(nodes: list[ZeroMqTransport]) -> None:
    """By default ZeroMQ ignores all but the first, and keeps what they have sent even when they have gone."""
    with dealer(nodes[0].address) as first:
        first.send(b"hello")
        assert receive(nodes[0], 1) == [(1, [b"hello"])]
        with dealer(nodes[0].address) as second:
            second.send(b"hello again")
            assert receive(nodes[0], 1) == [(1, [b"hello again"])]


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
    (node,) = plain_nodes(1, deadline_s=0.3)
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
        ZeroMqTransport(0, Plain(TOKEN), host="192.0.2.1")


def test_ports_are_taken_from_the_range_until_it_is_used_up() -> None:
    made: list[ZeroMqTransport] = []
    with closing(made):
        made.append(ZeroMqTransport(0, Plain(TOKEN)))
        first = port_of(made[0].address)
        ports = range(first, min(first + 40, 65536))
        with pytest.raises(StartError, match=f"no free port on 127.0.0.1 in {first} to {first}"):
            ZeroMqTransport(1, Plain(TOKEN), ports=range(first, first + 1))
        made += [ZeroMqTransport(node, Plain(TOKEN), ports=ports) for node in (1, 2, 3)]
        chosen = [port_of(transport.address) for transport in made]
        assert len(set(chosen)) == 4
        assert set(chosen) <= set(ports)


def test_a_port_is_free_again_after_close() -> None:
    transport = ZeroMqTransport(0, Plain(TOKEN))
    port = port_of(transport.address)
    transport.close()
    again = ZeroMqTransport(0, Plain(TOKEN), ports=range(port, port + 1))
    again.close()
    assert port_of(again.address) == port


def test_ipv6() -> None:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    transports = [ZeroMqTransport(node, Plain(TOKEN), host="::1") for node in (0, 1)]
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
    sender = ZeroMqTransport(0, Plain(TOKEN))
    late: list[ZeroMqTransport] = []
    with closing([sender]), closing(late):
        sender.introduce({1: f"tcp://127.0.0.1:{port}"})
        sender.send(1, [b"early"])
        time.sleep(0.2)
        late.append(ZeroMqTransport(1, Plain(TOKEN), ports=range(port, port + 1)))
        late[0].introduce({0: sender.address})
        assert receive(late[0], 1) == [(0, [b"early"])]


def test_what_waits_for_a_peer_that_never_comes_is_bounded() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    sender = ZeroMqTransport(0, Plain(TOKEN))
    late: list[ZeroMqTransport] = []
    with closing([sender]), closing(late):
        sender.introduce({1: f"tcp://127.0.0.1:{port}"})
        for number in range(2 * SEND_QUEUE):
            sender.send(1, [b"%d" % number])
        late.append(ZeroMqTransport(1, Plain(TOKEN), ports=range(port, port + 1)))
        late[0].introduce({0: sender.address})
        arrived = receive(late[0], SEND_QUEUE)
        assert [int(frames[0]) for _, frames in arrived] == list(range(SEND_QUEUE))
        assert receive(late[0], 1, QUIET_S) == []


def poll_until(transport: ZeroMqTransport, reason: str, count: int) -> int:
    """How many connections were refused for this reason, once that are `count` or patience has ended."""
    until = time.monotonic() + PATIENCE_S
    while transport.refused[reason] < count and time.monotonic() < until:
        transport.poll(0.02)
    return transport.refused[reason]


def test_refused_connections_are_counted_and_logged_once_for_each_reason() -> None:
    lines: list[str] = []
    transport = ZeroMqTransport(0, Plain(TOKEN), log=lines.append)
    transport.introduce({0: transport.address, 1: "tcp://127.0.0.1:9"})
    refused = {"a wrong token": (b"1", b"guess"), "an unknown node": (b"7", TOKEN.encode())}
    with closing([transport]):
        for reason, (user, password) in refused.items():
            for number in (1, 2, 3):
                with dealer(transport.address, user, password):
                    assert poll_until(transport, reason, number) == number
        assert poll_until(transport, "it went without a message", 6) == 6
        assert [sum(reason in line for line in lines) for reason in refused] == [1, 1]
        assert len(lines) == 3


def test_silent_connections_beyond_a_limit_are_cut_the_oldest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "MAX_SILENT", 5)
    nodes = plain_nodes(3, deadline_s=60.0)
    strangers: list[socket.socket] = []
    with closing(nodes):
        still_works(nodes)
        for _ in range(12):
            strangers.append(socket.create_connection(("127.0.0.1", port_of(nodes[0].address)), timeout=5))
            nodes[0].poll(0.05)
        assert poll_until(nodes[0], "too many that say nothing", 12 - 5 - 3) == 12 - 5 - 3
        for stranger in strangers[:4]:
            while stranger.recv(1000):
                pass  # the greeting, and then the end
        still_works(nodes)
        nodes[1].send(0, [b"hello from one"])
        assert receive(nodes[0], 1) == [(1, [b"hello from one"])]
    for stranger in strangers:
        stranger.close()


def test_a_peer_with_the_token_cannot_hold_many_connections(nodes: list[ZeroMqTransport]) -> None:
    host = ("127.0.0.1", port_of(nodes[0].address))
    opened = [socket.create_connection(host, timeout=0.2) for _ in range(3 * door.MAX_PER_PEER)]
    said = clients.greeting() + clients.hello(b"1", TOKEN.encode())
    for client in opened:
        client.sendall(said)
    receive(nodes[0], 1, QUIET_S)  # answers the handshakes
    for client in opened:
        with suppress(OSError):
            client.sendall(clients.initiate() + clients.frame(b"hello"))
            nodes[0].poll(0.05)
    reason = "too many of node 1"
    assert poll_until(nodes[0], reason, 2 * door.MAX_PER_PEER) == 2 * door.MAX_PER_PEER
    still_works(nodes)
    for client in opened:
        client.close()


def test_a_peer_cannot_choose_its_id_by_properties_of_the_protocol(nodes: list[ZeroMqTransport]) -> None:
    with socket.create_connection(("127.0.0.1", port_of(nodes[0].address)), timeout=2) as client:
        client.sendall(clients.greeting() + clients.hello(b"1", TOKEN.encode()))
        receive(nodes[0], 1, QUIET_S)
        said = {"User-Id": b"2", "user-id": b"2", "Identity": b"2", "__fd": b"1"}
        client.sendall(clients.initiate(**said) + clients.frame(b"who am I"))
        assert receive(nodes[0], 1) == [(1, [b"who am I"])]


def test_who_listens_at_a_peers_address_cannot_fill_this_node() -> None:
    """A hostile peer answers on the connection on which this node only sends, with more than it should ever hold."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    context.linger = 0
    transport = ZeroMqTransport(0, Plain(TOKEN))
    with closing([transport]):
        hostile = context.socket(zmq.ROUTER)
        hostile.sndhwm, hostile.router_mandatory = 5, True
        hostile.plain_server = True
        with answering(context):
            transport.introduce({1: f"tcp://127.0.0.1:{hostile.bind_to_random_port('tcp://127.0.0.1')}"})
            transport.send(1, [b"hello"])
            assert hostile.poll(int(1000 * PATIENCE_S))
            routing_id, _ = hostile.recv_multipart()
            taken = 0
            until = time.monotonic() + 1.0
            while taken <= 20 and time.monotonic() < until:
                with suppress(zmq.ZMQError):  # it takes no more, or has gone away
                    hostile.send_multipart([routing_id, bytes(1024 * 1024)], zmq.NOBLOCK)
                    taken += 1
                time.sleep(0.002)
        assert taken <= 20
    context.destroy()


@contextmanager
def answering(context: zmq.Context[zmq.Socket[bytes]]) -> Iterator[None]:
    """Lets everybody in."""
    stop = threading.Event()
    socket = context.socket(zmq.REP)
    socket.bind("inproc://zeromq.zap.01")

    def answer() -> None:
        while not stop.is_set():
            if socket.poll(20):
                version, request, *_ = socket.recv_multipart()
                socket.send_multipart([version, request, b"200", b"", b"", b""])
        socket.close()

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
