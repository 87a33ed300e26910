"""A node started from nothing, where forking is not safe: it prepares by itself and then is like a forked one."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

from decentralized import config, control
from decentralized.build import BuiltIn
from decentralized.control import Prepare, Start
from decentralized.prepare import prepare
from launch.node_process import run_child


def main() -> None:
    """Arguments: file descriptor of the socket pair, parent's process id, nodes. Standard input: two facts."""
    descriptor, parent, *nodes = (int(argument) for argument in sys.argv[1:])
    preparation, start = (control.decode(line) for line in sys.stdin.buffer.read().splitlines())
    if not isinstance(preparation, Prepare) or not isinstance(start, Start):
        sys.exit("expected a Prepare and a Start fact on standard input")
    experiment = config.parse(preparation.config, BuiltIn())
    prepared = prepare(experiment, Path(preparation.data_root))
    run_child(prepared, nodes, socket.socket(fileno=descriptor), start, preparation, parent)
