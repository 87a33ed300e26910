"""Downloads from a local server that can be made to misbehave."""

from __future__ import annotations

import errno
import hashlib
import io
import shutil
import stat
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import pytest

from decentralized.data import download as download_module
from decentralized.data.cards import Card, CardFile, Download
from decentralized.data.fetch import FetchProgress, Patience, fetch, verify
from decentralized.errors import DataMissing, DownloadError, StorageError

CONTENT = bytes(i * i % 251 for i in range(300_000))
QUICK = Patience(silence_s=5, attempts=3, pause_s=0.01)


class Server(ThreadingHTTPServer):
    """Serves `files`. The behaviour of the next answers is in the fields."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {"/a.bin": CONTENT}
        self.cut_after: list[int] = []  # bytes of each next answer before the connection is cut
        self.statuses: list[int] = []  # of each next answer
        self.ranges = True
        self.silent = False
        self.tag = '"1"'
        self.redirect = ""
        self.asked: list[str] = []  # the Range header of each request, "" without
        self.released = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, format: str, *arguments: Any) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        server = self.server
        server.asked.append(self.headers.get("Range", ""))
        if server.silent:
            server.released.wait(20)
            return
        status = server.statuses.pop(0) if server.statuses else 200
        if status != 200 or self.path not in server.files:
            self.send_error(status if status != 200 else 404)
            return
        if server.redirect:
            self.send_response(302)
            self.send_header("Location", server.redirect)
            self.end_headers()
            return
        self._send(server.files[self.path])

    def _send(self, content: bytes) -> None:
        server, first = self.server, 0
        same = self.headers.get("If-Range", server.tag) == server.tag
        if server.ranges and same and self.headers.get("Range"):
            first = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(content) - first))
        self.send_header("ETag", server.tag)
        self.end_headers()
        body = content[first:]
        self.wfile.write(body[: server.cut_after.pop(0)] if server.cut_after else body)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.released.set()
        running.shutdown()
        thread.join()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def card_of(*downloads: Download, files: tuple[CardFile, ...] = ()) -> Card:
    return Card(
        name="things",
        title="",
        owner="",
        terms="",
        citation="",
        homepage="",
        source="download",
        folder="things",
        downloads=downloads,
        files=files,
    )


def plain(server: Server, path: str = "/a.bin", content: bytes = CONTENT) -> Download:
    return Download(url=server.url + path, size=len(content), sha256=sha256(content))


def leftovers(root: Path) -> list[str]:
    return sorted(path.name for path in (root / ".downloads").iterdir() if path.suffix != ".lock")


def test_a_download_arrives_and_a_second_fetch_does_nothing(server: Server, tmp_path: Path) -> None:
    card = card_of(plain(server))
    assert fetch(card, tmp_path, patience=QUICK) == tmp_path / "things"
    assert (tmp_path / "things" / "a.bin").read_bytes() == CONTENT
    assert leftovers(tmp_path) == []
    fetch(card, tmp_path, patience=QUICK)
    assert server.asked == [""]


def test_only_what_is_missing_or_wrong_is_downloaded(server: Server, tmp_path: Path) -> None:
    server.files["/b.bin"] = b"other"
    card = card_of(plain(server), plain(server, "/b.bin", b"other"))
    fetch(card, tmp_path, patience=QUICK)
    (tmp_path / "things" / "b.bin").write_bytes(b"wrong")
    assert len(verify(card, tmp_path)) == 1
    fetch(card, tmp_path, patience=QUICK)
    assert len(server.asked) == 3
    assert verify(card, tmp_path) == []


def test_a_cut_connection_is_resumed_where_it_broke(server: Server, tmp_path: Path) -> None:
    server.cut_after = [100_000, 50_000]
    fetch(card_of(plain(server)), tmp_path, patience=QUICK)
    assert server.asked == ["", "bytes=100000-", "bytes=150000-"]
    assert (tmp_path / "things" / "a.bin").read_bytes() == CONTENT


def test_a_second_fetch_goes_on_with_what_the_first_left(server: Server, tmp_path: Path) -> None:
    server.cut_after = [1000, 1000, 1000]
    with pytest.raises(DownloadError, match=r"ended after 3000 of 300000 bytes \(3 attempts\)") as raised:
        fetch(card_of(plain(server)), tmp_path, patience=QUICK)
    assert "from the 3000 of 300000 bytes" in raised.value.advice
    fetch(card_of(plain(server)), tmp_path, patience=QUICK)
    assert server.asked[-1] == "bytes=3000-"
    assert (tmp_path / "things" / "a.bin").read_bytes() == CONTENT


def test_a_server_without_ranges_sends_the_whole_again(server: Server, tmp_path: Path) -> None:
    server.ranges = False
    server.cut_after = [100_000]
    seen: list[FetchProgress] = []
    fetch(card_of(plain(server)), tmp_path, seen.append, QUICK)
    assert (tmp_path / "things" / "a.bin").read_bytes() == CONTENT
    done = [progress.done_bytes for progress in seen]
    assert done == sorted(done)


def test_a_file_that_changed_in_between_is_not_glued_together(server: Server, tmp_path: Path) -> None:
    server.cut_after = [100_000] * 3
    server.ranges = False  # the answer begins anew each time, so that 100,000 bytes of the old version stay
    old = bytes(len(CONTENT))
    server.files["/a.bin"] = old
    with pytest.raises(DownloadError):
        fetch(card_of(plain(server)), tmp_path, patience=QUICK)
    server.ranges, server.tag, server.files["/a.bin"] = True, '"2"', CONTENT
    fetch(card_of(plain(server)), tmp_path, patience=QUICK)
    assert server.asked[-1] == "bytes=100000-"
    assert (tmp_path / "things" / "a.bin").read_bytes() == CONTENT


def test_a_wrong_checksum_names_both_and_keeps_nothing(server: Server, tmp_path: Path) -> None:
    other = bytes(len(CONTENT))
    server.files["/a.bin"] = other
    with pytest.raises(DownloadError) as raised:
        fetch(card_of(plain(server)), tmp_path, patience=QUICK)
    assert sha256(other) in str(raised.value)
    assert sha256(CONTENT) in str(raised.value)
    assert leftovers(tmp_path) == []
    assert not (tmp_path / "things").exists()


def test_a_wrong_size_is_refused_before_anything_is_read(server: Server, tmp_path: Path) -> None:
    server.files["/a.bin"] = CONTENT + b"!"
    with pytest.raises(DownloadError, match="has 300001 bytes, expected 300000"):
        fetch(card_of(plain(server)), tmp_path, patience=QUICK)
    assert leftovers(tmp_path) == []


def test_a_partial_file_that_is_too_long_starts_over(server: Server, tmp_path: Path) -> None:
    part = tmp_path / ".downloads" / f"{sha256(CONTENT)[:16]}-a.bin.part"
    part.parent.mkdir()
    part.write_bytes(CONTENT + b"!")
    fetch(card_of(plain(server)), tmp_path, patience=QUICK)
    assert server.asked == [""]
    assert (tmp_path / "things" / "a.bin").read_bytes() == CONTENT


def test_a_missing_file_is_not_asked_for_twice(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"/none\.bin: the server answers 404"):
        fetch(card_of(plain(server, "/none.bin")), tmp_path, patience=QUICK)
    assert len(server.asked) == 1


def test_a_busy_server_is_asked_again(server: Server, tmp_path: Path) -> None:
    server.statuses = [503, 429]
    fetch(card_of(plain(server)), tmp_path, patience=QUICK)
    assert len(server.asked) == 3


def test_a_silent_server_is_given_up(server: Server, tmp_path: Path) -> None:
    server.silent = True
    patience = Patience(silence_s=0.1, attempts=2, pause_s=0.01)
    with pytest.raises(DownloadError, match=r"went silent \(2 attempts\)"):
        fetch(card_of(plain(server)), tmp_path, patience=patience)


def test_no_server_at_all(server: Server, tmp_path: Path) -> None:
    source = Download(url="http://127.0.0.1:1/a.bin", size=1, sha256=sha256(b"a"))
    with pytest.raises(DownloadError, match="no connection"):
        fetch(card_of(source), tmp_path, patience=QUICK)


@pytest.mark.parametrize("target", ["file:///etc/hostname", "ftp://127.0.0.1/a.bin"])
def test_a_redirection_leads_only_to_web_addresses(server: Server, tmp_path: Path, target: str) -> None:
    server.redirect = target
    with pytest.raises(DownloadError):
        fetch(card_of(plain(server)), tmp_path, patience=QUICK)
    assert not (tmp_path / "things").exists()


def test_too_little_space_is_told_before_the_download(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=len(CONTENT) - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(StorageError, match=r"needs 0\.3 MB, 0\.3 MB are free"):
        fetch(card_of(plain(server)), tmp_path, patience=QUICK)
    assert server.asked == []


class FullDisk(io.BytesIO):
    def write(self, data: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_disk_that_fills_up_is_a_storage_error(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def open_part(part: Path, append: bool) -> BinaryIO:
        return FullDisk()

    monkeypatch.setattr(download_module, "_open_part", open_part)
    with pytest.raises(StorageError, match="No space left"):
        fetch(card_of(plain(server)), tmp_path, patience=QUICK)
    assert len(server.asked) == 1


def test_progress_rises_to_the_total(server: Server, tmp_path: Path) -> None:
    server.files["/b.bin"] = b"other"
    server.cut_after = [200_000]
    seen: list[FetchProgress] = []
    fetch(card_of(plain(server), plain(server, "/b.bin", b"other")), tmp_path, seen.append, QUICK)
    done = [progress.done_bytes for progress in seen]
    assert done == sorted(done)
    assert done[-1] == seen[-1].total_bytes == len(CONTENT) + 5
    assert {progress.file for progress in seen} == {"a.bin", "b.bin"}


def test_two_fetches_of_the_same_data_set_do_not_mix(server: Server, tmp_path: Path) -> None:
    server.silent = True

    def fetch_in_vain() -> None:
        with pytest.raises(DownloadError):
            fetch(card_of(plain(server)), tmp_path, patience=QUICK)

    first = threading.Thread(target=fetch_in_vain)
    first.start()
    while not server.asked and first.is_alive():
        first.join(0.01)
    with pytest.raises(DownloadError, match="is being fetched already"):
        fetch(card_of(plain(server)), tmp_path, patience=QUICK)
    server.silent = False
    server.cut_after = [0, 0]
    server.released.set()
    first.join()


# Archives


class Member(NamedTuple):
    name: str
    content: bytes = b"data"
    link: str = ""


def tar_of(*members: Member) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for member in members:
            info = tarfile.TarInfo(member.name)
            info.size = 0 if member.link else len(member.content)
            if member.link:
                info.type, info.linkname = tarfile.SYMTYPE, member.link
            archive.addfile(info, None if member.link else io.BytesIO(member.content))
    return buffer.getvalue()


def zip_of(*members: Member) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for member in members:
            info = zipfile.ZipInfo(member.name)
            info.external_attr = ((stat.S_IFLNK if member.link else stat.S_IFREG) | 0o644) << 16
            archive.writestr(info, member.link or member.content)
    return buffer.getvalue()


def archive_card(server: Server, kind: str, content: bytes, unpacks_to: int = 1000) -> Card:
    server.files[f"/a.{kind}"] = content
    source = Download.model_validate(
        {
            "url": f"{server.url}/a.{kind}",
            "size": len(content),
            "sha256": sha256(content),
            "unpack": kind,
            "inside": "top",
            "unpacks_to": unpacks_to,
        }
    )
    return card_of(source, files=(CardFile(path="sub/x", size=4, sha256=sha256(b"data")),))


KINDS = pytest.mark.parametrize(("kind", "pack"), [("tar.gz", tar_of), ("zip", zip_of)])


@KINDS
def test_an_archive_is_unpacked_into_the_folder(server: Server, tmp_path: Path, kind: str, pack: Any) -> None:
    card = archive_card(server, kind, pack(Member("top/sub/x"), Member("top/y", b""), Member("aside/z")))
    (tmp_path / "things").mkdir()
    (tmp_path / "things" / "mine.txt").write_text("kept")
    folder = fetch(card, tmp_path, patience=QUICK)
    found = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    assert found == ["mine.txt", "sub/x", "y"]
    assert (folder / "sub" / "x").read_bytes() == b"data"
    assert leftovers(tmp_path) == []
    fetch(card, tmp_path, patience=QUICK)
    assert server.asked == [""]


@KINDS
@pytest.mark.parametrize(
    ("bad", "told"),
    [
        (Member("../evil"), "leads outside"),
        (Member("top/../../evil"), "leads outside"),
        (Member("/tmp/decentralized-evil"), "leads outside"),
        (Member("top/evil", link="/etc/passwd"), "link"),
        (Member("top/huge", bytes(997)), "more than its card allows"),
    ],
)
def test_a_hostile_archive_leaves_nothing(
    server: Server, tmp_path: Path, kind: str, pack: Any, bad: Member, told: str
) -> None:
    root = tmp_path / "root"
    card = archive_card(server, kind, pack(Member("top/sub/x"), bad))
    with pytest.raises(DownloadError, match=told):
        fetch(card, root, patience=QUICK)
    assert [path.name for path in tmp_path.iterdir()] == ["root"]
    assert not any(path.is_file() for path in (root / "things").rglob("*"))
    assert not Path("/tmp/decentralized-evil").exists()


@KINDS
def test_a_broken_archive_is_told(server: Server, tmp_path: Path, kind: str, pack: Any) -> None:
    card = archive_card(server, kind, pack(Member("top/sub/x", bytes(900)))[:60])
    with pytest.raises(DownloadError, match="cannot be unpacked"):
        fetch(card, tmp_path, patience=QUICK)


def test_the_space_for_unpacking_is_counted(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card = archive_card(server, "zip", zip_of(Member("top/sub/x")), unpacks_to=10**9)
    usage = shutil.disk_usage(tmp_path)._replace(free=10**8)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(StorageError, match=r"needs 1000\.0 MB"):
        fetch(card, tmp_path, patience=QUICK)


def test_a_data_set_that_cannot_be_downloaded_prints_the_steps(tmp_path: Path) -> None:
    card = Card(
        name="things",
        title="",
        owner="",
        terms="",
        citation="",
        homepage="",
        source="manual",
        folder="things",
        expects=("*.json",),
        manual="first this, then that\n",
    )
    with pytest.raises(DataMissing, match="no such file") as raised:
        fetch(card, tmp_path)
    assert raised.value.advice == "first this, then that"
    assert not (tmp_path / ".downloads").exists()
    (tmp_path / "things").mkdir()
    (tmp_path / "things" / "x.json").write_text("{}")
    assert fetch(card, tmp_path) == tmp_path / "things"
