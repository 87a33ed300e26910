"""Machines, their addresses, and which nodes run where."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decentralized.errors import ConfigError
from launch import ip_map
from launch.ip_map import IpMap, Machine

MAPS = Path(__file__).parents[3] / "ip_maps"


def written(folder: Path, content: object) -> Path:
    path = folder / "map.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.mark.parametrize("path", sorted(MAPS.glob("*.json")), ids=lambda path: path.name)
def test_shipped_maps_are_read_and_written_back(path: Path, tmp_path: Path) -> None:
    machines = ip_map.load(path)
    assert ip_map.load(written(tmp_path, machines.dump())) == machines


def test_an_address_alone_is_enough(tmp_path: Path) -> None:
    machines = ip_map.load(written(tmp_path, {"1": "b", "0": "a", "2": {"host": "::1", "port": 7}}))
    assert [machines.agent_address(machine) for machine in range(3)] == [
        "tcp://a:29400",
        "tcp://b:29401",
        "tcp://[::1]:7",
    ]


counts = st.lists(st.none() | st.integers(0, 30), min_size=1, max_size=8)


@given(counts=counts, spare=st.integers(0, 60))
def test_every_node_runs_on_exactly_one_machine(counts: list[int | None], spare: int) -> None:
    fixed = sum(count or 0 for count in counts)
    nodes = max(1, fixed + (spare if None in counts else 0))
    machines = IpMap(tuple(Machine(host="h", nodes=count) for count in counts))
    if None not in counts and nodes != fixed:
        return
    shares = machines.split(nodes)
    assert [node for share in shares for node in share] == list(range(nodes))
    for count, share in zip(counts, shares, strict=True):
        assert count is None or len(share) == count
    free = [len(share) for count, share in zip(counts, shares, strict=True) if count is None]
    assert not free or max(free) - min(free) <= 1


@pytest.mark.parametrize(("counts", "nodes"), [((3, 4), 8), ((3, 4), 6), ((3, None), 2)])
def test_a_map_that_does_not_fit_the_nodes(counts: tuple[int | None, ...], nodes: int) -> None:
    machines = IpMap(tuple(Machine(host="h", nodes=count) for count in counts))
    with pytest.raises(ConfigError, match=f"the configuration has nodes = {nodes}"):
        machines.split(nodes)


def test_ports_are_counted_for_each_host() -> None:
    machines = IpMap((Machine(host="a"), Machine(host="a"), Machine(host="b")))
    machines.check_ports(9, (5000, 5005))  # host a has six nodes
    machines.check_ports(9, None)
    with pytest.raises(ConfigError, match=r"\[5000, 5004\] are 5 ports, and a has 6 nodes"):
        machines.check_ports(9, (5000, 5004))


WRONG = [
    ("{", "map.json:1: not JSON: "),
    ('{\n"0": "a",\n}', "map.json:3: not JSON: "),
    ([], "map.json: expected machine ids and addresses"),
    ({}, "map.json: expected machine ids and addresses"),
    ('{"0": "a", "0": "b"}', 'map.json: "0" is given twice'),
    ({"1": "a"}, "map.json: machine ids are 1; expected 0"),
    ({"0": "a", "2": "b"}, "map.json: machine ids are 0, 2; expected 0, 1"),
    ({"0": ""}, "map.json: machine 0: 'host' should not be empty"),
    ({"0": 3}, 'map.json: machine 0: should be an address or an object with "host", not 3'),
    ({"0": {"port": 3}}, "map.json: machine 0: 'host' is missing"),
    ({"0": {"host": "a", "ports": 3}}, "map.json: machine 0: unknown key 'ports'; did you mean 'port'?"),
    ({"0": {"host": "a", "port": 65536}}, "map.json: machine 0: 'port' should be less than 65536, not 65536"),
    ({"0": {"host": "a", "port": "80"}}, "map.json: machine 0: 'port' should be a whole number, not '80'"),
    ({"0": {"host": "a", "nodes": True}}, "map.json: machine 0: 'nodes' should be a whole number, not true"),
    ({"0": {"host": "a", "port": 7}, "1": {"host": "a", "port": 7}}, "map.json: machines 0 and 1 both have tcp://a:7"),
]


@pytest.mark.parametrize(("content", "told"), WRONG, ids=[told for _, told in WRONG])
def test_a_mistake_in_a_map(tmp_path: Path, content: object, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ip_map.load(written(tmp_path, content))
    (line,) = caught.value.mistakes
    assert line.startswith(f"{tmp_path}/{told}")


def test_all_mistakes_in_a_map_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        ip_map.load(written(tmp_path, {"0": 1, "1": {"host": "b", "port": 0, "nodes": -1}}))
    assert len(caught.value.mistakes) == 3


def test_a_map_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        ip_map.load(tmp_path / "map.json")
