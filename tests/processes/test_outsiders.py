"""The short form of `python -m scripts.outsiders`: nobody without a key gets anything into a run, or out of it."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from scripts.attacks import wiretap
from scripts.attacks.recorder import BEFORE_A_KEY_BYTES
from tests.processes.runs import PATIENCE_S, ROOT

BRIEF = ("--brief", "--nodes", "6", "--rounds", "15", "--seconds", "3", "--set", "data.samples=240")
PER_SECOND = 300  # the machine is not ours alone


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    if sys.platform != "linux":
        pytest.skip("needs several loopback addresses, which only Linux has without being told")
    file = tmp_path_factory.mktemp("outsiders") / "facts.json"
    command = [sys.executable, "-m", "scripts.outsiders", *BRIEF, "--rate", str(PER_SECOND), "--facts", str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=2 * PATIENCE_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def test_the_run_ends_with_the_same_bits(facts: dict[str, Any]) -> None:
    assert facts["attack"]["ended"]
    assert facts["attack"]["same_bits"]
    assert facts["encrypted and not: the same bits"]


def test_only_a_key_of_the_run_opens(facts: dict[str, Any]) -> None:
    visits = facts["attack"]["visits"]
    assert len(visits) == 9
    ends = {name.partition(": ")[2]: set(ends) for name, ends in visits.items() if name.startswith("agent")}
    assert ends == {
        "with a key for the listener that is not its own": {"hung up on"},
        "with the listener's key, and an own key pair": {"told that it is not of this run"},
        "a plain client": {"hung up on"},
        "a client without security": {"hung up on"},
        "machine 1, with its own key": {"let in"},
    }
    for name, end in visits.items():
        who, _, what = name.partition(": ")
        assert who == "agent" or set(end) == ends[what]


def test_what_was_heard_cannot_be_said_again(facts: dict[str, Any]) -> None:
    attack = facts["attack"]
    assert attack["repeated"]["another run"] > 0
    assert attack["repeated"]["this run"] > 0
    assert attack["most_answered"] <= BEFORE_A_KEY_BYTES


def test_a_node_cannot_speak_in_the_name_of_another(facts: dict[str, Any]) -> None:
    rounds, neighbors, names = 15, 2, 5
    assert facts["attack"]["counts"]["dropped, foreign"] == rounds * neighbors * names * 2


def test_connections_are_refused_and_counted(facts: dict[str, Any]) -> None:
    attack = facts["attack"]
    opened = sum(attack["flood"]["opened"].values())
    assert opened > 0
    assert attack["flood"]["failed"] < 0.01 * opened
    assert attack["counts"]["refused, it went without a message"] > 0.2 * opened, "half of them come to the node"
    assert attack["counts"]["refused, an unknown key"] > 0
    assert "refused a connection (an unknown key)" in " ".join(attack["said"].split()), "the agent says so, too"


@pytest.mark.parametrize("what", ["conversations", "packets"])
def test_no_parameters_are_seen_on_the_way(facts: dict[str, Any], what: str) -> None:
    if what == "packets" and wiretap.missing():
        pytest.skip(wiretap.missing())
    seen, total, _ = facts[f"encrypted: {what}"]
    assert seen == 0
    seen, total, _ = facts[f"plain: {what}"]
    assert seen > 0.9 * total > 0, "or they would not be found where they are"
