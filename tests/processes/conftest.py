"""What several process tests need."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest


@pytest.fixture
def two_machines(tmp_path: Path) -> Path:
    """An IP map of two agents on loopback, on ports that are free."""
    with socket.socket() as one, socket.socket() as two:
        one.bind(("127.0.0.1", 0))
        two.bind(("127.0.0.1", 0))
        ports = [one.getsockname()[1], two.getsockname()[1]]
    path = tmp_path / "ip_map.json"
    path.write_text(json.dumps({str(i): {"host": "127.0.0.1", "port": port} for i, port in enumerate(ports)}))
    return path
