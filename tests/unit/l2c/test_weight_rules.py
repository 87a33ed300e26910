"""The gradients of what makes the weights against finite differences, and what the softmax promises."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from decentralized.collaboration.alphas import Alphas
from decentralized.collaboration.attention import CHANGE, Attention, Averages
from decentralized.collaboration.encoder import Encoder, layers_of
from decentralized.collaboration.rule import Update, WeightRule, aggregate, slopes
from decentralized.errors import CodecError, ConfigError
from decentralized.learners.sgd import SGD
from decentralized.parameters import FlatParameters, Slot
from decentralized.settings import Named

PLAIN = Named.model_validate({"name": "SGD", "lr": 1.0})  # a step is minus the gradient
ADAM = Named.model_validate({"name": "Adam", "lr": 0.1, "weight_decay": 0.01})
SLOTS = [Slot("a.weight", (3, 2), 0, 6), Slot("a.bias", (3,), 6, 3), Slot("b.weight", (2, 3, 1), 9, 6)]
P = 15


def random(seed: int, *shape: int) -> Tensor:
    return torch.from_numpy(np.random.Generator(np.random.PCG64(seed)).normal(size=shape))


def updates_of(count: int, first: int = 0, extras: bool = False) -> list[Update]:
    return [
        Update(first + i, 0.1 * random(i, P), {CHANGE: random(100 + i, P).numpy()} if extras else {})
        for i in range(count)
    ]


def loss_of(vector_P: Tensor) -> Tensor:
    """Any smooth function that is no polynomial."""
    return (torch.sin(vector_P) * random(7, P)).sum() + 0.5 * (vector_P @ vector_P) + torch.exp(vector_P[0])


def loss_with(rule: WeightRule, updates: Sequence[Update]) -> float:
    """At the sum that the rule's weights give."""
    return float(loss_of(aggregate(random(8, P), updates, rule.weigh(updates).tolist())))


def derivatives(rule: WeightRule, updates: Sequence[Update]) -> Tensor:
    """Those in the weights, as the algorithm computes them."""
    mixed_P = aggregate(random(8, P), updates, rule.weigh(updates).tolist()).requires_grad_()
    (gradient_P,) = torch.autograd.grad(loss_of(mixed_P), mixed_P)
    return torch.tensor(slopes(gradient_P, updates), dtype=torch.float64)


def finite_differences(parameter: Tensor, value: Callable[[], float], h: float = 1e-5) -> Tensor:
    """The derivative of `value()` in each entry, by central differences."""
    found = torch.zeros_like(parameter)
    for place in range(len(parameter)):
        before = float(parameter[place])
        ends = []
        for sign in (1, -1):
            parameter[place] = before + sign * h
            ends.append(value())
        parameter[place] = before
        found[place] = (ends[0] - ends[1]) / (2 * h)
    return found


