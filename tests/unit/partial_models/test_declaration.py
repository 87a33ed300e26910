"""Declarations with mistakes: each is named, and all of them at once."""

from __future__ import annotations

from typing import Any

import pytest

from decentralized import config
from decentralized.build import BuiltIn
from decentralized.errors import ConfigError
from decentralized.partial_models.declaration import Declaration, PartialModel, closure, mistakes_in, nodes_beyond


def model(name: str, **settings: Any) -> PartialModel:
    return PartialModel(name=name, **{"neurons": (1, 2), **settings})


@pytest.mark.parametrize(
    ("models", "said"),
    [
        ([model("a"), model("a")], "two partial models have the name 'a'"),
        ([model("a"), model("b", neurons=(1, 2, 3))], "'b' has 3 layers, 'a' has 2"),
        ([model("a", neurons=(0, 0))], "'a' has no neurons"),
        ([model("a", peers=())], "'a' has no peers"),
        ([model("a", peers=(1, 2, 1))], "'a' names a peer twice"),
        ([model("a", peers=(1, 2), server=3)], "its server, node 3, is none of its peers"),
        ([model("a", depends_on=("b",))], "'a' depends on 'b', which there is not"),
        ([model("a", depends_on=("a",))], "'a' depends on itself, directly or through others"),
        ([model("a", peers=(1,)), model("b", depends_on=("a",))], "'b' is for all peers, and depends on 'a'"),
        ([model("a", peers=(1,)), model("b", peers=(1, 2, 3), depends_on=("a",))], "which node 2, 3 does not have"),
    ],
)
def test_one_mistake(models: list[PartialModel], said: str) -> None:
    (found,) = mistakes_in(models)
    assert said in found


def test_a_circle_is_found_in_each_of_its_models() -> None:
    models = [model("a", depends_on=("b",)), model("b", depends_on=("c",)), model("c", depends_on=("a",)), model("d")]
    assert len(mistakes_in(models)) == 3


def test_nodes_that_there_are_not() -> None:
    assert nodes_beyond([model("a", peers=(0, 4)), model("b", server=9)], 4) == [
        "partial model 'a': peer 4, and the last node is 3",
        "partial model 'b': server 9, and the last node is 3",
    ]


def test_dependencies_are_transitive() -> None:
    assert closure({"a": (), "b": ("a",), "c": ("b",)})["c"] == {"a", "b"}
    models = [model("c", depends_on=("b",)), model("b", depends_on=("a",)), model("a")]
    assert [sorted(Declaration(models, 3).dependencies(number)) for number in range(3)] == [[1, 2], [2], []]


def test_all_mistakes_of_a_file_are_told_with_their_place() -> None:
    text = """
nodes = 3
topology = "full"
data = "digits"
model = "mlp"
[algorithm]
name = "partial-averaging"
rounds = 1
[[algorithm.partial_models]]
name = "a"
neurons = [64, 8, 10]
depends_on = ["b"]
[[algorithm.partial_models]]
name = "a"
neurons = [64, 8]
"""
    with pytest.raises(ConfigError) as error:
        config.parse(text, BuiltIn(), "x.toml")
    assert error.value.mistakes == (
        "x.toml:9: two partial models have the name 'a'",
        "x.toml:9: partial model 'a' depends on 'b', which there is not",
        "x.toml:9: partial model 'a' has 2 layers, 'a' has 3",
    )
