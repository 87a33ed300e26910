"""Running the program in this process."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from launch import cli

ROOT = Path(__file__).parents[3]
DEMO = str(ROOT / "configs" / "demo.toml")


@dataclass
class Done:
    """What a call of the program printed, and its exit code."""

    code: int
    out: str
    err: str


Decentralized = Callable[..., Done]


@pytest.fixture
def decentralized(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Decentralized:
    """`decentralized("data", "list")` in an empty folder with a very long name, on a terminal of 80 columns."""
    folder = tmp_path / ("a-folder-with-a-long-name-" * 4)
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("DECENTRALIZED_DATA", raising=False)
    monkeypatch.setattr(sys, "path", [*sys.path])

    def call(*arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["decentralized", *arguments])
        with pytest.raises(SystemExit) as left:
            cli.main()
        printed = capsys.readouterr()
        return Done(int(left.value.code or 0), printed.out, printed.err)

    return call
