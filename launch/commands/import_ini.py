"""`decentralized import-ini`, and commands that take an INI file of decentralizepy where others take a TOML file."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from decentralized import config
from decentralized.config import Experiment
from decentralized.errors import ConfigError
from decentralized.import_ini import Converted, convert
from decentralized.run_directory import write_atomically
from decentralized.settings import Catalog
from launch.commands.output import option_mistake


def import_ini(path: Path, out: Path | None) -> None:
    """The TOML goes to standard output or into a new file, notices to standard error."""
    if out is not None:
        _check_out(out)
    converted = convert(config.read_text(path), str(path))
    if out is None:
        sys.stdout.write(converted.toml)
    else:
        write_atomically(out, converted.toml.encode())
    _tell(converted)


def load(path: Path, catalog: Catalog, overrides: Sequence[str], tell: bool = True) -> Experiment:
    """A configuration from a TOML file, or from an INI file (.ini) that is converted first; raises ConfigError.

    With `tell`, notices go to standard error.
    """
    if path.suffix.lower() != ".ini":
        return config.load(path, catalog, overrides)
    converted = convert(config.read_text(path), str(path))
    if tell:
        _tell(converted)
        print(f"{path} was converted; `decentralized import-ini {path}` shows the TOML", file=sys.stderr)
    try:
        return config.parse(converted.toml, catalog, f"{path} as TOML", overrides)
    except ConfigError as error:
        error.advice = (
            f"Lines are those of `decentralized import-ini {path} --out FILE.toml`: mend FILE.toml and use it."
        )
        raise


def _tell(converted: Converted) -> None:
    for notice in converted.notices:
        print(notice, file=sys.stderr)


def _check_out(out: Path) -> None:
    if out.exists():
        raise option_mistake(f"--out {out}: it exists already; nothing is overwritten")
    if not out.parent.is_dir():
        raise option_mistake(f"--out {out}: there is no folder {out.parent}")
