"""What is written out is read back as the same experiment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decentralized import config
from decentralized.build import BuiltIn

CONFIGS = Path(__file__).parents[3] / "configs"


def through_toml(experiment: config.Experiment) -> config.Experiment:
    return config.parse(config.dump(experiment), BuiltIn(import_others=False))


@pytest.mark.parametrize("path", sorted(CONFIGS.rglob("*.toml")), ids=lambda path: str(path.relative_to(CONFIGS)))
def test_every_shipped_configuration(path: Path) -> None:
    experiment = config.load(path, BuiltIn(import_others=False))
    assert through_toml(experiment) == experiment
    assert config.dump(through_toml(experiment)) == config.dump(experiment)


def test_every_default_is_written_out(good: str) -> None:
    text = config.dump(config.parse(good, BuiltIn()))
    for line in ("seed = 90", 'name = "sgd"', 'transport = "tcp"', "deadline_s = 60.0", 'name = "metropolis-hastings"'):
        assert line in text
    assert "None" not in text and "null" not in text


names = st.text(min_size=1, max_size=20)
values = st.one_of(st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), st.text(max_size=9))
arguments = st.dictionaries(st.text("abcdef_ .\"'é", min_size=1, max_size=5), values | st.lists(values, max_size=3))


@settings(max_examples=60, deadline=None)
@given(
    name=names,
    seed=st.integers(0, 2**63 - 1),
    nodes=st.integers(1, 100_000),
    hidden=st.lists(st.integers(1, 9), max_size=3),
    lr=st.floats(allow_nan=False, allow_infinity=False),
    own=arguments,
)
def test_any_experiment(good: str, name: str, seed: int, nodes: int, hidden: list[int], lr: float, own: Any) -> None:
    base = config.parse(good, BuiltIn(False))
    own_model = config.parse(good, BuiltIn(False), overrides=["model=a:B"]).model
    experiment = base.model_copy(
        update={
            "name": name,
            "seed": seed,
            "nodes": nodes,
            "model": own_model.model_copy(update={key: frozen(value) for key, value in own.items() if key != "name"}),
            "training": base.training.model_copy(
                update={"optimizer": base.training.optimizer.model_copy(update={"lr": lr})}  # type: ignore[attr-defined]
            ),
        }
    )
    again = through_toml(experiment)
    assert config.dump(again) == config.dump(experiment)
    assert (again.name, again.seed, again.nodes) == (name, seed, nodes)
    assert again.training.optimizer.arguments["lr"] == lr  # type: ignore[attr-defined]


def frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
