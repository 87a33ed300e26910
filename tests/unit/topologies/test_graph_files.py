"""Graphs from files: every form gives the same graph, and every mistake is named with its line."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from decentralized.errors import TopologyError
from decentralized.mixing.matrices import adjacency
from decentralized.topologies.edges import undirected
from decentralized.topologies.from_file import Adjacency, EdgeList
from decentralized.types import Graph

RING4 = Graph(((1, 3), (0, 2), (1, 3), (0, 2)))
RING4_ROWS = [[0, 1, 0, 1], [1, 0, 1, 0], [0, 1, 0, 1], [1, 0, 1, 0]]


def edge_list(path: Path, content: str | bytes, nodes: int) -> Graph:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return EdgeList(EdgeList.Config(name="edge-list", path=str(path))).graph(nodes, np.random.default_rng(0))


def adjacency_file(path: Path, content: str | bytes, nodes: int) -> Graph:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return Adjacency(Adjacency.Config(name="adjacency", path=str(path))).graph(nodes, np.random.default_rng(0))


def npy(array: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        "0 1\n1 2\n2 3\n3 0\n",
        "# a ring\n\n0\t1 # first\n1 2\n2 3\n3 0",
        "4\n0 1\r\n1 0\r\n1 2\r\n2 1\r\n2 3\r\n3 0\r\n0 3\r\n",
        b"\xef\xbb\xbf4\n0 1\n1 2\n2 3\n3 0\n",
    ],
)
def test_edge_list(tmp_path: Path, content: str | bytes) -> None:
    assert edge_list(tmp_path / "ring.edges", content, 4) == RING4


def test_edge_list_of_isolated_nodes(tmp_path: Path) -> None:
    assert edge_list(tmp_path / "a", "1\n", 1).targets == ((),)
    assert edge_list(tmp_path / "b", "", 1).targets == ((),)
    assert edge_list(tmp_path / "c", "4\n0 2\n", 4).targets == ((2,), (), (0,), ())


@pytest.mark.parametrize(
    ("content", "nodes", "messages"),
    [
        ("0 1\n# fine\n0 one\n1 2 3\n2 -1\n", 3, ["line 3: .*'0 one'", "line 4: .*'1 2 3'", "line 5: .*'2 -1'"]),
        ("0 1\n1 5\n", 3, ["line 2: node 5: with 3 nodes the last one is 2"]),
        ("0 1\n1 1\n1 2\n", 3, ["line 2: node 1 is joined with itself"]),
        ("8\n0 1\n", 3, ["the file is for 8 nodes, the run has 3"]),
        ("0 1\n", 3, ["highest node in the file is 1, the last of the run 2", 'first line "3"']),
        (b"0 1\n\xff\xfe 2\n", 3, ["line 2: expected two node numbers"]),
        ("a\n" * 30, 3, ["line 10: ", "and 20 more"]),
    ],
)
def test_bad_edge_list(tmp_path: Path, content: str | bytes, nodes: int, messages: list[str]) -> None:
    for message in messages:
        with pytest.raises(TopologyError, match=message) as raised:
            edge_list(tmp_path / "graph.edges", content, nodes)
        assert "graph.edges" in str(raised.value)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("ring.txt", "0 1 0 1\n1 0 1 0\n\n0 1 0 1 # third\n1 0 1 0\n"),
        ("ring.csv", "0,1,0,1\r\n1,0,1,0\r\n0,1,0,1\r\n1,0,1,0\r\n"),
        ("ones-on-the-diagonal.csv", "1;1;0;1\n1;1;1;0\n0;1;1;1\n1;0;1;1"),
        ("ring.json", json.dumps(RING4_ROWS)),
        ("ring.npy", npy(np.array(RING4_ROWS))),
        ("floats.npy", npy(np.array(RING4_ROWS, dtype=np.float32))),
        ("booleans.npy", npy(np.array(RING4_ROWS, dtype=bool))),
    ],
)
def test_adjacency(tmp_path: Path, name: str, content: str | bytes) -> None:
    assert adjacency_file(tmp_path / name, content, 4) == RING4


def test_adjacency_as_numpy_saves_text(tmp_path: Path) -> None:
    content = io.StringIO()
    np.savetxt(content, np.array(RING4_ROWS))
    assert adjacency_file(tmp_path / "ring.txt", content.getvalue(), 4) == RING4


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "0,1\n1,0\n", "the matrix has 2 rows, the run has 3 nodes"),
        ("a.csv", "# three\n0,1,0\n1,0\n0,0,0\n", "line 3: expected 3 entries, found 2"),
        ("a.csv", "0,1,0\n1,0,x\n0,0,0\n", "line 2: expected 0 or 1, found 'x'"),
        ("a.csv", "0,0.5,0\n0.5,0,0\n0,0,0\n", "line 1: expected 0 or 1, found 0.5\nline 2"),
        ("a.csv", "0,nan,0\n1,0,0\n0,0,0\n", "line 1: expected 0 or 1, found nan"),
        ("a.txt", "0 1 1\n1 0 0\n0 0 0\n", "line 1: node 0 is joined with 2, but 2 is not with 0"),
        ("a.npy", npy(np.eye(3, k=1)), "row 1: node 0 is joined with 1, but 1 is not with 0\nrow 2"),
        ("a.npy", npy(np.zeros(3)), r"expected a matrix, found an array of shape \(3,\)"),
        ("a.npy", b"not numpy at all", "not a numpy array of numbers"),
        ("a.npy", b"", "not a numpy array of numbers"),
        ("a.json", "[[0, 1], [1", "not JSON: .*line 1"),
        ("a.json", '{"a": 1}', "expected a list of lists"),
        ("a.json", '[[0, "1", 0], [1, 0, 0], [0, 0, 0]]', "row 1: expected 0 or 1, found '1'"),
        ("a.json", "[[0, [1], 0], [1, 0, 0], [0, 0, 0]]", r"row 1: expected 0 or 1, found \[1\]"),
        ("a.yaml", "", "ends in [.]txt, "),
    ],
)
def test_bad_adjacency(tmp_path: Path, name: str, content: str | bytes, message: str) -> None:
    with pytest.raises(TopologyError, match=message) as raised:
        adjacency_file(tmp_path / name, content, 3)
    assert name in str(raised.value)


def test_pickled_arrays_are_refused(tmp_path: Path) -> None:
    content = io.BytesIO()
    np.save(content, np.array([[0, None], [None, 0]], dtype=object), allow_pickle=True)
    with pytest.raises(TopologyError, match=r"not a numpy array of numbers: .*pickle"):
        adjacency_file(tmp_path / "objects.npy", content.getvalue(), 2)


@pytest.mark.parametrize(
    ("component", "name"), [(EdgeList, "a.edges"), (Adjacency, "a.csv"), (Adjacency, "a.npy"), (Adjacency, "a.json")]
)
def test_missing_file(tmp_path: Path, component: Any, name: str) -> None:
    config = component.Config(name="this", path=str(tmp_path / "absent" / name))
    with pytest.raises(TopologyError, match="cannot be read: No such file") as raised:
        component(config).graph(3, np.random.default_rng(0))
    assert "path in" in raised.value.advice


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), nodes=st.integers(1, 9))
def test_written_and_read_is_the_same_graph(tmp_path: Path, data: st.DataObject, nodes: int) -> None:
    node = st.integers(0, nodes - 1)
    graph = undirected(nodes, data.draw(st.lists(st.tuples(node, node))))
    edges = [f"{i} {j}" for i, targets in enumerate(graph.targets) for j in targets]
    assert edge_list(tmp_path / "g.edges", "\n".join([str(nodes), *edges]), nodes) == graph
    assert adjacency_file(tmp_path / "g.npy", npy(adjacency(graph)), nodes) == graph
    assert adjacency_file(tmp_path / "g.json", json.dumps(adjacency(graph).tolist()), nodes) == graph
