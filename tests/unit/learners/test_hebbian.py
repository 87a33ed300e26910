"""Algorithms 3 and 4 of Bouchra Pilet, Frey, Taiani 2019 against loops over single weights, and in closed form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from decentralized.build import BuiltIn
from decentralized.data.dataset import NodeParts
from decentralized.data.digits import Digits
from decentralized.data.sparse_binary import SparseBinaryVectors
from decentralized.errors import ConfigError, StateError
from decentralized.learners.hebbian import Hebbian, associate, passed
from decentralized.models.associative import Associative

SETTINGS = {"name": "sparse-binary-vectors", "vectors": 9, "tests": 30}
VECTORS = SparseBinaryVectors(SparseBinaryVectors.Config.model_validate(SETTINGS, context=BuiltIn())).load(Path(), 0)
PARTS = NodeParts(np.arange(9), np.empty(0, np.int64), np.arange(30))


def learner(**settings: Any) -> Hebbian:
    torch.manual_seed(1)
    model = Associative(Associative.Config(name="associative", hidden=20, initial=(-0.5, 0.5))).build(VECTORS.facts)
    config = Hebbian.Config.model_validate({"name": "hebbian", "local_steps": 5, **settings})
    return Hebbian(config, model, VECTORS, PARTS, np.random.default_rng(0))


def by_the_paper(hidden: np.ndarray, visible: np.ndarray, inputs: np.ndarray, lr: float, threshold: float) -> None:
    """One step of learning, weight by weight, in place."""
    out = [1 if sum(inputs[j] * hidden[i][j] for j in range(len(inputs))) >= threshold else 0 for i in range(20)]
    for i in range(len(hidden)):
        for j in range(len(inputs)):
            if inputs[j] == 1:
                if out[i] == 1:
                    hidden[i][j] += (1 - hidden[i][j]) / 2 * lr
                else:
                    hidden[i][j] -= (1 + hidden[i][j]) / 2 * lr
    for i in range(len(inputs)):
        for j in range(len(out)):
            if out[j] == 1:
                if inputs[i] == 1:
                    visible[i][j] += (1 - visible[i][j]) / 2 * lr
                else:
                    visible[i][j] -= (1 + visible[i][j]) / 2 * lr


def vector_by_the_paper(k: int, n: int = 50, m: int = 4, s: int = 3, z: int = 2) -> np.ndarray:
    """A training vector in its general form, as section V.2 says."""
    bits = np.zeros(n)
    for i in range(2 * m):
        bits[3 * m * (k % s) + i] = 1
    for i in range(z):
        place = (k // s + i * (n // z)) % n
        bits[place] = 1 - bits[place]
    return bits


def test_training_is_algorithm_4() -> None:
    node = learner()
    arrays = {name: array.astype(np.float64) for name, array in node.arrays().items()}
    for round in (1, 2, 3):
        node.fit(round, lambda: None)
    for step in range(15):  # they go round the nine vectors
        by_the_paper(arrays["hidden.weight"], arrays["visible.weight"], vector_by_the_paper(step % 9), 0.1, 0.5)
    for name, array in node.arrays().items():
        np.testing.assert_allclose(array, arrays[name], atol=1e-5)


def test_weights_go_to_one_and_minus_one_in_closed_form() -> None:
    """Towards x by half the learning rate of what is left: w_t = x + (w_0 - x) (1 - lr / 2)^t."""
    weights, start = np.array([[0.2, 0.2], [-0.4, -0.4]], np.float32), np.array([[0.2], [-0.4]])
    for _ in range(7):
        associate(weights, np.array([1.0, 0.0], np.float32), np.array([1.0, 0.0], np.float32), 0.3)
    aim = np.array([[1.0], [-1.0]])
    np.testing.assert_allclose(weights[:, :1], aim + (start - aim) * (1 - 0.15) ** 7, rtol=1e-5)
    np.testing.assert_array_equal(weights[:, 1:], start.astype(np.float32))  # from a neuron that is not active


def test_weights_stay_between_minus_one_and_one() -> None:
    node = learner(lr=1.0, local_steps=300)
    node.fit(1, lambda: None)
    assert float(node.vector().abs().max()) <= 1


def test_a_perfect_memory_passes_all_tests() -> None:
    """One hidden neuron for each class, that all given bits of the class wake and that wakes the whole vector."""
    node, halves = learner(), VECTORS.halves
    assert halves is not None
    hidden, visible = np.zeros((20, 50), np.float32), np.zeros((50, 20), np.float32)
    for number in range(3):
        hidden[number] = halves[number, 0] / 3.0 - (1 - halves[number, 0]) / 10
        visible[:, number] = halves[number].sum(axis=0)
    node.load(torch.from_numpy(np.concatenate([hidden.ravel(), visible.ravel()])))
    assert node.evaluate("test", lambda: None) == {"accuracy": 1.0}


def test_what_counts_as_passed() -> None:
    wanted = np.array([[1, 1, 1, 1, 0, 0]] * 5)
    answers = np.array([[1, 1, 1, 1, 0, 0], [1, 1, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0], [1, 1, 1, 0, 1, 1], [0] * 6])
    assert passed(answers, wanted).tolist() == [True, True, False, True, False]


def test_it_goes_on_from_its_state() -> None:
    first, second = learner(), learner()
    first.fit(1, lambda: None)
    second.restore(first.state())
    assert first.fit(2, lambda: None) == second.fit(2, lambda: None)
    assert torch.equal(first.vector(), second.vector())
    with pytest.raises(StateError, match="no place among the vectors"):
        second.restore({**first.state(), "place": 9})


def test_its_parts_are_connected_both_ways() -> None:
    layout = learner().layout()
    assert layout.sizes == (50, 20)
    assert [(item.source, item.target, item.offset) for item in layout.parameters] == [(0, 1, 0), (1, 0, 1000)]  # type: ignore[union-attr]


def test_other_data_is_refused(tmp_path: Path) -> None:
    digits = Digits(Digits.Config.model_validate({"name": "digits"}, context=BuiltIn())).load(tmp_path, 0)
    model = Associative(Associative.Config(name="associative")).build(digits.facts)
    with pytest.raises(ConfigError, match="vectors to be completed"):
        Hebbian(Hebbian.Config(name="hebbian"), model, digits, PARTS, np.random.default_rng(0))
