"""Cards: all of them parse, wrong ones are refused, and real files match them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from decentralized.data.cards import CardFile, card_names, data_root, load_card, read_card
from decentralized.data.verify import CHUNK, problem_with, verify
from decentralized.errors import DataCorrupt, DataMissing

NAMES = ("celeba", "cifar10", "digits", "femnist", "mnist", "movielens", "shakespeare")
GOOD = """
title = "t"
owner = "o"
terms = "t"
citation = "c"
homepage = "https://example.org"
source = "download"
folder = "things"
[[downloads]]
url = "https://example.org/a.bin"
size = 3
md5 = "900150983cd24fb0d6963f7d28e17f72"
"""


def test_every_data_set_has_a_card_that_parses() -> None:
    assert set(NAMES) <= set(card_names())
    for name in card_names():
        assert load_card(name).name == name


def test_every_download_has_a_published_address_and_a_checksum() -> None:
    downloads = [download for name in card_names() for download in load_card(name).downloads]
    assert len(downloads) >= 6
    assert all(download.url.startswith("https://") and download.checksum[1] for download in downloads)


def test_an_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(DataMissing, match="did you mean 'mnist'"):
        load_card("minst")
    with pytest.raises(DataMissing):
        load_card("../cards/mnist")


def test_the_good_card_is_read(tmp_path: Path) -> None:
    path = tmp_path / "things.toml"
    path.write_text(GOOD)
    card = read_card(path)
    assert card.name == "things"
    assert card.place(tmp_path) == tmp_path / "things"
    assert [file.path for file in card.known_files] == ["a.bin"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("https://example.org/a.bin", "file:///etc/passwd"), "http"),
        (("https://example.org/a.bin", "ftp://example.org/a.bin"), "http"),
        (('folder = "things"', 'folder = "../things"'), "relative path"),
        (('folder = "things"', 'folder = "/things"'), "relative path"),
        (("size = 3", "size = -3"), "size"),
        (("size = 3", 'size = "3"'), "size"),
        (("md5 =", "unknown ="), "unknown"),
        (('md5 = "9', 'md5 = "X'), "md5"),
        (('md5 = "900150983cd24fb0d6963f7d28e17f72"', ""), "sha256 or md5"),
        (('source = "download"', 'source = "manual"'), "downloads"),
        (("size = 3", 'size = 3\nunpack = "zip"'), "unpacks_to"),
        (("title", "title = ["), "not a data-set card"),
    ],
)
def test_a_wrong_card_is_refused(tmp_path: Path, change: tuple[str, str], told: str) -> None:
    path = tmp_path / "things.toml"
    path.write_text(GOOD.replace(*change))
    with pytest.raises(DataCorrupt, match=told) as raised:
        read_card(path)
    assert str(path) in str(raised.value)


def test_the_data_root_is_the_option_then_the_environment_then_datasets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DECENTRALIZED_DATA", "/from/environment")
    assert data_root("/from/option") == Path("/from/option")
    assert data_root() == Path("/from/environment")
    monkeypatch.delenv("DECENTRALIZED_DATA")
    assert data_root() == Path("datasets")
    assert data_root("~/x") == Path.home() / "x"


ABC = CardFile(path="abc", size=3, md5="900150983cd24fb0d6963f7d28e17f72")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"abc", None),
        (None, "missing"),
        (b"abcd", "4 bytes, expected 3"),
        (b"abd", "md5 4911e516e5aa21d327512e0c8b197616, expected 900150983cd24fb0d6963f7d28e17f72"),
    ],
)
def test_a_file_is_compared_with_its_card(tmp_path: Path, content: bytes | None, problem: str | None) -> None:
    if content is not None:
        (tmp_path / "abc").write_bytes(content)
    line = problem_with(ABC, tmp_path)
    assert line == (problem and f"{tmp_path / 'abc'}: {problem}")


@pytest.mark.parametrize("write", [lambda text: text, lambda text: text.replace(b"\n", b"\r\n")])
def test_a_text_may_have_either_line_end(tmp_path: Path, write: Callable[[bytes], bytes]) -> None:
    import hashlib

    text = b"x" * (CHUNK - 1) + b"\nsecond line\n"  # with CRLF the first piece ends between CR and LF
    (tmp_path / "text").write_bytes(write(text))
    file = CardFile(path="text", text=True, size=len(text), sha256=hashlib.sha256(text).hexdigest())
    assert problem_with(file, tmp_path) is None


def test_expected_patterns_must_match(tmp_path: Path) -> None:
    card = load_card("shakespeare")
    assert len(verify(card, tmp_path)) == 2
    for part in ("train", "test"):
        (tmp_path / "shakespeare" / part).mkdir(parents=True)
        (tmp_path / "shakespeare" / part / "all_data.json").write_text("{}")
    assert verify(card, tmp_path) == []


@pytest.mark.parametrize("name", ["mnist", "movielens", "celeba", "shakespeare"])
def test_real_data_matches_its_card(name: str) -> None:
    root = os.environ.get("DECENTRALIZED_DATA")
    if not root or not load_card(name).place(Path(root)).is_dir():
        pytest.skip(f"needs {name} below DECENTRALIZED_DATA")
    assert verify(load_card(name), Path(root)) == []
