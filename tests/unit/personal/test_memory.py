"""Learners that personalize go on from a file as if nothing had happened, and looking at them changes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from decentralized import build, checkpoint
from decentralized.data.dataset import DataSet, NodeParts, Samples
from decentralized.errors import StateError
from decentralized.state_tree import flatten
from decentralized.types import Facts, State
from tests.unit.personal.quadratic import nothing

SAMPLES, WIDTH, CLASSES = 37, 6, 3
LEARNERS: list[dict[str, Any]] = [
    {"name": "partial", "personal": "output"},
    {"name": "partial", "personal": "norm", "personal_steps": 2},
    {"name": "partial", "personal": "norm", "buffers": "local"},
    {"name": "partial", "personal": "input", "method": "fedsim"},
    {"name": "partial", "personal": "all"},
    {"name": "partial", "personal": "none"},
    {"name": "partial", "personal": "output", "preset": "reconstruction"},
    {"name": "fine-tune", "fine_tuning_steps": 3},
    {"name": "ditto"},
    {"name": "pfedme", "inner_steps": 2},
    {"name": "apfl", "alpha_lr": 0.1},
    {"name": "maml", "gradient": "exact"},
]
IDS = [" ".join(map(str, learner.values())) for learner in LEARNERS]
MOMENTUM = {"name": "SGD", "lr": 0.1, "momentum": 0.9}


class DropoutAndNorm(nn.Sequential):
    """Memory of all kinds: batch-norm statistics, and draws from torch's global generator."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(WIDTH, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(), nn.Linear(8, CLASSES))


def learner(settings: dict[str, Any]) -> Any:
    generator = np.random.default_rng(1)
    inputs = generator.normal(size=(SAMPLES, WIDTH)).astype(np.float32)
    samples = Samples(inputs, generator.integers(CLASSES, size=SAMPLES))
    data = DataSet("classification", samples, samples, Facts((WIDTH,), CLASSES))
    torch.manual_seed(2)
    common = {"batch_size": 8, "local_steps": 3, "optimizer": MOMENTUM, "schedule": {"name": "StepLR", "step_size": 3}}
    config = build.find("learner", settings["name"]).Config.model_validate({**common, **settings})
    parts = NodeParts(np.arange(SAMPLES), np.arange(5), np.arange(SAMPLES))
    batches = np.random.Generator(np.random.PCG64(3))
    return build.create("learner", config, DropoutAndNorm(), data, parts, batches)


def train(node: Any, rounds: range) -> list[object]:
    """Rounds with a look at the model after each, and a mixing that the optimizer does not see."""
    seen: list[object] = []
    for round in rounds:
        seen += [node.fit(round, nothing), node.evaluate("test", nothing)]
        node.load(node.vector() * 0.9)
    return seen


def bits(state: State) -> object:
    """Everything in a state, comparable."""
    text, arrays = flatten(state)
    return text, {name: (array.dtype, array.shape, array.tobytes()) for name, array in arrays.items()}


@pytest.mark.parametrize("settings", LEARNERS, ids=IDS)
def test_it_goes_on_from_a_file(settings: dict[str, Any], tmp_path: Path) -> None:
    first = learner(settings)
    train(first, range(1, 4))
    checkpoint.write(tmp_path, 1, first.state())
    expected = train(first, range(4, 7))
    second = learner(settings)
    torch.manual_seed(99)
    vector = second.vector()
    saved: Any = checkpoint.read(tmp_path, 1)
    second.restore(saved)
    assert second.vector() is vector
    assert train(second, range(4, 7)) == expected
    assert bits(second.state()) == bits(first.state())


@pytest.mark.parametrize("settings", LEARNERS, ids=IDS)
def test_looking_changes_nothing(settings: dict[str, Any]) -> None:
    watched, unwatched = learner(settings), learner(settings)
    torch.manual_seed(7)
    for round in range(1, 4):
        watched.fit(round, nothing)
        before = bits(watched.state())
        looks = [watched.evaluate("test", nothing) for _ in range(2)]
        watched.arrays()
        assert looks[0] == looks[1] and {"loss", "accuracy"} <= set(looks[0])
        if settings["name"] != "apfl":  # its mixture is made anew from both models whenever it is needed
            assert bits(watched.state()) == before
    torch.manual_seed(7)
    for round in range(1, 4):
        unwatched.fit(round, nothing)
    watched.evaluate("test", nothing), unwatched.evaluate("test", nothing)
    assert bits(unwatched.state()) == bits(watched.state())


@pytest.mark.parametrize("settings", [LEARNERS[0], *LEARNERS[-4:-1]], ids=lambda settings: str(settings["name"]))
def test_the_state_of_another_learner_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(StateError):
        learner(settings).restore(learner({"name": "sgd"}).state())
    with pytest.raises(StateError, match="optimizer is SGD here, Adam in the state"):
        learner(settings).restore(learner({**settings, "personal_optimizer": "Adam"}).state())
