"""The key of all agents: who may read it, and what follows from it."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from decentralized.errors import KeyFileError
from decentralized.transport.security import public_key
from launch.key import RunKey, default_key, default_path


def test_a_key_survives_its_file_which_only_its_owner_reads(tmp_path: Path) -> None:
    path, key = tmp_path / "folder" / "key", RunKey.new()
    key.write(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert RunKey.load(path).text() == key.text() != RunKey.new().text()
    assert [entry.name for entry in path.parent.iterdir()] == ["key"]
    with pytest.raises(FileExistsError):
        RunKey.new().write(path)
    assert RunKey.load(path).text() == key.text()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o610, 0o666])
def test_a_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "key"
    RunKey.new().write(path)
    path.chmod(mode)
    with pytest.raises(KeyFileError, match=f"its mode is {mode:o}") as caught:
        RunKey.load(path)
    assert caught.value.advice == f"chmod 600 {path}"


@pytest.mark.parametrize("text", ["", "secret", "0" * 63, "0" * 65, "g" * 64, "\0" * 64, "\u00e4" * 64])
def test_what_is_no_key_is_refused_and_not_shown(tmp_path: Path, text: str) -> None:
    path = tmp_path / "key"
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")
    with pytest.raises(KeyFileError) as caught:
        RunKey.load(path)
    assert not text or text not in str(caught.value) + caught.value.advice
    with pytest.raises(KeyFileError, match="cannot be read"):
        RunKey.load(tmp_path / "missing")


def test_the_secret_is_not_printed_by_accident() -> None:
    key = RunKey.new()
    assert key.text() not in f"{key} {key!r}"


def test_all_agents_know_each_other_and_nobody_else() -> None:
    key = RunKey.new()
    first, second = key.curve(0, 3), key.curve(1, 3)
    for agent in (first, second):
        assert sorted(agent._nodes.values()) == [0, 1, 2]
    assert first._nodes == second._nodes
    assert not set(first._nodes) & set(RunKey.new().curve(0, 3)._nodes)
    assert all(public_key(text) in first._nodes for text in second._keys.values())
    assert key.token() == RunKey.parse(key.text()).token() != RunKey.new().token()


def test_agents_that_start_at_once_make_one_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(default_key().text())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8 and len(set(found)) == 1
    assert default_path() == tmp_path / "decentralized" / "key"
    assert os.listdir(tmp_path / "decentralized") == ["key"]
