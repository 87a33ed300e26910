"""What `--copy` takes to every machine: this package, and the user's own modules that the configuration names."""

from __future__ import annotations

from pathlib import Path

from decentralized.config import Experiment
from launch.commands.probe import own_modules

PACKAGES = ("decentralized", "launch")
LEFT_OUT = (".git", ".venv", "venv", "__pycache__", "*.pyc", "*.egg-info", ".*_cache", ".hypothesis", "/runs")
OPTIONS = (
    "--include=/datasets/cards/",  # the data sets beside them are not part of the project
    "--filter=:- .gitignore",
    *(f"--exclude={name}" for name in LEFT_OUT),
)


def sources(experiment: Experiment, package: Path, folder: Path) -> list[str]:
    """What to give to rsync. `package`: the folder that holds this package; `folder`: the user's own."""
    checkout = (package / "pyproject.toml").is_file()
    chosen = [f"{package}/"] if checkout else [str(package / name) for name in PACKAGES]
    names = sorted({module.partition(".")[0] for module in own_modules(experiment)})
    own = [path for name in names for path in (folder / name, folder / f"{name}.py") if path.exists()]
    return chosen + [str(path) for path in own if not (checkout and path.is_relative_to(package))]
