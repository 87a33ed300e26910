"""Every configuration that is shipped is right, and can be prepared where its data is."""

from __future__ import annotations

from pathlib import Path

import pytest

from decentralized import config
from decentralized.build import BuiltIn
from decentralized.data.cards import data_root
from decentralized.errors import DataMissing
from decentralized.prepare import make_graph, prepare

FOLDER = Path(__file__).parents[1] / "configs"
CONFIGS = sorted(FOLDER.rglob("*.toml"))


def name_of(path: Path) -> str:
    return str(path.relative_to(FOLDER))


def test_there_are_some() -> None:
    assert FOLDER / "demo.toml" in CONFIGS


@pytest.mark.parametrize("path", CONFIGS, ids=name_of)
def test_it_parses_and_its_graph_can_be_made(path: Path) -> None:
    experiment = config.load(path, BuiltIn())
    assert make_graph(experiment).nodes == experiment.nodes
    assert path.read_text(encoding="utf-8").startswith("# "), "the first line says what it is for"


@pytest.mark.parametrize("path", CONFIGS, ids=name_of)
def test_it_can_be_prepared(path: Path) -> None:
    experiment = config.load(path, BuiltIn())
    try:
        prepared = prepare(experiment, data_root())
    except DataMissing as error:
        pytest.skip(f"{error}; DECENTRALIZED_DATA names the folder of the data sets")
    assert len(prepared.parts) == experiment.nodes
    assert all(len(part.train) for part in prepared.parts)
    assert prepared.parameters > 0


def test_names_are_the_file_names() -> None:
    """So that the folders of two runs say which configuration each had."""
    for path in CONFIGS:
        assert config.load(path, BuiltIn(import_others=False)).name.replace("-", "_") == path.stem
