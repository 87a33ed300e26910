"""Which parameters are personal, by the name of a part; adapters and combined predictions."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from decentralized import build
from decentralized.errors import ConfigError
from decentralized.learners.personal import is_personal
from decentralized.models.parts import personal_parts
from decentralized.parameters import FlatParameters
from decentralized.types import Facts

IMAGES, TEXT = Facts((3, 32, 32), classes=10), Facts((20,), classes=50, vocabulary=50)


def make(name: str, facts: Facts = IMAGES, seed: int = 3, **settings: Any) -> nn.Module:
    """The model as a run would make it."""
    torch.manual_seed(seed)
    return made({"name": name, **settings}, facts)


def made(settings: Any, facts: Facts) -> nn.Module:
    config = build.BuiltIn().settings_of("model", settings["name"])
    table = settings if isinstance(settings, dict) else settings.model_dump()
    maker = build.create("model", config.model_validate(table, context=build.BuiltIn()))
    model: nn.Module = (
        maker.wrap(lambda base: made(base.model_dump(), facts)) if hasattr(maker, "wrap") else maker.build(facts)
    )
    return model


def named(model: nn.Module, personal: str | tuple[str, ...]) -> list[str]:
    chosen = is_personal(model, personal)
    return [name for name, _ in model.named_parameters() if chosen(name)]


@pytest.mark.parametrize(
    ("name", "facts", "first", "last"),
    [
        ("mlp", IMAGES, "dense1", "output"),
        ("lenet", IMAGES, "conv1", "output"),
        ("femnist-cnn", IMAGES, "conv1", "output"),
        ("fedavg-cnn", IMAGES, "conv1", "output"),
        ("celeba-cnn", IMAGES, "conv1", "output"),
        ("resnet18", IMAGES, "stem.0", "output"),
        ("char-lstm", TEXT, "embedding", "output"),
    ],
)
def test_first_and_last_layers(name: str, facts: Facts, first: str, last: str) -> None:
    model = make(name, facts)
    assert {one.rpartition(".")[0] for one in named(model, "input")} == {first}
    assert {one.rpartition(".")[0] for one in named(model, "output")} == {last}
    assert named(model, "all") == [name for name, _ in model.named_parameters()] and named(model, "none") == []


def test_users_and_items_of_a_recommender() -> None:
    model = make("matrix-factorization", Facts((2,), users=4, items=5))
    assert named(model, "input") == ["user_factors.weight", "user_biases.weight"]
    assert named(model, "output") == ["item_factors.weight", "item_biases.weight"]


@pytest.mark.parametrize("norm", ["group", "batch"])
def test_normalization_with_its_statistics(norm: str) -> None:
    model = make("resnet18", norm=norm)
    kinds = {type(model.get_submodule(name.rpartition(".")[0])) for name in named(model, "norm")}
    assert kinds == {nn.GroupNorm if norm == "group" else nn.BatchNorm2d}
    count = sum(isinstance(module, (nn.GroupNorm, nn.BatchNorm2d)) for module in model.modules())
    assert len(named(model, "norm")) == 2 * count == 40
    flat = FlatParameters(model, with_buffers=True, personal=is_personal(model, "norm"))
    assert not any("running" in slot.name or "norm" in slot.name for slot in flat.shared_slots)
    assert len(flat.shared) + len(flat.personal) == len(flat.vector)


@pytest.mark.parametrize(
    ("personal", "said"),
    [
        ("outputs", "no part 'outputs'; did you mean 'output'"),
        ("adapters", "no part 'adapters'"),
        (("conv9*",), "nothing is named 'conv9"),
    ],
)
def test_parts_that_are_not_there(personal: str | tuple[str, ...], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        is_personal(make("lenet"), personal)


class Own(nn.Sequential):
    """A model that names its parts itself."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(2, 3), nn.Linear(3, 3), nn.Linear(3, 2))

    def personal_parts(self) -> dict[str, tuple[str, ...]]:
        return {"output": ("1.*", "2.*"), "middle": ("1.bias",)}


