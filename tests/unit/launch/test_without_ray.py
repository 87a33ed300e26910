"""Ray is optional: nothing but `launch --via ray` needs it."""

from __future__ import annotations

import sys

import pytest

from tests.test_layers import LAUNCH, MODULES, Imports
from tests.unit.launch.conftest import DEMO, Decentralized


def test_what_to_do_without_ray(decentralized: Decentralized, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)  # as if it were not installed
    done = decentralized("launch", DEMO, "--via", "ray")
    assert done.code == 9 and "Ray is not installed" in done.err and "decentralized[ray]" in done.err


def test_only_modules_for_ray_import_it() -> None:
    known = {**MODULES, **LAUNCH}
    importing = {name for name, path in known.items() if "ray" in {used.split(".")[0] for used in Imports(path).top}}
    assert importing and all(name.startswith("launch.via.ray_") for name in importing)
    others = [path for name, path in known.items() if not name.startswith("launch.via.ray_")]
    used = {used for path in others for used in Imports(path).top}
    assert not [name for name in used if name.startswith("launch.via.ray_")]
