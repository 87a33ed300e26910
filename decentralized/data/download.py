"""One address becomes one checked file. A broken download is resumed; nothing waits for ever."""

from __future__ import annotations

import http.client
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from decentralized import __version__
from decentralized.data.cards import Download
from decentralized.data.verify import size_and_checksum
from decentralized.errors import DownloadError, StorageError

CHUNK = 1 << 16  # bytes
LONGEST_PAUSE_S = 30.0
TOO_BUSY = {408, 429, 500, 502, 503, 504}  # answers after which a second try can succeed
RANGE_NOT_SATISFIABLE = 416


@dataclass(frozen=True)
class Patience:
    """How long to wait for a silent server, and how often to try again."""

    silence_s: float = 30.0
    attempts: int = 5
    pause_s: float = 1.0  # before the second attempt; doubles from there


class _BrokenOff(Exception):
    """This attempt failed, the next one may succeed."""


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn a full disk, and any other failure to write, into a StorageError that names the file."""
    try:
        yield
    except OSError as error:
        advice = "Free space on that disk, or choose another data root."
        raise StorageError(f"{path}: cannot be written: {error.strerror or error}", advice) from error


def download(source: Download, part: Path, progress: Callable[[int], None], patience: Patience) -> None:
    """Bring the file `part` to the whole content of `source`, going on from what it already holds.

    `progress` gets the number of bytes that are there. Raises DownloadError when the server refuses, when all attempts
    failed (`part` stays, for the next time) or when the content is wrong (`part` is deleted), and StorageError when
    the disk is full.
    """
    reason = ""
    for attempt in range(patience.attempts):
        if attempt:
            time.sleep(min(patience.pause_s * 2 ** (attempt - 1), LONGEST_PAUSE_S))
        try:
            _receive(source, part, progress, patience.silence_s)
        except _BrokenOff as error:
            reason = str(error)
        else:
            _check(source, part)
            return
    raise DownloadError(
        f"{source.url}: {reason} ({patience.attempts} attempts)",
        f"Try again later: it goes on from the {_kept(part)} of {source.size} bytes that are here.",
    )


def _kept(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _version_file(part: Path) -> Path:
    """Holds the server's tag for the version of the content that `part` is a part of."""
    return part.with_name(part.name + ".version")


def discard(part: Path) -> None:
    """Delete a partial file."""
    part.unlink(missing_ok=True)
    _version_file(part).unlink(missing_ok=True)


def _check(source: Download, part: Path) -> None:
    algorithm, expected = source.checksum
    size, found = size_and_checksum(part, algorithm)
    if (size, found) != (source.size, expected):
        discard(part)
        raise DownloadError(
            f"{source.url}: {size} bytes with {algorithm} {found}, expected {source.size} bytes with {expected}",
            "Fetch again; if it stays so, the owner has changed the file and the card must be brought up to date.",
        )


def _receive(source: Download, part: Path, progress: Callable[[int], None], silence_s: float) -> None:
    """One attempt."""
    kept = _kept(part)
    if kept == source.size:
        return
    if kept > source.size:
        discard(part)
        kept = 0
    with _connect(source, part, kept, silence_s) as response:
        done = _first_byte(source, part, kept, response)
        with writing(part), _open_part(part, append=done > 0) as file:
            if not done:
                _version_file(part).write_text(_version(response), encoding="utf-8")
            progress(done)
            while done < source.size:
                piece = _read(response, min(CHUNK, source.size - done))
                if not piece:
                    raise _BrokenOff(f"the connection ended after {done} of {source.size} bytes")
                file.write(piece)
                done += len(piece)
                progress(done)


def _open_part(part: Path, append: bool) -> BinaryIO:
    return part.open("ab" if append else "wb")


def _opener() -> urllib.request.OpenerDirector:
    """Web addresses only, also after a redirection: no files, no ftp."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPErrorProcessor,
        urllib.request.UnknownHandler,
    ):
        opener.add_handler(handler())
    return opener


def _connect(source: Download, part: Path, kept: int, silence_s: float) -> http.client.HTTPResponse:
    request = urllib.request.Request(source.url, headers={"User-Agent": f"decentralized/{__version__}"})
    if kept:
        request.add_header("Range", f"bytes={kept}-")
        version = _version_file(part)
        if version.exists() and (tag := version.read_text(encoding="utf-8")):
            request.add_header("If-Range", tag)  # another version now: the server sends the whole
    try:
        response: http.client.HTTPResponse = _opener().open(request, timeout=silence_s)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == RANGE_NOT_SATISFIABLE:
            discard(part)
        if error.code in TOO_BUSY or error.code == RANGE_NOT_SATISFIABLE:
            raise _BrokenOff(f"the server answers {error.code} {error.reason}") from error
        raise DownloadError(
            f"{source.url}: the server answers {error.code} {error.reason}",
            "Look at the address in a browser; the owner may have moved the file.",
        ) from error
    except (OSError, http.client.HTTPException) as error:
        raise _BrokenOff(_reason(error)) from error
    return response


def _read(response: http.client.HTTPResponse, most: int) -> bytes:
    try:
        return response.read1(most)
    except (OSError, http.client.HTTPException) as error:
        raise _BrokenOff(_reason(error)) from error


def _reason(error: Exception) -> str:
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, TimeoutError):
        return "the server went silent"
    return f"no connection: {cause}"


def _version(response: http.client.HTTPResponse) -> str:
    tag: str = response.headers.get("ETag", "")
    if tag and not tag.startswith("W/"):  # a weak tag does not promise equal bytes
        return tag
    date: str = response.headers.get("Last-Modified", "")
    return date


def _first_byte(source: Download, part: Path, kept: int, response: http.client.HTTPResponse) -> int:
    """Where the answer begins: `kept` when the server resumes, 0 when it sends the whole. Checks the announced size."""
    if response.status == http.client.PARTIAL_CONTENT:
        span = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
        if span is None or int(span[1]) != kept:
            discard(part)
            raise _BrokenOff("the server resumes at a place that was not asked for")
        first, announced = kept, span[2]
    else:
        first, announced = 0, response.headers.get("Content-Length", "*")
    if announced.isdecimal() and int(announced) != source.size:
        discard(part)
        raise DownloadError(
            f"{source.url}: the server has {announced} bytes, expected {source.size}",
            "The owner has changed the file; the card must be brought up to date.",
        )
    return first
