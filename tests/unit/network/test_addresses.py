"""Hosts as people write them, and what is bound for them."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from decentralized.transport.addresses import EVERYWHERE, bindable, bracketed, is_loopback, uses_ipv6

BOOK = {
    "localhost": [(socket.AF_INET6, "::1"), (socket.AF_INET, "127.0.0.1")],
    "here": [(socket.AF_INET, "127.0.1.1")],  # as Debian writes a machine's own name into its host file
    "six": [(socket.AF_INET6, "2001:db8::1")],
    "both": [(socket.AF_INET6, "2001:db8::2"), (socket.AF_INET, "192.0.2.2")],
}


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the names of BOOK are known; addresses stand for themselves."""

    def lookup(host: str, port: object, **options: Any) -> list[tuple[Any, ...]]:
        if host not in BOOK and not host[0].isdigit():
            raise socket.gaierror("no such name")
        found = BOOK.get(host, [(socket.AF_INET, host)])
        return [(family, socket.SOCK_STREAM, 6, "", (address, 0)) for family, address in found]

    monkeypatch.setattr(socket, "getaddrinfo", lookup)


@pytest.mark.parametrize(
    ("host", "bound"),
    [
        ("192.0.2.1", ("192.0.2.1", False)),
        ("2001:db8::1", ("[2001:db8::1]", True)),
        ("localhost", ("127.0.0.1", False)),
        ("here", (EVERYWHERE, False)),
        ("six", ("[2001:db8::1]", True)),
        ("both", ("192.0.2.2", False)),
        ("*", ("*", False)),
        ("lo", ("lo", False)),
    ],
)
def test_what_is_bound(host: str, bound: tuple[str, bool], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "if_nameindex", lambda: [(1, "lo")])
    assert bindable(host) == bound


def test_an_unknown_name_cannot_be_bound() -> None:
    with pytest.raises(socket.gaierror):
        bindable("nowhere")


@pytest.mark.parametrize(
    ("address", "six"),
    [
        ("tcp://192.0.2.1:1", False),
        ("tcp://[2001:db8::1]:1", True),
        ("tcp://six:1", True),
        ("tcp://both:1", False),
        ("tcp://nowhere:1", False),
    ],
)
def test_which_protocol_reaches_it(address: str, six: bool) -> None:
    assert uses_ipv6(address) is six


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True), ("10.0.0.1", False), ("n1", False)],
)
def test_loopback(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


def test_brackets() -> None:
    assert [bracketed(host) for host in ("::1", "10.0.0.1", "name")] == ["[::1]", "10.0.0.1", "name"]
