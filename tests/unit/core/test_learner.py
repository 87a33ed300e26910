"""Local training: what a round is, and that looking changes nothing."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from decentralized.errors import ConfigError
from decentralized.learners.batches import EpochSampler
from decentralized.learners.losses import Criterion
from decentralized.prepare import Prepared, build_learner, try_out

Small = Callable[..., Prepared]


def nothing() -> None:
    """No progress to report."""


def test_an_epoch_takes_each_sample_once_and_goes_on_over_rounds() -> None:
    sampler = EpochSampler(np.arange(100, 110), 4, np.random.Generator(np.random.PCG64(1)))
    assert sampler.batches_per_epoch == 3
    rounds = [list(sampler.steps(2)) for _ in range(3)]
    batches = [batch for steps in rounds for batch in steps]
    assert [len(batch) for batch in batches] == [4, 4, 2, 4, 4, 2]
    for epoch in (batches[:3], batches[3:]):
        assert sorted(np.concatenate(epoch)) == list(range(100, 110))
    assert not np.array_equal(np.concatenate(batches[:3]), np.concatenate(batches[3:]))


def test_same_seed_same_bits_and_nodes_differ(small: Small) -> None:
    prepared = small("nodes=4")
    vectors = []
    for node in (1, 1, 2):
        learner = build_learner(prepared, node)
        learner.fit(1, nothing)
        vectors.append(learner.vector())
    assert torch.equal(vectors[0], vectors[1]) and not torch.equal(vectors[0], vectors[2])


def test_all_nodes_start_equal_unless_asked(small: Small) -> None:
    equal, own = small("nodes=4"), small("nodes=4", "training.same_start=false")
    assert torch.equal(build_learner(equal, 0).vector(), build_learner(equal, 3).vector())
    assert not torch.equal(build_learner(own, 0).vector(), build_learner(own, 3).vector())


def test_building_and_looking_leave_the_global_generator_alone(small: Small) -> None:
    prepared = small("nodes=4", "training.same_start=false")
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    learner = build_learner(prepared, 1)
    learner.evaluate("test", nothing)
    assert torch.equal(torch.rand(3), expected)


def test_evaluation_changes_neither_model_nor_mode(small: Small) -> None:
    learner = build_learner(small("nodes=4"), 0)
    learner.fit(1, nothing)
    before, modes = learner.vector().clone(), [module.training for module in learner.parameters.model.modules()]  # type: ignore[attr-defined]
    first, second = learner.evaluate("test", nothing), learner.evaluate("test", nothing)
    assert first == second and set(first) == {"loss", "accuracy"}
    assert torch.equal(learner.vector(), before)
    assert [module.training for module in learner.parameters.model.modules()] == modes  # type: ignore[attr-defined]


def test_no_validation_samples_no_validation_metrics(small: Small) -> None:
    assert build_learner(small("nodes=4"), 0).evaluate("validation", nothing) == {}
    assert set(build_learner(small("nodes=4", "data.validation=0.2"), 0).evaluate("validation", nothing)) == {
        "loss",
        "accuracy",
    }


def test_progress_is_called_for_each_batch(small: Small) -> None:
    calls = []
    build_learner(small("nodes=4", "training.local_steps=5"), 0).fit(1, lambda: calls.append(1))
    assert len(calls) == 5


def test_a_schedule_steps_once_a_round(small: Small) -> None:
    settings = ("training.optimizer={name='SGD', lr=0.5}", "training.schedule={name='StepLR', step_size=2, gamma=0.1}")
    learner = build_learner(small("nodes=4", *settings), 0)
    rates = [learner.fit(round, nothing)["learning_rate"] for round in range(1, 6)]
    assert rates == pytest.approx([0.5, 0.5, 0.05, 0.05, 0.005])


def test_resetting_the_optimizer_forgets_momentum(small: Small) -> None:
    """With momentum but one step a round, a reset run is a run without momentum."""
    common = ("nodes=4", "training.local_steps=1")
    vectors = []
    for extra in (
        ("training.optimizer={name='SGD', lr=0.1, momentum=0.9}", "training.reset_optimizer=true"),
        ("training.optimizer={name='SGD', lr=0.1}",),
        ("training.optimizer={name='SGD', lr=0.1, momentum=0.9}",),
    ):
        learner = build_learner(small(*common, *extra), 0)
        for round in range(1, 4):
            learner.fit(round, nothing)
        vectors.append(learner.vector())
    assert torch.equal(vectors[0], vectors[1]) and not torch.equal(vectors[0], vectors[2])


@pytest.mark.parametrize("name", ["Adam", "AdamW", "RMSprop", "Adagrad", "LBFGS", "Rprop", "NAdam"])
def test_optimizers_of_torch(name: str, small: Small) -> None:
    learner = build_learner(small("nodes=4", f"training.optimizer={{name='{name}', lr=0.01}}"), 0)
    before = learner.evaluate("train", nothing)["loss"]
    for round in range(1, 4):
        learner.fit(round, nothing)
    assert learner.evaluate("train", nothing)["loss"] < before


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("training.optimizer={name='Sgd', lr=0.1}", "no class 'Sgd'"),
        ("training.optimizer={name='SGD', lr=0.1, momentun=0.9}", "momentun"),
        ("training.loss=CrossEntropy", "no class 'CrossEntropy'"),
        ("training.schedule={name='StepLR'}", "step_size"),
    ],
)
def test_mistakes_in_names_and_arguments(setting: str, said: str, small: Small) -> None:
    with pytest.raises(ConfigError, match=said):
        build_learner(small("nodes=4", setting), 0)


def test_trying_out_finds_what_does_not_fit_and_counts_memory(small: Small) -> None:
    prepared = small("nodes=4", "training.optimizer={name='Adam', lr=0.01}")
    memory = try_out(prepared)
    assert memory.parameters == 4 * prepared.parameters
    assert 2 * memory.parameters <= memory.optimizer < 2 * memory.parameters + 100  # two moments, and step counts
    with pytest.raises(ConfigError, match="one training step"):
        try_out(small("nodes=4", "training.loss=CosineEmbeddingLoss"))


def test_losses_over_numbers_get_numbers_and_others_get_rows() -> None:
    outputs, targets = torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 1])
    assert Criterion(nn.CrossEntropyLoss())(outputs, targets) == nn.CrossEntropyLoss()(outputs, targets)
    assert float(Criterion(nn.MSELoss())(outputs, targets)) == pytest.approx((1 + 0 + 0 + 0) / 4)
    assert float(Criterion(nn.MSELoss())(torch.tensor([1.0, 3.0]), torch.tensor([2.0, 3.0]))) == pytest.approx(0.5)
    assert Criterion(nn.BCEWithLogitsLoss())(outputs[:, :1], targets).ndim == 0
