"""Classes that are chosen by name: the project's own, and those that users wrote."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from decentralized import build, config
from decentralized.build import TABLES, AnySettings, BuiltIn
from decentralized.errors import ConfigError
from decentralized.settings import Component

OWN = '''
from decentralized.settings import Component

class WithConfig:
    class Config(Component):
        width: int = 3
        """Units."""

    def __init__(self, config):
        self.config = config

class Bare:
    def __init__(self, config):
        self.config = config

class Confused:
    class Config:
        pass

class Worse:
    Config = 3
'''


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a module that a user wrote."""
    (tmp_path / "own_parts_for_test.py").write_text(OWN)
    (tmp_path / "broken_parts_for_test.py").write_text("import math\n\nmath.sqrt(-1)\n")
    (tmp_path / "no_python_for_test.py").write_text("def (:\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield "own_parts_for_test"
    sys.modules.pop("own_parts_for_test", None)


@pytest.mark.parametrize(("family", "name"), [(family, name) for family in TABLES for name in TABLES[family]])
def test_every_name_in_the_tables_is_a_class_with_settings(family: str, name: str) -> None:
    assert isinstance(build.find(family, name), type)
    assert issubclass(BuiltIn().settings_of(family, name), Component)
    assert name == name.lower() and ":" not in name and "_" not in name


def test_own_class_with_settings(good: str, own_module: str, mistakes_in: object) -> None:
    overrides = [f"model={own_module}:WithConfig", "model.width=5"]
    experiment = config.parse(good, BuiltIn(), overrides=overrides)
    assert experiment.model.model_dump() == {"name": f"{own_module}:WithConfig", "width": 5}
    assert build.create("model", experiment.model).config is experiment.model


def test_own_settings_are_checked(good: str, own_module: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config.parse(good, BuiltIn(), "x.toml", [f"model={own_module}:WithConfig", "model.widht=5"])
    assert caught.value.mistakes == ("--set model.widht=5: unknown key 'model.widht'; did you mean 'width'?",)


def test_own_class_without_settings_takes_what_the_table_says(good: str, own_module: str) -> None:
    experiment = config.parse(good, BuiltIn(), overrides=[f"model={own_module}:Bare", 'model.shape=[1, "a"]'])
    assert isinstance(experiment.model, AnySettings)
    assert experiment.model.arguments == {"shape": (1, "a")}


def test_the_file_is_checked_without_importing_own_classes(good: str, own_module: str) -> None:
    overrides = [f"model={own_module}:WithConfig", "model.widht=5", "algorithm.rounds=-1"]
    with pytest.raises(ConfigError) as caught:
        config.parse(good, BuiltIn(import_others=False), "x.toml", overrides)
    assert [line for line in caught.value.mistakes if "widht" in line] == []
    assert len(caught.value.mistakes) == 1
    assert own_module not in sys.modules


def test_what_the_agent_writes_out_is_enough_for_the_nodes(good: str, own_module: str) -> None:
    """The agent does not import own classes; the fork server reads what it wrote and does."""
    overrides = [f"model={own_module}:WithConfig", "model.width=5"]
    text = config.dump(config.parse(good, BuiltIn(import_others=False), overrides=overrides))
    assert config.parse(text, BuiltIn()).model.model_dump()["width"] == 5


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("{own}:Baer", "model '{own}:Baer': {own} has no 'Baer'; did you mean 'Bare'?"),
        ("{own}:Zzz", "model '{own}:Zzz': {own} has no 'Zzz'"),
        ("{own}:Confused", "model '{own}:Confused': its Config should be a decentralized.settings.Component"),
        ("{own}:Worse", "model '{own}:Worse': its Config should be a decentralized.settings.Component"),
        ("nothing_of_the_kind:X", "model 'nothing_of_the_kind:X' cannot be imported: ModuleNotFoundError: No module"),
        ("broken_parts_for_test:X", "model 'broken_parts_for_test:X' cannot be imported: ValueError: "),
        ("no_python_for_test:X", "model 'no_python_for_test:X' cannot be imported: SyntaxError: "),
        (":X", "model ':X' should look like 'package.module:Class'"),
        ("a.:X", "model 'a.:X' should look like 'package.module:Class'"),
        (".a:X", "model '.a:X' should look like 'package.module:Class'"),
        ("a:b:c", "model 'a:b:c' should look like 'package.module:Class'"),
        ("a:", "model 'a:' should look like 'package.module:Class'"),
    ],
)
def test_own_class_that_cannot_be_had(good: str, own_module: str, name: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config.parse(good, BuiltIn(), "x.toml", [f'model="{name.format(own=own_module)}"'])
    (line,) = caught.value.mistakes
    assert line.split(": ", 1)[1].startswith(told.format(own=own_module))
    assert "\n" not in line


def test_a_module_that_raises_is_told_with_the_line(good: str, own_module: str) -> None:
    with pytest.raises(ConfigError, match=r"broken_parts_for_test\.py:3\)"):
        config.parse(good, BuiltIn(), "x.toml", ["model=broken_parts_for_test:X"])
