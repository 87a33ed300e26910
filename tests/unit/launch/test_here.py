"""Which machine this is: the command line first, then the environment."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from decentralized.errors import ConfigError, StartError
from launch import here
from launch.here import Here, find
from launch.ip_map import LOCAL, IpMap, Machine
from launch.placement import Placement

SLURM = IpMap((Machine(host="n1"), Machine(host="n2")))


@pytest.fixture
def three(tmp_path: Path) -> Path:
    path = tmp_path / "map.json"
    path.write_text(json.dumps({"0": "10.0.0.1", "1": "10.0.0.2", "2": "10.0.0.3"}))
    return path


def placed(monkeypatch: pytest.MonkeyPatch, placement: Placement | None) -> None:
    monkeypatch.setattr(here, "detect", lambda environ: placement)


def test_alone_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    placed(monkeypatch, None)
    assert find(Here()) == (LOCAL, 0)


def test_by_hand_with_an_ip_map(monkeypatch: pytest.MonkeyPatch, three: Path) -> None:
    placed(monkeypatch, None)
    ip_map, machine = find(Here(three, 2))
    assert machine == 2 and ip_map.machines[2].host == "10.0.0.3"
    with pytest.raises(ConfigError, match="machines 0 to 2"):
        find(Here(three, 3))
    with pytest.raises(ConfigError, match="needs an --ip-map"):
        find(Here(None, 1))


def test_a_run_that_goes_on_where_it_was(monkeypatch: pytest.MonkeyPatch, three: Path) -> None:
    placed(monkeypatch, None)
    assert find(Here(None, 1), SLURM) == (SLURM, 1)
    assert len(find(Here(three, 1), SLURM)[0].machines) == 3


def test_the_environment_knows_better_than_an_earlier_run(monkeypatch: pytest.MonkeyPatch, three: Path) -> None:
    placed(monkeypatch, Placement(1, 2, SLURM, "Slurm"))
    assert find(Here(), LOCAL) == (SLURM, 1)
    with pytest.raises(StartError):
        find(Here(three))
    assert find(Here(three, machine=2))[1] == 2, "what is said by hand counts"


def test_where_the_environment_gives_no_addresses_those_of_the_earlier_run_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    placed(monkeypatch, Placement(1, 2, None, "Open MPI"))
    assert find(Here(), SLURM) == (SLURM, 1)
