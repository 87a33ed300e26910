"""File names of a run, and writes that are whole or not at all."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from decentralized.errors import RunDirectoryError, StorageError
from decentralized.run_directory import RunDirectory, write_atomically


def test_the_layout_of_the_design(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    files = (run.config, run.ip_map, run.topology, run.environment, run.summary, run.report, run.plots)
    assert [file.relative_to(tmp_path).as_posix() for file in files] == [
        "config.toml",
        "ip_map.json",
        "topology.json",
        "environment.json",
        "summary.json",
        "report.html",
        "plots",
    ]
    node, agent = run.node(7), run.agent(0)
    paths = (node.metrics, node.log, node.checkpoint, node.model, agent.events, agent.log)
    assert [path.relative_to(tmp_path).as_posix() for path in paths] == [
        "nodes/0007/metrics.jsonl",
        "nodes/0007/log.txt",
        "nodes/0007/checkpoint",
        "nodes/0007/model.safetensors",
        "agents/00/events.jsonl",
        "agents/00/log.txt",
    ]


def test_the_name_holds_the_moment_and_the_id(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "runs", "movielens-topk", "ab12")
    assert re.fullmatch(r"movielens-topk-\d{8}-\d{6}-ab12", run.path.name)
    assert run.path.is_dir()


@pytest.mark.parametrize("name", ["../../etc", "a/b\\c", "ä ö\n", "", "..", "-x", "x" * 1000, 'a"b:c*?'])
def test_any_name_gives_one_safe_folder(tmp_path: Path, name: str) -> None:
    run = RunDirectory.create(tmp_path, name, "1")
    assert run.path.parent == tmp_path
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", run.path.name)


def test_a_run_is_never_made_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = RunDirectory.create(tmp_path, "x", "1")
    monkeypatch.setattr("decentralized.run_directory.datetime", _Frozen(first.path.name))
    with pytest.raises(StorageError, match=r"File exists"):
        RunDirectory.create(tmp_path, "x", "1")
    assert RunDirectory.join(first.path).path == first.path


class _Frozen:
    """Stands for datetime: the moment in a folder name, for ever."""

    def __init__(self, folder: str) -> None:
        self._moment = "-".join(folder.split("-")[1:3])

    def now(self) -> _Frozen:
        return self

    def strftime(self, form: str) -> str:
        return self._moment


def test_nodes_are_listed_in_order_and_nothing_else(tmp_path: Path) -> None:
    run = RunDirectory.join(tmp_path)
    assert run.nodes() == []
    for node in (12, 3, 10_001):
        run.node(node).make().make()
    (tmp_path / "nodes" / "notes").mkdir()
    (tmp_path / "nodes" / "0005").write_text("a file")
    assert run.nodes() == [3, 12, 10_001]
    run.agent(2).make()
    assert run.agents() == [2]


def test_what_is_no_run_is_refused_with_advice(tmp_path: Path) -> None:
    with pytest.raises(RunDirectoryError, match="does not exist"):
        RunDirectory.open(tmp_path / "none")
    with pytest.raises(RunDirectoryError, match="is not the folder of a run"):
        RunDirectory.open(tmp_path)
    older, newer = tmp_path / "older", tmp_path / "newer"
    for moment, path in enumerate((older, newer), start=1):
        RunDirectory.join(path).config.write_text("")
        os.utime(path, (moment, moment))
    with pytest.raises(RunDirectoryError) as caught:
        RunDirectory.open(tmp_path)
    assert str(newer) in caught.value.advice
    assert RunDirectory.open(newer).path == newer


def test_a_write_replaces_the_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    write_atomically(path, b"a long first content")
    write_atomically(path, b"short")
    assert path.read_bytes() == b"short"
    assert [entry.name for entry in tmp_path.iterdir()] == ["summary.json"]


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "summary.json"
    write_atomically(path, b"old")

    def no_space(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(StorageError, match=r"summary\.json: No space left on device"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["summary.json"]


def test_a_missing_folder_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="none"):
        write_atomically(tmp_path / "none" / "x", b"")
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="file"):
        RunDirectory(tmp_path / "file").node(0).make()
