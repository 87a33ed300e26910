"""`--set KEY=VALUE`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from decentralized import config
from decentralized.build import BuiltIn
from decentralized.overrides import apply

MistakesIn = Callable[..., tuple[str, ...]]


def applied(document: dict[str, Any], *overrides: str) -> dict[str, Any]:
    _, mistakes = apply(document, overrides)
    assert not mistakes
    return document


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("k=3", 3),
        ("k = 3 ", 3),
        ("k=0.5", 0.5),
        ("k=true", True),
        ('k="3"', "3"),
        ("k=[1, 2]", [1, 2]),
        ('k={ name = "a", b = 1 }', {"name": "a", "b": 1}),
        ("k=random-regular", "random-regular"),
        ("k=my_package.models:Net", "my_package.models:Net"),
        ("k=a=b", "a=b"),
        ("k=True", "True"),
        ("k=1\nother = 2", "1\nother = 2"),
    ],
)
def test_a_value_is_toml_or_a_bare_word(override: str, value: object) -> None:
    result = applied({"k": None}, override)
    assert result == {"k": value} and type(result["k"]) is type(value)


def test_dotted_keys_reach_into_tables_and_make_them() -> None:
    document = applied({"a": {"x": 1}}, "a.b.c=2", "new.key=3")
    assert document == {"a": {"x": 1, "b": {"c": 2}}, "new": {"key": 3}}


def test_the_last_one_wins() -> None:
    assert applied({}, "a=1", "a=2") == {"a": 2}


def test_a_short_name_becomes_a_table_that_can_have_settings() -> None:
    document = applied({"data": {"partition": "dirichlet"}}, "data.partition.alpha=0.1")
    assert document == {"data": {"partition": {"name": "dirichlet", "alpha": 0.1}}}


def test_nothing_after_the_equals_sign_takes_a_key_away(good: str) -> None:
    assert applied({"a": {"b": 1, "c": 2}}, "a.b=", "a.d=") == {"a": {"c": 2}}
    text = f"{good}[training]\nlocal_epochs = 1\n"
    experiment = config.parse(text, BuiltIn(), "x.toml", ["training.local_epochs=", "training.local_steps=5"])
    assert experiment.training.model_dump()["local_steps"] == 5


def test_overrides_are_checked_like_the_file(good: str, mistakes_in: MistakesIn) -> None:
    wrong = ("nodes", "=3", "a..b=3", "nodes.x=3", "topology.name=rign", "foo.bar=1", "model.hidden=[1, true]")
    assert mistakes_in(good, *wrong) == (
        "--set nodes: expected KEY=VALUE, for example sharing.alpha=0.3",
        "--set =3: expected KEY=VALUE, for example sharing.alpha=0.3",
        "--set a..b=3: expected KEY=VALUE, for example sharing.alpha=0.3",
        "--set nodes.x=3: 'nodes' is not a table",
        "--set topology.name=rign: unknown topology 'rign'; did you mean 'ring'?",
        "--set model.hidden=[1, true]: 'model.hidden[1]' should be a whole number, not true",
        mistakes_in(good, "foo.bar=1")[0],
    )


def test_a_component_can_be_replaced_by_its_name_alone(good: str) -> None:
    experiment = config.parse(good, BuiltIn(), "x.toml", ["topology=star", "sharing=full"])
    assert experiment.topology.model_dump() == {"name": "star", "center": 0}
