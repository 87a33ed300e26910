"""Hostile messages among honest ones: the honest nodes must mix exactly what they mix without them."""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import psutil

from scripts.fuzzing.honest import HOSTILE, STRANGER, Community
from scripts.fuzzing.mutations import KINDS, Attacker, Frames

PER_ROUND = 200
WARM_UP = 0.1  # of all messages: what is allocated once and kept
REMEMBERED = 8  # overheard messages, to be replayed
SHOWN = 5  # tracebacks


@dataclass
class MessageReport:
    """`outcomes` by kind: sent, dropped (by the channel), refused (by a sharing rule), read."""

    outcomes: dict[str, Counter[str]] = field(default_factory=dict)
    crashes: list[str] = field(default_factory=list)
    rounds: int = 0
    wrong_mixes: int = 0
    grown_bytes: int = 0
    log_lines: int = 0

    @property
    def good(self) -> bool:
        return not self.crashes and not self.wrong_mixes


def fuzz_messages(count: int, seed: int) -> MessageReport:
    """Send `count` hostile messages to the honest nodes, in turn. The same seed sends the same ones."""
    report = MessageReport(outcomes={kind: Counter() for kind in KINDS})
    community = Community(seed)
    attackers = [
        Attacker(node.channel, node.peers[0], np.random.default_rng([seed, 1000 + node.node]))
        for node in community.nodes
    ]
    rounds = -(-count // PER_ROUND)
    reference = _undisturbed(seed, rounds)
    memory = 0
    for round in range(rounds):
        if round == int(rounds * WARM_UP):
            memory = _resident_bytes()
        community.begin_round()
        _overhear(community, attackers)
        for number in range(round * PER_ROUND, min(count, (round + 1) * PER_ROUND)):
            victim = number % len(attackers)
            kind = list(KINDS)[number // len(attackers) % len(KINDS)]
            _attack(community, victim, kind, attackers[victim], report)
        community.end_round()
        report.wrong_mixes += community.digests() != reference[round]
    report.rounds, report.grown_bytes = rounds, _resident_bytes() - memory
    report.log_lines = sum(len(node.lines) for node in community.nodes)
    return report


def _undisturbed(seed: int, rounds: int) -> list[list[str]]:
    """The digests after each round without an attack."""
    community = Community(seed)
    digests = []
    for _ in range(rounds):
        community.begin_round()
        community.end_round()
        digests.append(community.digests())
    return digests


def _overhear(community: Community, attackers: Sequence[Attacker]) -> None:
    """What the honest peer has just sent to each victim, from its own memory."""
    for node, attacker in zip(community.nodes, attackers, strict=True):
        link = community.nodes[node.peers[0]].channel._links[node.node]
        overheard: list[Frames] = [link._frames(waiting) for waiting in link._kept]
        attacker.overheard = [*attacker.overheard, *overheard][-REMEMBERED:]


def _attack(community: Community, victim: int, kind: str, attacker: Attacker, report: MessageReport) -> None:
    node, outcomes = community.nodes[victim], report.outcomes[kind]
    if attacker.starts_over():
        for other in (HOSTILE, STRANGER):
            node.channel._inbox.forget(other)
    before = node.channel.dropped.total()
    try:
        sender, frames = KINDS[kind](attacker)
        community.inject(sender, victim, frames)
        outcomes.update(node.read())
    except Exception:  # noqa: BLE001 - a crash of any kind is what is looked for
        report.crashes.append(f"{kind}:\n{traceback.format_exc()}")
    outcomes["sent"] += 1
    outcomes["dropped"] += node.channel.dropped.total() - before


def _resident_bytes() -> int:
    return int(psutil.Process().memory_info().rss)
