"""The check-points of one node: one safetensors file each, which is written whole or not at all.

A file is the length of its header (8 bytes), the header (JSON) and the arrays, as any reader of safetensors expects.
The header begins with the format's number and a digest over the check-point's number and every byte of the file but
the digest's own, so that no damage goes unseen; the text of the state tree is the third entry of `__metadata__`.

The files are written here and not by the safetensors library, which in older versions copies all arrays, and whose file
cannot be flushed before it is closed. They are read by the library, after the digest has been compared.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import psutil
import safetensors

from decentralized.errors import CheckpointBroken, StateError
from decentralized.state_tree import flatten, unflatten
from decentralized.storage import storage_error
from decentralized.types import State

FORMAT = "1"
DIGEST_BYTES = 32
BLOCK = 1024 * 1024  # bytes read at a time
MAX_HEADER_BYTES = 100_000_000  # what readers of safetensors accept

_DTYPES = {
    "|b1": "BOOL",
    "|u1": "U8",
    "|i1": "I8",
    "<u2": "U16",
    "<i2": "I16",
    "<f2": "F16",
    "<u4": "U32",
    "<i4": "I32",
    "<f4": "F32",
    "<u8": "U64",
    "<i8": "I64",
    "<f8": "F64",
}
_START = re.compile(rb'.{8}\{"__metadata__":\{"format":"(\d{1,9})","digest":"([0-9a-f]{64})"', re.DOTALL)
_START_BYTES = 160  # more than _START matches
_FILE = re.compile(r"(?!0+\.)([0-9]{10}|[1-9][0-9]{10,14})\.safetensors")
_TEMPORARY = re.compile(r"\.[0-9]{10,15}\.safetensors\.([0-9]{1,9})-[0-9a-f]{12}\.tmp")  # of the process with this id


def write(folder: Path, number: int, state: State) -> int:
    """Write check-point `number` (from 1) and return its bytes. When this returns, it survives a power cut.

    Raises StateError for a state that cannot be kept, and StorageError for a disk that does not take it; an older file
    of that number is then still whole.
    """
    if number < 1:
        raise ValueError(f"check-points are numbered from 1, not {number}")
    parts = _file(number, *flatten(state))
    path = _path(folder, number)
    temporary = folder / f".{path.name}.{os.getpid()}-{secrets.token_hex(6)}.tmp"
    try:
        folder.mkdir(exist_ok=True)  # not its parents: a run directory that was removed must not come back in part
        with open(temporary, "xb") as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(folder)
    except OSError as error:
        raise storage_error("write", path, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)  # it is there only if something went wrong
    return sum(len(part) for part in parts)


def read(folder: Path, number: int) -> State:
    """The state in check-point `number`; raises CheckpointBroken."""
    path = _path(folder, number)
    _verify(path, number)
    try:
        with safetensors.safe_open(path, framework="np") as file:
            names = list(file.keys())
            other = {file.get_slice(name).get_dtype() for name in names} - set(_DTYPES.values())
            if other:
                raise StateError(f"arrays of {', '.join(sorted(other))}")
            text = (file.metadata() or {}).get("state", "")
            return unflatten(text, {name: file.get_tensor(name) for name in names})
    except (OSError, ValueError, safetensors.SafetensorError, StateError) as error:
        raise CheckpointBroken(f"{path} cannot be read: {error}") from error


def is_good(folder: Path, number: int) -> bool:
    """Whether check-point `number` is there and undamaged."""
    try:
        _verify(_path(folder, number), number)
    except CheckpointBroken:
        return False
    return True


def numbers(folder: Path) -> list[int]:
    """The check-points that are there by their names, in increasing order."""
    return sorted(int(match[1]) for name in _names(folder) if (match := _FILE.fullmatch(name)))


def prune(folder: Path, keep_from: int) -> None:
    """Delete the check-points below `keep_from`, and what writers that have died left; raises StorageError."""
    doomed = [_path(folder, number) for number in numbers(folder) if number < keep_from]
    for name in _names(folder):
        match = _TEMPORARY.fullmatch(name)
        if match and not psutil.pid_exists(int(match[1])):
            doomed.append(folder / name)
    for path in doomed:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise storage_error("delete", path, error) from error


def _path(folder: Path, number: int) -> Path:
    return folder / f"{number:010d}.safetensors"


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise storage_error("list", folder, error) from error


def _file(number: int, text: str, arrays: Mapping[str, np.ndarray]) -> Sequence[bytes | memoryview]:
    """The parts of a file, one after the other; those of arrays view the arrays."""
    names = sorted(arrays, key=lambda name: (-arrays[name].itemsize, name))  # so each is aligned for its type
    header: dict[str, object] = {
        "__metadata__": {"format": FORMAT, "digest": "0" * 2 * DIGEST_BYTES, "state": text},
    }
    offset = 0
    for name in names:
        array, start = arrays[name], offset
        offset += array.nbytes
        header[name] = {"dtype": _DTYPES[array.dtype.str], "shape": array.shape, "data_offsets": [start, offset]}
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)
    if len(encoded) > MAX_HEADER_BYTES:
        raise StateError(f"the state has {len(encoded)} bytes beside its arrays, more than a check-point can hold")
    start_of_file = len(encoded).to_bytes(8, "little") + encoded
    data = [arrays[name].reshape(-1).view(np.uint8).data for name in names]
    return [_with_digest(number, start_of_file, data), *data]


def _with_digest(number: int, start: bytes, data: Sequence[memoryview]) -> bytes:
    match = _START.match(start)
    if match is None:
        raise RuntimeError("a check-point does not begin as it should")
    before, after = start[: match.start(2)], start[match.end(2) :]
    digest = _digest(number)
    digest.update(before)
    digest.update(after)
    for part in data:
        digest.update(part)
    return before + digest.hexdigest().encode() + after


def _verify(path: Path, number: int) -> None:
    """Raises CheckpointBroken unless every byte is as it was written."""
    if not path.is_file():
        raise CheckpointBroken(f"{path} is missing")
    try:
        with open(path, "rb") as file:
            start = file.read(_START_BYTES)
            match = _START.match(start)
            if match is None:
                raise CheckpointBroken(f"{path} is torn, or no check-point")
            if match[1] != FORMAT.encode():
                raise CheckpointBroken(
                    f"{path} has format {match[1].decode()}; this version reads format {FORMAT}",
                    advice="Resume with the version of this package that wrote it.",
                )
            digest = _digest(number)
            digest.update(start[: match.start(2)])
            digest.update(start[match.end(2) :])
            while block := file.read(BLOCK):
                digest.update(block)
    except OSError as error:
        raise CheckpointBroken(f"{path} cannot be read: {error.strerror or error}") from error
    if digest.hexdigest().encode() != match[2]:
        raise CheckpointBroken(f"{path} is torn or damaged, or not the one with this number: its digest does not fit")


def _digest(number: int) -> hashlib.blake2b:
    return hashlib.blake2b(b"%d" % number, digest_size=DIGEST_BYTES)


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":  # elsewhere a folder cannot be opened; the rename alone must do
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
