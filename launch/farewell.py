"""Agent 0's side of going on without lost nodes (decentralized/departures.py). No input or output."""

from __future__ import annotations

from collections import Counter

from decentralized.control import Fact, Lost, Parted, Removed
from decentralized.types import NodeId


class Farewell:
    """Hears what the living have of a lost node; answers with what all of them do about it."""

    def __init__(self, nodes: int, reissue: bool) -> None:
        self._nodes, self._reissue = nodes, reissue
        self.lost: set[NodeId] = set()
        self.walks = nodes  # that are still going on; where no models walk, one for each node
        self._reports: dict[NodeId, dict[NodeId, Parted]] = {}  # of the lost nodes that are being removed
        self._removed: dict[NodeId, Removed] = {}
        self._counted: Counter[NodeId] = Counter()  # walks that a node has from lost ones, or gave to them

    @property
    def living(self) -> list[NodeId]:
        return [node for node in range(self._nodes) if node not in self.lost]

    def lose(self, node: NodeId) -> list[Fact]:
        """A node is lost. One that was to hand on another's messages may not have done it: that is asked anew."""
        if node in self.lost:
            return []
        self.lost.add(node)
        again = [lost for lost, removed in self._removed.items() if removed.holder == node and removed.lacking]
        answers: list[Fact] = []
        for lost in [node, *again]:
            self._reports[lost] = {}
            answers.append(Lost(lost))
        for lost in list(self._reports):
            answers += self._decide(lost)
        return answers

    def hear(self, fact: Parted) -> list[Fact]:
        """Take in one report."""
        if fact.lost not in self._reports or fact.node in self.lost:
            return []
        self._reports[fact.lost][fact.node] = fact
        return self._decide(fact.lost)

    def _decide(self, lost: NodeId) -> list[Fact]:
        reports = {node: report for node, report in self._reports[lost].items() if node not in self.lost}
        if not reports or len(reports) < len(self.living):
            return []
        del self._reports[lost]
        last = max(report.newest for report in reports.values())
        holder = min(node for node, report in reports.items() if report.newest == last)
        has_any = {node: report.newest for node, report in reports.items() if report.neighbor}
        lacking = {node: newest for node, newest in has_any.items() if newest < last}
        first = lost not in self._removed
        walks = self._count_walks(lost, reports) if first else 0
        reissued = max(0, walks) if self._reissue else 0
        removed = Removed(lost, last, holder, lacking, walks, min(has_any, default=holder), reissued)
        self._counted[removed.reissuer] += reissued
        self.walks += reissued - walks
        self._removed[lost] = removed
        return [removed]

    def _count_walks(self, lost: NodeId, reports: dict[NodeId, Parted]) -> int:
        """Those that the lost node held or that were on the way: its own, and what came in, less what went out."""
        walks = 1 + self._counted[lost] + sum(report.sent - report.received for report in reports.values())
        for node, report in reports.items():
            self._counted[node] += report.received - report.sent
        return walks
