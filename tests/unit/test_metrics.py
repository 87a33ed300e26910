"""The metrics file survives torn lines, resumes and odd numbers."""

from __future__ import annotations

import math
from io import FileIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from decentralized.errors import RunDirectoryError, StorageError
from decentralized.metrics import MetricsFile, read_metrics


def write(path: Path, *records: dict[str, object], length: int | None = None) -> int:
    with MetricsFile(path, length) as metrics:
        for record in records:
            metrics.append(record)
        return metrics.length()


def test_records_come_back_in_order(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    records: list[dict[str, object]] = [{"round": i, "train_loss": i / 3, "kind": "round"} for i in range(20)]
    write(path, *records)
    assert read_metrics(path) == records
    assert path.read_bytes().count(b"\n") == 20


def test_numbers_that_json_has_not(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    write(path, {"a": math.nan, "b": math.inf, "c": np.float32(0.5), "d": np.int64(7), "weights": {3: 0.25}})
    (record,) = read_metrics(path)
    assert math.isnan(record["a"])  # type: ignore[arg-type]
    assert math.isnan(record["b"])  # type: ignore[arg-type]
    assert (record["c"], record["d"], record["weights"]) == (0.5, 7, {"3": 0.25})


def test_every_record_can_be_read_at_once(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    with MetricsFile(path) as metrics:
        for round in range(5):
            metrics.append({"round": round})
            assert len(read_metrics(path)) == round + 1


@given(cut=st.integers(min_value=0, max_value=60))
def test_any_cut_leaves_the_whole_lines(cut: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("cut") / "m.jsonl"
    records: list[dict[str, object]] = [{"round": round} for round in range(5)]
    write(path, *records)
    content = path.read_bytes()[:cut]
    path.write_bytes(content)
    whole = content.count(b"\n")
    assert read_metrics(path) == records[:whole]
    write(path, {"round": 99})  # must not be glued to the torn line
    assert read_metrics(path) == [*records[:whole], {"round": 99}]


def test_a_tail_longer_than_one_read_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_bytes(b'{"round":0}\n' + b"x" * 10_000)
    write(path, {"round": 1})
    assert read_metrics(path) == [{"round": 0}, {"round": 1}]


def test_a_resume_drops_what_the_checkpoint_did_not_count(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    length = write(path, {"round": 1}, {"round": 2})
    write(path, {"round": 3})
    write(path, {"round": 30}, length=length)
    assert [record["round"] for record in read_metrics(path)] == [1, 2, 30]


def test_a_resume_never_invents_bytes(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    length = write(path, {"round": 1})
    with pytest.raises(StorageError, match=r"m\.jsonl"):
        MetricsFile(path, length + 5)
    assert read_metrics(path) == [{"round": 1}]


def test_a_broken_line_in_the_middle_is_named(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_bytes(b'{"round":0}\n{"rou\n{"round":2}\n')
    with pytest.raises(RunDirectoryError, match=r"m\.jsonl, line 2"):
        read_metrics(path)


@pytest.mark.parametrize("line", [b'{"round":', b"\0\0\0\0", b"[1]", b'"\xff"'])
def test_a_broken_last_line_is_skipped(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "m.jsonl"
    for end in (b"", b"\n"):
        path.write_bytes(b'{"round":0}\n' + line + end)
        assert read_metrics(path) == [{"round": 0}]


def test_no_file_has_no_records(tmp_path: Path) -> None:
    assert read_metrics(tmp_path / "none.jsonl") == []


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="missing"):
        MetricsFile(tmp_path / "missing" / "m.jsonl")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a disk without space")
def test_a_full_disk_is_a_storage_error(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    metrics = MetricsFile(path)
    metrics._file.close()
    metrics._file = FileIO("/dev/full", "ab")
    with pytest.raises(StorageError, match="No space left"):
        metrics.append({"round": 1})
    metrics.close()
