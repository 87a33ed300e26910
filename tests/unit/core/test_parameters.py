"""The flat vector and the model are the same memory, and the template is not touched."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from decentralized.errors import ConfigError
from decentralized.parameters import FlatParameters


def template() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))


def test_the_vector_is_the_model() -> None:
    flat = FlatParameters(template())
    assert len(flat.vector) == sum(parameter.numel() for parameter in flat.model.parameters())
    flat.load(torch.arange(len(flat.vector), dtype=torch.float32))
    assert torch.equal(nn.utils.parameters_to_vector(flat.model.parameters()), flat.vector)
    with torch.no_grad():
        flat.model[3].bias.fill_(-1)  # type: ignore[index]
    assert flat.vector[-3:].tolist() == [-1, -1, -1]


def test_the_template_stays_as_it_is() -> None:
    original = template()
    before = nn.utils.parameters_to_vector(original.parameters()).clone()
    FlatParameters(original, with_buffers=True).vector.zero_()
    assert torch.equal(nn.utils.parameters_to_vector(original.parameters()), before)
    assert original[1].running_var.tolist() == [1, 1]  # type: ignore[operator]


def test_gradients_reach_the_vector() -> None:
    flat = FlatParameters(template())
    before = flat.vector.clone()
    optimizer = torch.optim.SGD(flat.model.parameters(), lr=0.1)
    flat.model(torch.randn(4, 1, 4, 4)).square().sum().backward()
    optimizer.step()
    assert not torch.equal(flat.vector, before)


def test_buffers_travel_only_when_asked() -> None:
    without, averaged = FlatParameters(template()), FlatParameters(template(), with_buffers=True)
    assert len(averaged.vector) - len(without.vector) == 4  # running mean and variance of two channels
    averaged.model.train()
    averaged.model(torch.randn(4, 1, 4, 4) + 5)
    assert averaged.vector[-4:-2].abs().min() > 0  # the running means moved inside the vector
    assert int(averaged.model[1].num_batches_tracked) == 1  # type: ignore[index]


def test_schemas_tell_shapes_and_names_apart() -> None:
    same = FlatParameters(template()).schema() == FlatParameters(template()).schema()
    other = FlatParameters(nn.Sequential(nn.Linear(3, 2))).schema() == FlatParameters(nn.Linear(3, 2)).schema()
    assert same and not other


@pytest.mark.parametrize("model", [nn.ReLU(), nn.Linear(2, 2).double()])
def test_models_that_cannot_be_flattened(model: nn.Module) -> None:
    with pytest.raises(ConfigError):
        FlatParameters(model)
