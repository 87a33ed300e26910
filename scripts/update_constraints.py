"""Write constraints.txt: the exact version of every package that `.[dev,ray]` needs, for each Python version.

    python scripts/update_constraints.py 3.10=python3.10 3.11=python3.11 3.12=python3.12 3.13=python3.13 3.14 \
        --hold torch==2.13.0

Each argument is a Python version, with its interpreter where there is one. Without an interpreter the newest given one
asks pip for wheels of that version; pip then reads environment markers with the version it runs on, so check such a
version again as soon as its interpreter is at hand.

CUDA packages (nvidia-*, cuda-*, triton) are left out: torch itself requires exact versions of those it needs, and a
machine without a GPU needs none.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
CUDA = re.compile(r"(nvidia|cuda)-|triton$")
HEADER = """\
# Exact versions of every package that `.[dev,ray]` needs, for Python {first} to {last}, resolved on Linux.
# Written by scripts/update_constraints.py; do not edit.
"""

Pins = dict[str, str]  # package name ► version


def requirements() -> list[str]:
    """What pyproject.toml asks for, with all extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [*project["dependencies"], *(name for extra in project["optional-dependencies"].values() for name in extra)]


def resolve(wanted: Sequence[str], interpreter: str, other_version: str | None) -> Pins:
    """Ask pip what it would install, with `interpreter` or for `other_version` of Python."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        command = [interpreter, "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--dry-run"]
        command += ["--ignore-installed", "--only-binary=:all:", "--report", str(report)]
        if other_version:
            command += ["--python-version", other_version, "--target", folder]
        subprocess.run([*command, *wanted], check=True)
        installs = json.loads(report.read_text(encoding="utf-8"))["install"]
    found = {canonical(item["metadata"]["name"]): item["metadata"]["version"].partition("+")[0] for item in installs}
    return {name: version for name, version in found.items() if not CUDA.match(name)}


def canonical(name: str) -> str:
    """The form of a package name in which two spellings are equal (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def order(python: str) -> tuple[int, ...]:
    """3.9 comes before 3.10."""
    return tuple(int(part) for part in python.split("."))


def lines_for(name: str, versions: Pins, pythons: Sequence[str]) -> list[str]:
    """One line for each run of Python versions that take the same version of the package.

    A Python version that does not need the package joins the run before it: a constraint installs nothing.
    """
    runs: list[tuple[str, str]] = []  # first Python, package version
    for python in pythons:
        version = versions.get(python)
        if version and (not runs or runs[-1][1] != version):
            runs.append((python, version))
    lines = []
    for place, (first, version) in enumerate(runs):
        bounds = [f'python_version >= "{first}"'] if place else []
        bounds += [f'python_version < "{runs[place + 1][0]}"'] if place + 1 < len(runs) else []
        lines.append(f"{name}=={version}" + ("; " + " and ".join(bounds) if bounds else ""))
    return lines


def merge(pins: dict[str, Pins]) -> list[str]:
    """The lines of constraints.txt for {Python version: pins}."""
    pythons = sorted(pins, key=order)
    names = sorted({name for found in pins.values() for name in found})
    return [
        line
        for name in names
        for line in lines_for(name, {python: pins[python][name] for python in pythons if name in pins[python]}, pythons)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("python", nargs="+", metavar="VERSION[=INTERPRETER]")
    parser.add_argument("--hold", action="append", default=[], metavar="PACKAGE==VERSION", help="fix one package")
    options = parser.parse_args()
    interpreters = {version: path for version, _, path in (argument.partition("=") for argument in options.python)}
    newest = max((version for version, path in interpreters.items() if path), key=order, default=None)
    wanted = requirements() + options.hold
    pins: dict[str, Pins] = {}
    for version, path in interpreters.items():
        print(f"resolving for Python {version}", flush=True)
        pins[version] = resolve(
            wanted, path or interpreters.get(newest or "", sys.executable), None if path else version
        )
    pythons = sorted(pins, key=order)
    text = HEADER.format(first=pythons[0], last=pythons[-1]) + "\n".join(merge(pins)) + "\n"
    (ROOT / "constraints.txt").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