@pytest.mark.parametrize("seed", range(5))
def test_the_gradient_of_alpha(seed: int) -> None:
    rule = Alphas(6, PLAIN)
    alpha_n = rule._alpha.detach()
    alpha_n.copy_(random(seed, 6))
    updates = updates_of(6)
    expected = finite_differences(alpha_n, lambda: loss_with(rule, updates))
    slopes_n, weights_n = derivatives(rule, updates), rule.weigh(updates)
    before = alpha_n.clone()
    rule.step(updates, slopes_n)
    gradient_n = before - alpha_n
    torch.testing.assert_close(gradient_n, expected, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(gradient_n, weights_n * (slopes_n - weights_n @ slopes_n))  # as the docstring says
    assert gradient_n.abs().max() > 1e-3


def attention(
    hidden: int = 4,
    activation: str = "tanh",
    optimizer: Named = PLAIN,
    averages: Any = None,
    length: float | None = None,
) -> Attention:
    """In double precision, so that finite differences are exact enough."""
    encoder = Encoder(layers_of(SLOTS), hidden, 2, activation, length)
    averages = averages or Averages(lambda vector_E: vector_E, "parameters")
    rule = Attention(2, encoder, encoder.initial(1).double(), torch.zeros(P), optimizer, averages)
    rule._parameters_E.data.mul_(2)
    return rule


@pytest.mark.parametrize(("activation", "length"), [("tanh", None), ("relu", None), ("tanh", 2.0)])
def test_the_gradient_of_the_encoder(activation: str, length: float | None) -> None:
    rule, updates = attention(activation=activation, length=length), updates_of(5, extras=True)
    parameters_E = rule._parameters_E.detach()
    expected = finite_differences(parameters_E, lambda: loss_with(rule, updates))
    slopes_n, before = derivatives(rule, updates), parameters_E.clone()
    rule.step(updates, slopes_n)
    torch.testing.assert_close(before - parameters_E, expected, rtol=1e-4, atol=1e-7)
    assert expected.abs().max() > 1e-3


@pytest.mark.parametrize("rule", [Alphas(9, ADAM), attention()])
def test_weights_sum_to_one_and_steps_lower_the_loss(rule: Any) -> None:
    if isinstance(rule, Attention):
        rule._node = 4
    updates = updates_of(5, first=3, extras=True)  # one of the neighbors sent nothing that can be used
    losses = []
    for _ in range(30):
        losses.append(loss_with(rule, updates))
        rule.step(updates, derivatives(rule, updates))
        weights_n = rule.weigh(updates)
        assert weights_n.dtype == torch.float64 and (weights_n > 0).all()
        assert float(weights_n.sum()) == pytest.approx(1, abs=1e-12)
    assert losses[-1] < losses[0] - 0.01


def test_all_alphas_zero_are_equal_weights() -> None:
    for count in range(1, 20):
        assert Alphas(30, ADAM).weigh(updates_of(count, first=4)).tolist() == [1 / count] * count


def test_the_encoder_against_a_loop_over_channels() -> None:
    encoder = Encoder(layers_of(SLOTS), 4, 2, "relu")
    parameters_E = encoder.initial(3)
    arrays = encoder.arrays(parameters_E)
    vector_P = random(5, P).float()
    expected: list[float] = []
    values = vector_P.numpy()
    channels = {
        "a": [np.append(values[2 * c : 2 * c + 2], values[6 + c]) for c in range(3)],
        "b": [values[9 + 3 * c : 12 + 3 * c] for c in range(2)],
    }
    for layer, rows in channels.items():
        for row in rows:
            hidden = np.maximum(0, arrays[f"{layer}.first.weight"] @ row + arrays[f"{layer}.first.bias"])
            expected += list(arrays[f"{layer}.second.weight"] @ hidden + arrays[f"{layer}.second.bias"])
    codes_nD = encoder.encode(parameters_E, [torch.zeros(P), vector_P])
    assert codes_nD.shape == (2, encoder.numbers) == (2, 10)
    np.testing.assert_allclose(codes_nD[1].numpy(), expected, rtol=1e-5)
    assert encoder.flat(arrays).equal(parameters_E)


def test_weights_of_attention_are_the_softmax_of_inner_products() -> None:
    rule, updates = attention(), updates_of(4, extras=True)
    codes = rule._encoder.encode(rule._parameters_E.detach(), [torch.from_numpy(u.extras[CHANGE]) for u in updates])
    scores = np.array([float(code @ codes[2]) for code in codes])
    expected = np.exp(scores) / np.exp(scores).sum()
    np.testing.assert_allclose(rule.weigh(updates).numpy(), expected, rtol=1e-9)


def test_encodings_of_one_length_are_compared_by_their_cosine() -> None:
    rule, updates = attention(length=1.5), updates_of(4, extras=True)
    plain = Encoder(layers_of(SLOTS), 4, 2, "tanh")
    codes = plain.encode(rule._parameters_E.detach(), [torch.from_numpy(u.extras[CHANGE]) for u in updates])
    cosines = torch.nn.functional.cosine_similarity(codes, codes[2:3])
    torch.testing.assert_close(rule.weigh(updates), torch.softmax(1.5**2 * cosines, dim=0))
    assert rule._encoder.encode(torch.zeros_like(rule._parameters_E), [torch.zeros(P)]).abs().sum() == 0


def test_layers_of_real_models() -> None:
    convolution = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 5), torch.nn.GroupNorm(2, 8), torch.nn.Linear(4, 2))
    slots = FlatParameters(convolution).slots
    assert [(layer.name, layer.channels, layer.width) for layer in layers_of(slots)] == [
        ("0", 8, 3 * 25 + 1),
        ("1", 8, 2),
        ("2", 2, 5),
    ]
    lstm = torch.nn.LSTM(5, 3)
    assert [(layer.channels, layer.width) for layer in layers_of(FlatParameters(lstm).slots)] == [(12, 5 + 3 + 2)]
    bare = torch.nn.Linear(3, 2)
    assert [(layer.name, layer.channels, layer.width) for layer in layers_of(FlatParameters(bare).slots)] == [
        ("model", 2, 4)
    ]
    ragged = [Slot("m.u", (3, 2), 0, 6), Slot("m.v", (2,), 6, 2), Slot("m.s", (), 8, 1)]
    assert [(layer.name, layer.channels, layer.width) for layer in layers_of(ragged)] == [
        ("m.u", 3, 2),
        ("m.v", 2, 1),
        ("m.s", 1, 1),
    ]


def test_gradients_are_averaged_before_the_step() -> None:
    seen: list[Tensor] = []

    def twice(vector_E: Tensor) -> Tensor:
        seen.append(vector_E)
        return 2 * vector_E

    alone, averaged = attention(), attention(averages=Averages(twice, "gradients"))
    updates = updates_of(4, extras=True)
    before = alone._parameters_E.detach().clone()
    slopes_n = derivatives(alone, updates)
    for rule in (alone, averaged):
        rule.step(updates, slopes_n)
        rule.end_round()
    torch.testing.assert_close(averaged._parameters_E - before, 2 * (alone._parameters_E - before))
    assert len(seen) == 1


@pytest.mark.parametrize("change", [{}, {CHANGE: np.zeros(P)}, {CHANGE: np.zeros(P + 1, np.float32)}])
def test_a_change_that_does_not_fit(change: dict[str, np.ndarray]) -> None:
    with pytest.raises(CodecError, match="change of 15"):
        attention().check(change)


def test_an_encoder_of_another_model() -> None:
    encoder = Encoder(layers_of(SLOTS), 4, 2, "relu")
    arrays = encoder.arrays(encoder.initial(1))
    other = Encoder(layers_of([*SLOTS[:2], Slot("b.weight", (7, 5), 9, 35)]), 4, 2, "relu")
    with pytest.raises(ConfigError, match=r"b.first.weight is \(4, 3\), here \(4, 5\)"):
        other.flat(arrays)
    more_channels = Encoder(layers_of([*SLOTS[:2], Slot("b.weight", (7, 3), 9, 21)]), 4, 2, "relu")
    assert more_channels.flat(arrays).equal(encoder.initial(1)), "the number of channels does not matter"


def test_the_built_in_learner_says_where_its_layers_are() -> None:
    assert callable(SGD.slots)
