"""Three machines, which are network namespaces: whatever the network does, the bits are the same, or all say why not.

No two of them share a disk: each has a folder of its own for its part of the run.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from launch.key import RunKey
from tests.processes.namespaces import Namespaces, ipv4, ipv6, namespaces
from tests.processes.runs import PATIENCE_S, ROOT, models, run

CONFIG = ROOT / "configs" / "demo.toml"
MACHINES = range(3)
ADDRESSES = [ipv4(machine) for machine in MACHINES]
ROUNDS = 30
SMALL = ("nodes=6", f"algorithm.rounds={ROUNDS}", "data.samples=240", "evaluation.every=0", "checkpoint.every=0")
DEADLINE_S = 6.0
SHORT_S = DEADLINE_S / 3
HURRIED = (*SMALL, f"network.deadline_s={DEADLINE_S}")
START_S = 7.0  # a little more than the time after which agents first complain
IMPATIENT = (*SMALL, f"network.start_deadline_s={START_S}")
OTHER_KEY = RunKey.parse("2e" * 32)


@pytest.fixture
def net() -> Iterator[Namespaces]:
    """Every program ends by itself, with all that it has started."""
    with namespaces(len(MACHINES)) as made:
        yield made
        assert [made.processes(machine) for machine in MACHINES] == [[], [], []]


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> dict[int, bytes]:
    """What one machine alone comes to."""
    return models(run(CONFIG, tmp_path_factory.mktemp("reference"), *SMALL))


class Agents:
    """One agent on each machine, each started when told. While the gate is closed, rounds take long."""

    key = RunKey.parse("1f" * 32)

    def __init__(self, net: Namespaces, folder: Path, entries: Sequence[object], *settings: str) -> None:
        self._net, self._folder = net, folder
        self._gate = folder / "gate"
        gated = f"mixing={{name='tests.processes.gated:Gated', gate='{self._gate}'}}"
        self._settings = [word for setting in (*settings, gated) for word in ("--set", setting)]
        self._ip_map = folder / "ip_map.json"
        self._ip_map.write_text(json.dumps(dict(enumerate(entries))))
        self._agents: dict[int, subprocess.Popen[bytes]] = {}

    def start(self, *machines: int, key: RunKey = key) -> None:
        for machine in machines:
            file = self._folder / f"key-{machine}"
            key.write(file)
            where = ["--ip-map", str(self._ip_map), "--machine", str(machine), "--key", str(file)]
            words = ["run", str(CONFIG), *where, "--out", str(self._out(machine)), "--no-report", *self._settings]
            program = (sys.executable, "-m", "launch.cli", *words)
            self._agents[machine] = self._net.start(machine, *program, output=self._output(machine))

    def start_gated(self, *machines: int) -> None:
        """Up to a moment at which all machines are in their first rounds, and in no hurry."""
        self._gate.touch()
        self.start(*machines)
        until = time.monotonic() + PATIENCE_S
        while not all(map(self._has_begun, machines)):
            assert time.monotonic() < until, [self.said(machine) for machine in machines]
            time.sleep(0.02)

    def _has_begun(self, machine: int) -> bool:
        files = self._out(machine).glob("*/nodes/*/metrics.jsonl")
        return any(b'"round"' in file.read_bytes() for file in files)

    def open_gate(self) -> None:
        self._gate.unlink()

    def said(self, machine: int) -> str:
        """Everything that it has said, on one line."""
        return re.sub(r"\s+", " ", self._output(machine).read_text())

    def end(self, machine: int, code: int = 0) -> str:
        """What the agent has said, once it has ended as it should."""
        status = self._agents[machine].wait(PATIENCE_S)
        said = self.said(machine)
        assert status == code, said
        return said

    def models(self) -> dict[int, bytes]:
        """Of all nodes: each machine has those of its own."""
        found = [path for machine in self._agents for path in self._out(machine).glob("*/nodes/*/model.safetensors")]
        return {int(path.parent.name): path.read_bytes() for path in found}

    def files(self) -> bytes:
        """All that the run has written, and all that was said."""
        paths = [path for machine in self._agents for path in [self._output(machine), *self._out(machine).rglob("*")]]
        return b"".join(path.read_bytes() for path in paths if path.is_file())

    def _out(self, machine: int) -> Path:
        return self._folder / f"machine-{machine}"

    def _output(self, machine: int) -> Path:
        return self._folder / f"said-{machine}.txt"


def test_a_plain_run_on_a_slow_and_lossy_network_to_which_machine_0_comes_last(
    net: Namespaces, tmp_path: Path, reference: dict[int, bytes]
) -> None:
    net.impair(delay_ms=50, loss_percent=1)
    agents = Agents(net, tmp_path, ADDRESSES, *SMALL, "network.security=plain")
    agents.start(2, 1)
    time.sleep(1.0)
    agents.start(0)
    for machine in MACHINES:
        agents.end(machine)
    assert agents.models() == reference
    assert net.lost_packets() > 0


def test_an_encrypted_run_with_a_short_cut_and_all_kinds_of_addresses(
    net: Namespaces, tmp_path: Path, reference: dict[int, bytes]
) -> None:
    net.hosts({"second.example": ipv4(1), "third.example": ipv6(2)})
    entries = [ipv6(0), "second.example", {"host": "third.example", "bind": ipv6(2)}]
    agents = Agents(net, tmp_path, entries, *HURRIED)
    agents.start_gated(1, 0, 2)
    net.cut(1)
    agents.open_gate()
    time.sleep(SHORT_S)
    net.heal(1)
    for machine in MACHINES:
        agents.end(machine)
    assert agents.models() == reference
    assert agents.key.text().encode() not in agents.files()


def test_after_a_long_cut_each_machine_names_the_one_it_misses(net: Namespaces, tmp_path: Path) -> None:
    agents = Agents(net, tmp_path, ADDRESSES, *HURRIED)
    agents.start_gated(0, 1, 2)
    net.cut(1)
    for machine, missing in ((0, 1), (1, 0), (2, 1)):
        assert is_silent(missing, agents.end(machine, 5))


@pytest.mark.parametrize(("lost", "policy"), [(1, "abort"), (0, "continue")])
def test_a_machine_that_is_gone_ends_the_run(net: Namespaces, tmp_path: Path, lost: int, policy: str) -> None:
    agents = Agents(net, tmp_path, ADDRESSES[:2], *HURRIED, f"network.on_peer_loss={policy}")
    agents.start_gated(0, 1)
    net.kill(lost)
    assert is_silent(lost, agents.end(1 - lost, 5))


def test_the_others_go_on_without_a_machine_that_is_gone(net: Namespaces, tmp_path: Path) -> None:
    agents = Agents(net, tmp_path, ADDRESSES, *HURRIED, "network.on_peer_loss=continue")
    agents.start_gated(0, 1, 2)
    net.kill(2)
    agents.open_gate()
    for machine in (0, 1):
        said = agents.end(machine)
        assert is_silent(2, said)
        assert "the others go on without it" in said
    assert set(agents.models()) == {0, 1, 2, 3}


def is_silent(machine: int, said: str) -> bool:
    return re.search(rf"machine {machine} \(tcp://{ipv4(machine)}:\d+\) has been silent for \d+ s", said) is not None


def test_who_cannot_join_says_why(net: Namespaces, tmp_path: Path) -> None:
    """Nobody listens there, there is no such machine, no way to it, nobody of that name, or it has another key."""
    obstacles = {
        "10.99.0.3": "nothing listens there",
        "10.99.0.99": "no answer",
        "192.0.2.1": "Network is unreachable",
        "nowhere.example": "the name nowhere.example is not known",
        "10.99.0.1": "something listens there and does not let this machine in; .* the same key?",
    }
    lonely = []
    for number, host in enumerate(obstacles):
        (folder := tmp_path / host).mkdir()
        entries = [{"host": host, "port": 29500}, {"host": ipv4(1), "port": 29501 + number}]
        lonely.append(Agents(net, folder, entries, *IMPATIENT, "network.security=curve"))
        lonely[-1].start(1)
    lonely[-1].start(0, key=OTHER_KEY)
    for agents, (host, why) in zip(lonely, obstacles.items(), strict=True):
        said = agents.end(1, 9)
        assert re.search(rf"waiting for machine 0 at tcp://{host}:29500 since \d+ s: {why}", said), said
        assert re.search(rf"machine 0 \(tcp://{host}:29500\) did not answer for \d+ s: {why}", said), said
    assert "machines 1 never came" in lonely[-1].end(0, 9)
