"""Unpack an archive without trusting it: no path that leads outside, no links, no more bytes than announced."""

from __future__ import annotations

import stat
import tarfile
import zipfile
import zlib
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, TypeAlias

from decentralized.data.cards import Download
from decentralized.data.download import writing
from decentralized.errors import DownloadError

CHUNK = 1 << 20  # bytes

Members: TypeAlias = Generator[tuple[str, IO[bytes]], None, None]  # the name and the content of each file


@contextmanager
def _reading(archive: Path) -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
        raise DownloadError(f"{archive}: cannot be unpacked: {error}", "Fetch the data set again.") from error


def _tar_members(archive: Path) -> Members:
    with tarfile.open(archive, "r:gz") as tar:
        for member in tar:
            if member.isdir():
                continue
            stream = tar.extractfile(member) if member.isreg() else None
            if stream is None:
                raise DownloadError(f"{archive}: {member.name!r} is a link or a device; nothing was unpacked")
            with stream:
                yield member.name, stream


def _zip_members(archive: Path) -> Members:
    with zipfile.ZipFile(archive) as zipped:
        for member in zipped.infolist():
            if member.is_dir():
                continue
            if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG):  # the upper half is the Unix mode
                raise DownloadError(f"{archive}: {member.filename!r} is a link or a device; nothing was unpacked")
            with zipped.open(member) as stream:
                yield member.filename, stream


def _safe(archive: Path, name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or not path.parts:
        raise DownloadError(f"{archive}: {name!r} leads outside the folder; nothing was unpacked")
    return path


def _copy(archive: Path, stream: IO[bytes], target: Path, allowance: int) -> int:
    """Write one member, at most `allowance` bytes; returns its size."""
    size = 0
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as file:
            while True:
                with _reading(archive):
                    piece = stream.read(CHUNK)
                if not piece:
                    return size
                size += len(piece)
                if size > allowance:
                    raise DownloadError(f"{archive}: unpacks to more than its card allows; nothing was unpacked")
                file.write(piece)


def unpack(source: Download, archive: Path, target: Path) -> None:
    """Unpack what lies under `source.inside` into the empty folder `target`.

    Raises DownloadError for an archive that is broken, too large, or has a member that leads outside or is a link, and
    StorageError when the disk is full. What is in `target` then is to be thrown away.
    """
    left = source.unpacks_to
    inside = PurePosixPath(source.inside or ".")
    with closing(_tar_members(archive) if source.unpack == "tar.gz" else _zip_members(archive)) as members:
        while True:
            with _reading(archive):
                member = next(members, None)
            if member is None:
                return
            path = _safe(archive, member[0])
            if path.is_relative_to(inside):
                left -= _copy(archive, member[1], target / path.relative_to(inside), left)
