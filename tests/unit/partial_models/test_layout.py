"""Where the neurons of torch models are: moving what belongs to a neuron together with it changes nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from decentralized.errors import ConfigError
from decentralized.models.lenet import LeNet
from decentralized.models.mlp import Mlp
from decentralized.models.resnet18 import ResNet18
from decentralized.parameters import FlatParameters
from decentralized.partial_models.layout import Biases, Layout, Weights, chain_layout
from decentralized.types import Facts

FACTS = Facts(input_shape=(1, 28, 28), classes=10)


def permuted(vector: torch.Tensor, layout: Layout, part: int, order: np.ndarray) -> torch.Tensor:
    """The network with the neurons of one part in another order."""
    result, sizes = vector.clone(), layout.sizes
    for item in layout.parameters:
        if isinstance(item, Biases):
            if item.part == part:
                result[item.offset : item.offset + len(order)] = vector[item.offset + order]
            continue
        shape = (sizes[item.target], sizes[item.source], item.width)
        count = int(np.prod(shape))
        block = result[item.offset : item.offset + count].view(shape)  # writes into the result
        if item.target == part:
            block.copy_(block[order].clone())
        if item.source == part:
            block.copy_(block[:, order].clone())
    return result


@pytest.mark.parametrize("maker", [Mlp(Mlp.Config(name="mlp", hidden=(6, 5))), LeNet(LeNet.Config(name="lenet"))])
def test_neurons_and_channels_can_change_places(maker: Mlp | LeNet) -> None:
    torch.manual_seed(1)
    parameters = FlatParameters(maker.build(FACTS))
    layout, inputs = chain_layout(parameters.model, parameters.slots), torch.rand(3, 1, 28, 28)
    start, expected = parameters.vector.clone(), parameters.model(inputs)
    assert sum(_count(item, layout) for item in layout.parameters) == len(start)
    for part in range(1, len(layout.sizes) - 1):
        order = np.random.default_rng(part).permutation(layout.sizes[part])
        parameters.load(permuted(start, layout, part, order))
        torch.testing.assert_close(parameters.model(inputs), expected, rtol=1e-4, atol=1e-5)
        assert not torch.equal(parameters.vector, start)


def _count(item: Biases | Weights, layout: Layout) -> int:
    if isinstance(item, Biases):
        return layout.sizes[item.part]
    return layout.sizes[item.target] * layout.sizes[item.source] * item.width


def test_the_parts_of_lenet() -> None:
    parameters = FlatParameters(LeNet(LeNet.Config(name="lenet")).build(FACTS))
    layout = chain_layout(parameters.model, parameters.slots)
    assert layout.sizes == (1, 6, 16, 120, 84, 10)
    assert [item.width for item in layout.parameters if isinstance(item, Weights)] == [25, 25, 25, 1, 1]


def test_structure_does_not_depend_on_sizes() -> None:
    layouts = []
    for hidden in ((6, 5), (7, 2), (6, 5, 4)):
        parameters = FlatParameters(Mlp(Mlp.Config(name="mlp", hidden=hidden)).build(FACTS))
        layouts.append(chain_layout(parameters.model, parameters.slots).structure())
    assert layouts[0] == layouts[1] != layouts[2]


def test_models_that_are_no_chain() -> None:
    parameters = FlatParameters(ResNet18(ResNet18.Config(name="resnet18")).build(FACTS))
    with pytest.raises(ConfigError, match="layers that follow one another"):
        chain_layout(parameters.model, parameters.slots)
