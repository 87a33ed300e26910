"""Listen to a run, and attack one with what was heard and with keys that are not of the run."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

from scripts.attacks import flood, wiretap
from scripts.attacks.insider import LEAKED_FROM
from scripts.attacks.recorder import Conversation, Recorder, repeat
from scripts.attacks.strangers import LET_IN, Stranger, strangers, visit
from scripts.attacks.target import LISTENS, Outcome, Settings, Target, free_ports, target

ON_THE_WAY = "127.0.0.2"  # where the recorder sits
IMPOSTOR = 3
REPEATED = 40  # conversations of each run
PATIENCE_S = 20.0


@dataclass
class Attack:
    """What was tried against one run, and what came of it."""

    ended: bool = False
    same_bits: bool = False
    counts: dict[str, int] = field(default_factory=dict)
    visits: dict[str, dict[str, int]] = field(default_factory=dict)
    let_in: list[str] = field(default_factory=list)
    kept_out: list[str] = field(default_factory=list)
    """Those that should have been let in: to see that the others are not kept out by mistake."""
    repeated: dict[str, int] = field(default_factory=dict)
    most_answered: int = 0
    flood: dict[str, object] = field(default_factory=dict)
    said: str = ""


@dataclass
class Heard:
    """What was heard of a run that nobody disturbed."""

    outcome: Outcome
    conversations: list[Conversation] = field(default_factory=list)
    packets: bytes = b""
    sent: bytes = b""


def listen(folder: Path, settings: Settings) -> Heard:
    """A run that is only listened to: packets where root may capture them, and its conversations."""
    file = folder / "packets.pcap"
    settings = replace(settings, leaks=folder / "leaks", payloads=True, host=ON_THE_WAY)
    with _recorded(folder / "run", settings) as (run, recorder):
        with wiretap.capture(file) if not wiretap.missing() else nullcontext():
            outcome = run.end()
        packets = file.read_bytes() if file.exists() else b""
        return Heard(outcome, recorder.conversations, packets, run.sent())


@contextmanager
def _recorded(folder: Path, settings: Settings) -> Iterator[tuple[Target, Recorder]]:
    ports = free_ports(settings.nodes, ON_THE_WAY)
    recorder = Recorder(ON_THE_WAY, LISTENS, ports)
    try:
        with target(folder, settings, ports) as run:
            yield run, recorder
    finally:
        recorder.close()


def attack(folder: Path, settings: Settings, quiet: Heard, rate: float, seconds: float) -> Attack:
    """Everything at the same time, against a run of its own with the same configuration."""
    report = Attack()
    settings = replace(settings, leaks=folder / "leaks", impostor=IMPOSTOR, holds=True, host=ON_THE_WAY)
    with _recorded(folder / "run", settings) as (run, recorder):
        run.wait_for_round(1)
        address, key = run.book[LEAKED_FROM]
        address = address.replace(ON_THE_WAY, LISTENS)  # straight to the node
        crowd = flood.start(rate, seconds, [address, run.agent_address])
        try:
            _knock(report, run, address, key, seconds / 2)
            _repeat(report, "another run", quiet.conversations, address)
            _repeat(report, "this run", recorder.conversations, address)
            output, _ = crowd.communicate(timeout=seconds + PATIENCE_S)
            report.flood = json.loads(output)
        finally:
            crowd.kill()
            crowd.wait()
        run.go_on()
        outcome = run.end()
    report.ended, report.said = outcome.ended, outcome.said
    report.same_bits = outcome.ended and outcome.bits == quiet.outcome.bits
    report.counts = outcome.counts
    return report


def _knock(report: Attack, run: Target, address: str, key: str, seconds: float) -> None:
    security, agent = run.agents_security, run.agent_address
    of_the_run = Stranger("agent: machine 1, with its own key", agent, lambda one: security.connect(one, 1, 0), True)
    visitors = [*strangers(address, key, "node"), *strangers(agent, security._keys[0], "agent"), of_the_run]
    report.visits = {name: dict(ends) for name, ends in visit(visitors, seconds).items()}
    for visitor in visitors:
        let_in = LET_IN in report.visits[visitor.name]
        if let_in != visitor.welcome:
            (report.let_in if let_in else report.kept_out).append(visitor.name)


def _repeat(report: Attack, what: str, conversations: list[Conversation], address: str) -> None:
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    same_port = [heard for heard in conversations if heard.port == int(port)]
    for conversation in [*same_port, *conversations][:REPEATED]:
        answered = repeat(conversation, host, int(port))
        report.repeated[what] = report.repeated.get(what, 0) + 1
        report.most_answered = max(report.most_answered, answered)


def refused(counts: dict[str, int]) -> Counter[str]:
    """The connections that nodes did not take, by reason."""
    return Counter({name.removeprefix("refused, "): n for name, n in counts.items() if name.startswith("refused, ")})
