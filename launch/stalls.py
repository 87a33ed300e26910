"""Who waits for whom, and who is at the root of it. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping

from decentralized.types import NodeId


def root_of(node: NodeId, waits_for: Mapping[NodeId, NodeId]) -> NodeId | None:
    """The node at the end of the chain of waits that begins at `node`: it waits for nobody. None for a cycle."""
    seen = {node}
    while node in waits_for:
        node = waits_for[node]
        if node in seen:
            return None
        seen.add(node)
    return node


def cycle_in(waits_for: Mapping[NodeId, NodeId]) -> list[NodeId]:
    """The nodes of a cycle of waits, each followed by the one that it waits for; empty if there is none."""
    for node in sorted(waits_for):
        if root_of(node, waits_for) is None:
            for _ in waits_for:  # after so many steps it is certainly in the cycle
                node = waits_for[node]
            cycle = [node]
            while (node := waits_for[node]) != cycle[0]:
                cycle.append(node)
            return cycle
    return []
