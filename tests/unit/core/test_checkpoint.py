"""Files of check-points: whole or not there, and no damage goes unseen."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import torch
from hypothesis import given
from hypothesis import strategies as st

from decentralized import checkpoint
from decentralized.errors import CheckpointBroken, StateError, StorageError
from decentralized.state_tree import DTYPES

STATE = {
    "learner": {"vector": torch.arange(5.0), "step": 3, "flags": np.array([True, False]), "empty": np.zeros((0, 2))},
    "generator": {"state": 2**127 + 5, "nan": float("nan")},
    "scalar": torch.tensor(2.5, dtype=torch.float64),
}


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of check-point 7."""
    folder = tmp_path_factory.mktemp("good")
    checkpoint.write(folder, 7, STATE)
    return (folder / "0000000007.safetensors").read_bytes()


def put(folder: Path, data: bytes, number: int = 7) -> Path:
    path = folder / f"{number:010d}.safetensors"
    path.write_bytes(data)
    return path


def test_there_and_back(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"  # is made
    size = checkpoint.write(folder, 12, STATE)
    assert size == (folder / "0000000012.safetensors").stat().st_size
    assert checkpoint.is_good(folder, 12)
    back: Any = checkpoint.read(folder, 12)
    assert torch.equal(back["learner"]["vector"], torch.arange(5.0)) and back["scalar"].shape == ()
    assert back["generator"]["state"] == 2**127 + 5 and back["learner"]["empty"].shape == (0, 2)
    assert [path.name for path in folder.iterdir()] == ["0000000012.safetensors"]


def test_what_was_read_is_not_the_file(tmp_path: Path) -> None:
    checkpoint.write(tmp_path, 1, STATE)
    back: Any = checkpoint.read(tmp_path, 1)
    back["learner"]["vector"] += 1
    assert checkpoint.is_good(tmp_path, 1)


def test_any_reader_of_safetensors_can_read_it(tmp_path: Path) -> None:
    arrays = {f"a{number}": np.arange(number).astype(dtype) for number, dtype in enumerate(sorted(DTYPES))}
    checkpoint.write(tmp_path, 1, {**arrays, "scalar": np.array(3.0)})
    data = (tmp_path / "0000000001.safetensors").read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    for name, made in arrays.items():  # for readers that map the file
        assert (start + header[name]["data_offsets"][0]) % made.itemsize == 0
    found = safetensors.numpy.load(data)
    assert set(found) == {*arrays, "scalar"} and found["scalar"].shape == ()
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype and np.array_equal(found[name], array)
    with safetensors.safe_open(tmp_path / "0000000001.safetensors", "np") as file:
        assert set(file.metadata()) == {"format", "digest", "state"}


def test_every_truncation_is_found(good: bytes, tmp_path: Path) -> None:
    for length in range(len(good)):
        put(tmp_path, good[:length])
        with pytest.raises(CheckpointBroken):
            checkpoint.read(tmp_path, 7)
    assert not checkpoint.is_good(tmp_path, 7)


@given(data=st.data())
def test_every_changed_byte_is_found(
    good: bytes, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.getbasetemp()
    at, flip = data.draw(st.integers(0, len(good) - 1)), data.draw(st.integers(1, 255))
    put(folder, good[:at] + bytes([good[at] ^ flip]) + good[at + 1 :])
    assert not checkpoint.is_good(folder, 7)
    with pytest.raises(CheckpointBroken):
        checkpoint.read(folder, 7)


def test_bytes_at_the_end_are_found(good: bytes, tmp_path: Path) -> None:
    put(tmp_path, good + b"\0")
    assert not checkpoint.is_good(tmp_path, 7)


def test_a_missing_and_a_renamed_one(good: bytes, tmp_path: Path) -> None:
    with pytest.raises(CheckpointBroken, match="is missing"):
        checkpoint.read(tmp_path, 7)
    assert not checkpoint.is_good(tmp_path, 7)
    put(tmp_path, good, number=8)
    with pytest.raises(CheckpointBroken, match="not the one with this number"):
        checkpoint.read(tmp_path, 8)
    (tmp_path / "0000000009.safetensors").mkdir()
    assert not checkpoint.is_good(tmp_path, 9)


def test_another_format_says_so(good: bytes, tmp_path: Path) -> None:
    put(tmp_path, good.replace(b'"format":"1"', b'"format":"2"'))
    with pytest.raises(
        CheckpointBroken, match=r"0000000007\.safetensors has format 2; this version reads format 1"
    ) as e:
        checkpoint.read(tmp_path, 7)
    assert "version" in e.value.advice


def forged(header: dict[str, Any], data: bytes = b"") -> bytes:
    """A file whose digest fits, whatever is in it."""
    metadata = {"format": "1", "digest": "0" * 64, **header.pop("__metadata__", {})}
    text = json.dumps({"__metadata__": metadata, **header}, separators=(",", ":")).encode()
    start = len(text).to_bytes(8, "little") + text
    digest = hashlib.blake2b(b"7" + start.replace(b"0" * 64, b"", 1) + data, digest_size=32)
    return start.replace(b"0" * 64, digest.hexdigest().encode(), 1) + data


def array(dtype: str = "F32", shape: Any = (2,), offsets: Any = (0, 8)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


NOTHING = {"state": '{"dict":[]}'}
X = {"state": '{"dict":[["x",{"array":"x"}]]}'}


@pytest.mark.parametrize(
    "hostile",
    [
        forged({}),
        forged({"__metadata__": {"state": "nonsense"}}),
        forged({"__metadata__": {"state": "[" * 100_000}}),
        forged({"__metadata__": NOTHING}, b"12345678"),
        forged({"__metadata__": X}),
        forged({"__metadata__": NOTHING, "x": array()}, b"12345678"),
        forged({"__metadata__": X, "x": array(shape=(3,))}, b"12345678"),
        forged({"__metadata__": X, "x": array(shape=(2**62, 2**62))}, b"12345678"),
        forged({"__metadata__": X, "x": array(offsets=(0, 2**60))}, b"12345678"),
        forged({"__metadata__": X, "x": array(offsets=(4, 12))}, b"12345678"),
        forged({"__metadata__": X, "x": array(shape=(2, *[1] * 100))}, b"12345678"),
        forged({"__metadata__": X, "x": array("BF16", (4,))}, b"12345678"),
        forged({"__metadata__": X, "x": array("OBJECT")}, b"12345678"),
        forged({"__metadata__": X, "x": array(), "y": array()}, b"12345678"),
    ],
)
def test_hostile_files_with_a_fitting_digest(hostile: bytes, tmp_path: Path) -> None:
    put(tmp_path, hostile)
    assert checkpoint.is_good(tmp_path, 7)
    with pytest.raises(CheckpointBroken, match=r"0000000007\.safetensors cannot be read"):
        checkpoint.read(tmp_path, 7)


def test_a_forged_file_without_mistakes_is_read(tmp_path: Path) -> None:
    put(tmp_path, forged({"__metadata__": X, "x": array()}, b"12345678"))
    state: Any = checkpoint.read(tmp_path, 7)
    assert state["x"].tobytes() == b"12345678"


def failing(*arguments: object) -> None:
    raise OSError(28, "No space left on device")


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """No file of this process may become larger."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file(step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint.write(tmp_path, 3, STATE)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with monkeypatch.context() as patched:
        patched.setattr(os, step, failing)
        for number in (3, 4):
            with pytest.raises(StorageError, match=r"could not write .*0000000.*No space"):
                checkpoint.write(tmp_path, number, {"other": 1})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_disk_that_takes_a_part(tmp_path: Path) -> None:
    checkpoint.write(tmp_path, 3, STATE)
    with largest_file(4096), pytest.raises(StorageError, match="too large"):
        checkpoint.write(tmp_path, 4, {"vector": torch.zeros(100_000)})
    assert checkpoint.numbers(tmp_path) == [3] and len(list(tmp_path.iterdir())) == 1


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="could not write"):
        checkpoint.write(tmp_path / "file" / "checkpoint", 1, STATE)


def test_what_cannot_be_kept_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="state/learner: a set"):
        checkpoint.write(tmp_path, 1, {"learner": {1, 2}})
    with pytest.raises(ValueError, match="numbered from 1"):
        checkpoint.write(tmp_path, 0, STATE)
    assert not list(tmp_path.iterdir())


def test_numbers_and_pruning_know_only_their_own_names(tmp_path: Path) -> None:
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    left, alive = f".0000000002.safetensors.{dead.stdout.strip()}-0123456789ab.tmp", os.getpid()
    others = {
        "notes.txt",
        "model.safetensors",
        "1.safetensors",
        "0000000000.safetensors",
        "00000000001.safetensors",
        "0000000001.safetensors.bak",
        f"{chr(0x661) * 10}.safetensors",  # digits, but not those of ASCII
        f".0000000002.safetensors.{alive}-0123456789ab.tmp",
        ".0000000002.safetensors.tmp",
    }
    for name in {*others, left}:
        (tmp_path / name).touch()
    for number in (2, 10, 9, 10**10):
        checkpoint.write(tmp_path, number, {})
    assert checkpoint.numbers(tmp_path) == [2, 9, 10, 10**10]
    checkpoint.prune(tmp_path, 10)
    assert checkpoint.numbers(tmp_path) == [10, 10**10]
    assert {path.name for path in tmp_path.iterdir()} == {
        *others,
        "0000000010.safetensors",
        "10000000000.safetensors",
    }


def test_a_folder_that_is_not_there_holds_none(tmp_path: Path) -> None:
    assert checkpoint.numbers(tmp_path / "none") == []
    checkpoint.prune(tmp_path / "none", 5)


def test_looking_at_check_points_needs_no_torch(tmp_path: Path) -> None:
    checkpoint.write(tmp_path, 5, STATE)
    program = (
        "import sys, pathlib; from decentralized import checkpoint; folder = pathlib.Path(sys.argv[1]);"
        "print(checkpoint.numbers(folder), checkpoint.is_good(folder, 5), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True)
    assert done.stdout.split("\n")[0] == "[5] True False", done.stderr
