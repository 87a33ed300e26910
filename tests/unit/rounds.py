"""What the nodes of a run in memory wrote of their rounds."""

from __future__ import annotations

from typing import Any

from decentralized.in_memory import InMemoryRun
from decentralized.metrics import read_metrics


def rounds_of(run: InMemoryRun, node: int) -> list[dict[str, Any]]:
    """The records of the node's rounds, in order."""
    return [dict(record) for record in read_metrics(run._directory.node(node).metrics) if record["kind"] == "round"]
