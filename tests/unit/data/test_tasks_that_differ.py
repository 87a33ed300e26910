"""Label permutations, successive parts, and sparse binary vectors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from decentralized import config
from decentralized.build import BuiltIn
from decentralized.data.dataset import Samples
from decentralized.data.partition import Successive
from decentralized.data.relabel import permutation
from decentralized.data.sparse_binary import SparseBinaryVectors
from decentralized.errors import ConfigError, DataError, TooFewSamples
from decentralized.prepare import Prepared, build_learner, prepare

BASE = """
nodes = 3
topology = "full"
model = "mlp"
[data]
name = "digits"
test_samples = 50
[[data.permute_labels]]
nodes = [1]
cycles = [[8, 9]]
[[data.permute_labels]]
nodes = [2]
cycles = [[7, 8, 9], [0, 1]]
[algorithm]
name = "dpsgd"
rounds = 1
"""


def prepared(tmp_path: Path, *overrides: str) -> Prepared:
    return prepare(config.parse(BASE, BuiltIn(), "x.toml", overrides), tmp_path)


def test_cycles() -> None:
    assert permutation([], 3).tolist() == [0, 1, 2]
    assert permutation([[8, 9]], 10).tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 9, 8]
    assert permutation([[7, 8, 9], [0, 1]], 10).tolist() == [1, 0, 2, 3, 4, 5, 6, 8, 9, 7]  # 7 is called 8 now


def test_each_node_has_its_own_labels_for_training_and_test(tmp_path: Path) -> None:
    made = prepared(tmp_path)
    seen: list[Any] = [build_learner(made, node) for node in range(3)]
    data = made.data
    expected = [np.arange(10), permutation([[8, 9]], 10), permutation([[7, 8, 9], [0, 1]], 10)]
    for learner, new in zip(seen, expected, strict=True):
        assert np.array_equal(learner._data.train.targets, new[data.train.targets])
        assert np.array_equal(learner._data.test.targets, new[data.test.targets])
        assert learner._data.train.inputs is data.train.inputs
    assert seen[0]._data is data
    assert all(np.array_equal(part.test, np.arange(50)) for part in made.parts)


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ("[{nodes=[3], cycles=[[1, 2]]}]", ["node 3, and the last node is 2"]),
        ("[{nodes=[1], cycles=[]}, {nodes=[1], cycles=[]}]", ["node 1 is named twice"]),
        ("[{nodes=[1], cycles=[[9, 10]]}]", ["there is no class 10"]),
        ("[{nodes=[1, 7], cycles=[[1, 2], [2, 3]]}]", ["node 7, and", "cycles [[1, 2], [2, 3]] name a class twice"]),
    ],
)
def test_permutations_with_mistakes(rules: str, said: list[str], tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        prepared(tmp_path, f"data.permute_labels={rules}")
    assert len(error.value.mistakes) == len(said)
    assert all(one in mistake for one, mistake in zip(said, error.value.mistakes, strict=True))


SAMPLES = Samples(np.zeros((10, 1)), np.zeros(10, np.int64))


def assigned(per_node: Any, nodes: int) -> list[list[int]]:
    rule = Successive(Successive.Config(name="successive", per_node=per_node))
    return [part.tolist() for part in rule.assign(SAMPLES, nodes, np.random.default_rng(1))]


def test_successive_parts() -> None:
    assert assigned(3, 3) == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    assert assigned((1, 4), 2) == [[0], [1, 2, 3, 4]]
    assert assigned(None, 3) == [[0, 1, 2, 3], [4, 5, 6], [7, 8, 9]]
    with pytest.raises(TooFewSamples, match="12 samples for 4 nodes, and there are 10"):
        assigned(3, 4)
    with pytest.raises(DataError, match="2 numbers for 3 nodes"):
        assigned((1, 4), 3)


def generator(**settings: Any) -> SparseBinaryVectors:
    return SparseBinaryVectors(SparseBinaryVectors.Config.model_validate({"name": "x", **settings}, context=BuiltIn()))


def test_the_vectors_of_the_paper() -> None:
    """k = 4: class 1, so 12 .. 15 are given and 16 .. 19 or 20 .. 23 to be found; noise at 1 and 26."""
    data = generator(vectors=9).load(Path(), 0)
    assert data.train.inputs.shape == (9, 50) and data.halves is not None
    assert np.flatnonzero(data.train.inputs[4]).tolist() == [1, 12, 13, 14, 15, 26]
    assert data.train.targets.tolist() == [0, 1, 2] * 3
    assert [np.flatnonzero(data.halves[4, half]).tolist() for half in (0, 1)] == [[12, 13, 14, 15], [20, 21, 22, 23]]
    assert np.flatnonzero(data.halves[1, 1]).tolist() == [16, 17, 18, 19]
    assert np.flatnonzero(data.test.inputs[0]).tolist() == [8, 12, 13, 14, 15, 33]  # k = 1000: class 1, noise at 333


def test_noise_takes_ones_away_too() -> None:
    data = generator(vectors=40).load(Path(), 0)
    assert np.flatnonzero(data.train.inputs[3 * 2]).tolist() == [0, 1, 3, 27]  # class 0 without its bit 2


def test_repeated_vectors() -> None:
    data = generator(vectors=18, repeat_after=9).load(Path(), 0)
    assert np.array_equal(data.train.inputs[:9], data.train.inputs[9:])


@pytest.mark.parametrize("settings", [{"given": 8}, {"bits": 35}, {"noise": 51}])
def test_settings_that_do_not_fit_are_refused(settings: dict[str, int]) -> None:
    """The paper's m = 8 with a period of 3 needs 72 bits of 50."""
    with pytest.raises(ValidationError, match=r"need \d+ bits|cannot be inverted"):
        generator(**settings)
