"""Hosts as people write them (a name, IPv4, IPv6, an interface) and as ZeroMQ wants them."""

from __future__ import annotations

import ipaddress
import socket

EVERYWHERE = "*"  # all interfaces


def bracketed(host: str) -> str:
    """An IPv6 address in brackets; anything else as it is."""
    return f"[{host}]" if ":" in host else host


def is_loopback(host: str) -> bool:
    """Whether only this machine is reached by it. Names other than localhost are not looked up."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def bindable(host: str) -> tuple[str, bool]:
    """What to bind so that others reach `host`, and whether it takes IPv6. Raises OSError for an unknown name.

    ZeroMQ binds addresses and interfaces, no names. A machine's own name often stands for a loopback address in its
    own host file: then all interfaces are bound.
    """
    try:
        return bracketed(host), ipaddress.ip_address(host).version == 6
    except ValueError:
        pass
    if host == EVERYWHERE or host in (name for _, name in socket.if_nameindex()):
        return host, False
    family, address = _lookup(host)
    if host != "localhost" and is_loopback(address):
        return EVERYWHERE, False
    return bracketed(address), family == socket.AF_INET6


def uses_ipv6(address: str) -> bool:
    """Whether `tcp://host:port` is reached over IPv6; a name that is not known yet may be later, and over IPv4."""
    host = address.removeprefix("tcp://").rpartition(":")[0]
    if host.startswith("["):
        return True
    try:
        return _lookup(host)[0] == socket.AF_INET6
    except OSError:
        return False


def _lookup(host: str) -> tuple[int, str]:
    """IPv4 where there is one, as ZeroMQ prefers it."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    found.sort(key=lambda entry: entry[0] != socket.AF_INET)
    return found[0][0], str(found[0][4][0])
