"""`status` reads a run from its files: running, dead or ended."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path

import pytest

from decentralized.errors import RunDirectoryError
from decentralized.metrics import MetricsFile
from decentralized.run_directory import RunDirectory
from launch.commands.status import status


def a_run(path: Path, pid: int) -> RunDirectory:
    """Three nodes in rounds 4, 2 and 3, and an agent with this process id."""
    directory = RunDirectory.join(path)
    directory.config.write_text("")
    for node, last in enumerate((4, 2, 3)):
        with MetricsFile(directory.node(node).make().metrics) as metrics:
            for round in range(1, last + 1):
                metrics.append({"kind": "round", "round": round, "bytes_sent": 1000 * round})
    with MetricsFile(directory.agent(0).make().events) as events:
        events.append({"event": "start", "host": platform.node(), "pid": pid})
    return directory


def test_a_running_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status(a_run(tmp_path / "run", os.getpid()).path)
    output = capsys.readouterr().out
    assert "running" in output and "3 nodes, rounds 2 to 4, 9 kB sent" in output
    rows = [line.split()[:2] for line in output.splitlines() if line.strip()[:1].isdigit()]
    assert rows[-3:] == [["1", "2"], ["2", "3"], ["0", "4"]]  # the slowest first


def test_a_torn_line_is_skipped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = a_run(tmp_path / "run", os.getpid())
    with directory.node(0).metrics.open("ab") as file:
        file.write(b'{"kind":"round","rou')
    status(directory.path)
    assert "rounds 2 to 4" in capsys.readouterr().out


def test_a_dead_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status(a_run(tmp_path / "run", 2**22 + 1).path)  # above the largest process id of Linux
    assert "dead" in capsys.readouterr().out


def test_a_failed_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = a_run(tmp_path / "run", os.getpid())
    directory.summary.write_text(json.dumps({"outcome": "failed", "message": "node 3 failed\nits log: x"}))
    status(directory.path)
    assert "failed: node 3 failed\n" in capsys.readouterr().out


def test_no_run(tmp_path: Path) -> None:
    with pytest.raises(RunDirectoryError):
        status(tmp_path / "nothing")
