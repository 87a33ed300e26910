"""Why a machine does not answer: what a plain TCP connection to it says."""

from __future__ import annotations

import socket

PATIENCE_S = 1.0


def obstacle(host: str, port: int, patience_s: float = PATIENCE_S) -> str:
    """In words for people, as what comes after "waiting for ...: "."""
    try:
        socket.create_connection((host, port), patience_s).close()
    except socket.gaierror:
        return f"the name {host} is not known here"
    except ConnectionRefusedError:
        return "nothing listens there yet"
    except TimeoutError:
        return "no answer; a wrong address, or a firewall?"
    except OSError as error:
        return error.strerror or str(error)
    return "something listens there and does not let this machine in; is it machine 0 of this run, with the same key?"
