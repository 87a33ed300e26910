"""A component file must not bring in a heavy library before it is used."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import decentralized

PACKAGE = Path(decentralized.__file__).parent


@pytest.mark.parametrize("family", ["models", "topologies"])
def test_importing_components_imports_nothing_heavy(family: str) -> None:
    modules = [f"decentralized.{family}.{file.stem}" for file in sorted((PACKAGE / family).glob("*.py"))]
    assert len(modules) > 5
    program = (
        f"import importlib, sys\nfor name in {modules}:\n    importlib.import_module(name)\n"
        "print(sorted({'torch', 'networkx', 'matplotlib', 'scipy', 'sklearn'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=PACKAGE.parent, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