def test_a_model_may_name_its_own_parts() -> None:
    assert named(Own(), "output") == ["1.weight", "1.bias", "2.weight", "2.bias"]
    assert named(Own(), "middle") == ["1.bias"] and named(Own(), "input") == ["0.weight", "0.bias"]


def test_shared_parameters_lie_in_front() -> None:
    model = Own()
    flat = FlatParameters(model, personal=is_personal(model, ("0.weight", "2.*")))
    assert [slot.name for slot in flat.slots] == ["0.bias", "1.weight", "1.bias", "0.weight", "2.weight", "2.bias"]
    assert [slot.name for slot in flat.shared_slots] == ["0.bias", "1.weight", "1.bias"]
    assert flat.shared.data_ptr() == flat.vector.data_ptr() and len(flat.shared) == 3 + 9 + 3
    flat.load(torch.zeros(15))
    layer: Any = flat.model.get_submodule("0")
    assert layer.weight.equal(model[0].weight) and not layer.bias.any()
    with torch.no_grad():
        flat.model[2].bias.fill_(5)  # type: ignore[index]
    assert flat.personal[-2:].tolist() == [5, 5]


BASES: list[tuple[dict[str, Any], Facts, tuple[int, ...]]] = [
    ({"name": "lenet"}, IMAGES, (4, 3, 32, 32)),
    ({"name": "femnist-cnn", "dense": 16}, IMAGES, (4, 3, 32, 32)),
    ({"name": "resnet18"}, IMAGES, (2, 3, 32, 32)),
    ({"name": "mlp", "hidden": (8, 7)}, IMAGES, (4, 3, 32, 32)),
]


@pytest.mark.parametrize(("base", "facts", "shape"), BASES, ids=[str(base["name"]) for base, _, _ in BASES])
def test_adapters_start_as_the_identity(base: dict[str, Any], facts: Facts, shape: tuple[int, ...]) -> None:
    plain, adapted = (
        make(base["name"], facts, **{key: value for key, value in base.items() if key != "name"}),
        make("adapters", facts, base=base),
    )
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    assert torch.equal(adapted(x), plain(x))
    personal = named(adapted, "adapters")
    assert personal and all(".adapter." in name for name in personal)
    assert not any(".adapter." in name for part in ("input", "output") for name in named(adapted, part))
    assert {name.replace(".layer.", ".") for name, _ in adapted.named_parameters() if name not in personal} == {
        name for name, _ in plain.named_parameters()
    }
    adapted(x).square().sum().backward()
    assert all(parameter.grad is not None for parameter in adapted.parameters())
    assert any(parameter.grad.any() for name, parameter in adapted.named_parameters() if name.endswith("up.weight"))  # type: ignore[union-attr]


def test_where_adapters_stand_and_how_wide_they_are() -> None:
    model = make("adapters", base={"name": "lenet"}, after=("conv*", "output"), width=5)
    shapes = {name: tuple(value.shape) for name, value in model.named_parameters() if "adapter.down.weight" in name}
    assert shapes == {
        "conv1.adapter.down.weight": (5, 6, 1, 1),
        "conv2.adapter.down.weight": (5, 16, 1, 1),
        "output.adapter.down.weight": (5, 10),
    }
    text = make("adapters", TEXT, base={"name": "char-lstm"}, after=("embedding",))
    assert text(torch.zeros(2, 20, dtype=torch.int64)).shape == (2, 50)


@pytest.mark.parametrize(("after", "said"), [(("dense7",), "no layer is named 'dense7'"), (("lstm",), "a LSTM")])
def test_adapters_that_fit_nowhere(after: tuple[str, ...], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        make("adapters", TEXT, base={"name": "char-lstm"}, after=after)


def test_combined_predictions_are_the_sum_of_both_models() -> None:
    model: Any = make("combined", base={"name": "lenet"}, local={"name": "mlp", "hidden": (4,)})
    x = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    assert torch.equal(model(x), model.shared(x) + model.local(x))
    assert {name.split(".")[0] for name in named(model, "local-model")} == {"local"}
    twins: Any = make("combined", base={"name": "lenet"})
    assert not torch.equal(twins.shared.conv1.weight, twins.local.conv1.weight)
    assert personal_parts(twins)["local-model"] == ("local.*",)
