"""Data-set cards: where a data set comes from, what may be done with it, and how to know that it arrived whole.

A card is a TOML file in `datasets/cards`; `datasets/README.md` describes its keys.
"""

from __future__ import annotations

import difflib
import os
import sys
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, ValidationError, model_validator

from decentralized.errors import DataCorrupt, DataMissing
from decentralized.settings import Settings

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def _inside_a_folder(path: str) -> str:
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\\" in path:
        raise ValueError("expected a relative path without '..'")
    return path


def _web_address(url: str) -> str:
    address = urlsplit(url)
    if address.scheme not in ("http", "https") or not address.hostname or not PurePosixPath(address.path).name:
        raise ValueError("expected an http or https address of a file")
    return url


RelativePath = Annotated[str, AfterValidator(_inside_a_folder)]
Bytes = Annotated[int, Field(ge=0)]


class Checked(Settings):
    """Content that is known by its size and at least one checksum."""

    size: Bytes
    """Size in bytes."""
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    """SHA-256 in hexadecimal."""
    md5: Annotated[str, Field(pattern="^[0-9a-f]{32}$")] | None = None
    """MD5 in hexadecimal, where the owner publishes only that."""

    @model_validator(mode="after")
    def _has_a_checksum(self) -> Checked:
        if not (self.sha256 or self.md5):
            raise ValueError("expected sha256 or md5")
        return self

    @property
    def checksum(self) -> tuple[Literal["sha256", "md5"], str]:
        """The strongest known checksum: its algorithm and its value."""
        return ("sha256", self.sha256) if self.sha256 else ("md5", str(self.md5))


class CardFile(Checked):
    """A file in the data set's folder."""

    path: RelativePath
    """Path below the data set's folder, with forward slashes."""
    text: bool = False
    """Size and checksum are those of the text with LF line ends; a copy with CRLF is as good."""


class Download(Checked):
    """One address: a file of the data set, or an archive with its files."""

    url: Annotated[str, AfterValidator(_web_address)]
    """Published address."""
    unpack: Literal["none", "tar.gz", "zip"] = "none"
    """What kind of archive it is; "none": the file itself belongs into the folder."""
    inside: RelativePath | None = None
    """The folder in the archive whose content is wanted; the whole archive when not given."""
    unpacks_to: Bytes = 0
    """Archives: at most so many bytes come out."""

    @model_validator(mode="after")
    def _archives_are_bounded(self) -> Download:
        if (self.unpack == "none") != (self.unpacks_to == 0):
            raise ValueError("expected unpacks_to for an archive, and only for an archive")
        return self

    @property
    def file_name(self) -> str:
        """The last part of the address."""
        return PurePosixPath(urlsplit(self.url).path).name

    @property
    def as_file(self) -> CardFile:
        """What lies in the folder after the download of something that is not an archive."""
        return CardFile(path=self.file_name, size=self.size, sha256=self.sha256, md5=self.md5)


class Card(Settings):
    """Everything known of one data set."""

    name: str
    """The data set's name in a configuration; the card's file name."""
    title: str
    """What it is, in one line."""
    owner: str
    """Whose it is."""
    terms: str
    """What its owner allows."""
    citation: str
    """The work to cite."""
    homepage: str
    """The owner's page."""
    source: Literal["download", "manual", "package"]
    """How it comes: `fetch` gets it, the user gets it as `manual` says, or an installed package holds it."""
    folder: RelativePath | None = None
    """Folder below the data root; none where a package holds the data."""
    downloads: Annotated[tuple[Download, ...], Field(strict=False)] = ()
    """What `fetch` downloads."""
    files: Annotated[tuple[CardFile, ...], Field(strict=False)] = ()
    """Files whose content is known."""
    expects: Annotated[tuple[RelativePath, ...], Field(strict=False)] = ()
    """Patterns below the folder, each of which must match a file."""
    manual: str = ""
    """The steps by which a user gets the data."""
    notes: str = ""
    """Remarks."""

    @model_validator(mode="after")
    def _source_is_complete(self) -> Card:
        if (self.source == "download") != bool(self.downloads):
            raise ValueError('expected downloads for source = "download", and only then')
        if self.source == "manual" and not (self.manual and self.expects):
            raise ValueError('expected manual and expects for source = "manual"')
        if (self.source == "package") != (self.folder is None):
            raise ValueError('expected a folder, except for source = "package"')
        return self

    def place(self, root: Path) -> Path:
        """The data set's folder below the data root; the root itself where a package holds the data."""
        return root / self.folder if self.folder else root

    @property
    def known_files(self) -> tuple[CardFile, ...]:
        """`files`, and the downloads that are files of the data set themselves."""
        plain = (download.as_file for download in self.downloads if download.unpack == "none")
        return (*plain, *self.files)


def _cards_folder() -> Path:
    installed = Path(__file__).parent / "card_files"  # a wheel carries the cards here; a checkout has them in datasets/
    return installed if installed.is_dir() else Path(__file__).parents[2] / "datasets" / "cards"


def card_names() -> tuple[str, ...]:
    """The names of all data sets that have a card, sorted."""
    return tuple(sorted(path.stem for path in _cards_folder().glob("*.toml")))


def read_card(path: Path) -> Card:
    """Read one card; raises DataCorrupt that names the file and what is wrong in it."""
    try:
        with path.open("rb") as file:
            return Card.model_validate({"name": path.stem, **tomllib.load(file)})
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, ValidationError) as error:
        raise DataCorrupt(f"{path}: not a data-set card: {error}", advice="Mend the card.") from error


def load_card(name: str) -> Card:
    """The card of data set `name`; raises DataMissing with the nearest known name."""
    known = card_names()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise DataMissing(f"no data set is named {name!r}{hint}", advice=f"Known names: {', '.join(known)}.")
    return read_card(_cards_folder() / f"{name}.toml")


def data_root(option: str | None = None) -> Path:
    """Where data sets lie: `option`, else the environment variable DECENTRALIZED_DATA, else ./datasets."""
    return Path(option or os.environ.get("DECENTRALIZED_DATA") or "datasets").expanduser()
