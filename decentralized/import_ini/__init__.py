"""Configurations of decentralizepy (INI files) as TOML of this package; `convert` does it."""

from __future__ import annotations

from decentralized.import_ini.convert import Converted, convert

__all__ = ["Converted", "convert"]
