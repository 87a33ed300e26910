"""What machines must have in common, and how a difference is told."""

from __future__ import annotations

from pathlib import Path

from decentralized import config
from decentralized.build import BuiltIn
from decentralized.errors import HelloMismatch
from launch.hello import before_start, differences
from launch.ip_map import IpMap, Machine
from launch.plan import Plan
from tests.unit.launch.conftest import DEMO

TWO = IpMap((Machine(host="10.0.0.1"), Machine(host="10.0.0.2", nodes=1)))


def identity(*overrides: str, ip_map: IpMap = TWO) -> dict[str, str]:
    return before_start(Plan(config.load(Path(DEMO), BuiltIn(), overrides), ip_map, 0, Path("data"), Path("runs")))


def test_machines_that_run_the_same_thing() -> None:
    assert differences(identity(), identity(), "machine 1") == (None, [])


def test_each_difference_is_named_with_both_sides() -> None:
    other = identity(
        "seed=1", "training.optimizer.lr=0.5", ip_map=IpMap((TWO.machines[0], Machine(host="10.0.0.3", nodes=1)))
    )
    abort, warnings = differences(identity("training.optimizer.lr=0.25"), other, "machine 1 (tcp://x)")
    assert abort is not None and warnings == []
    assert abort.error == HelloMismatch.__name__ and abort.exit_code == HelloMismatch.exit_code
    assert abort.message.startswith("machine 1 (tcp://x) does not run the same thing: ")
    for line in (
        "seed: 1 there, 90 on machine 0",
        "training.optimizer.lr: 0.5 there, 0.25 on machine 0",
        'IP map: 1.host: "10.0.0.3" there, "10.0.0.2" on machine 0',
    ):
        assert line in abort.message


def test_a_setting_that_only_one_side_has_is_a_difference() -> None:
    abort, _ = differences({"a": "1"}, {"b": "2"}, "machine 1")
    assert abort is not None
    assert "a: nothing there, 1 on machine 0" in abort.message and "b: 2 there, nothing on machine 0" in abort.message


def test_many_differences_are_cut_short() -> None:
    abort, _ = differences({str(i): "x" for i in range(9)}, {}, "machine 1")
    assert abort is not None and abort.message.endswith("; and 4 more")


def test_another_processor_is_worth_a_warning() -> None:
    here = {"processor capability": "AVX2", "Python": "3.11", "torch": "2"}
    there = {"processor capability": "AVX512", "Python": "3.12", "torch": "2"}
    abort, warnings = differences(here, there, "machine 1")
    assert abort is None and warnings == [
        "machine 1 differs in processor capability: AVX512 there, AVX2 on machine 0",
        "machine 1 differs in Python: 3.12 there, 3.11 on machine 0",
    ]


def test_versions_count() -> None:
    abort, _ = differences(identity(), {**identity(), "torch": "1.0"}, "machine 1")
    assert abort is not None and "torch: 1.0 there" in abort.message
