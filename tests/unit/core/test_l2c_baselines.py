"""The methods that the L2C study compares with: settings that hold, and equal numbers of local steps."""

from __future__ import annotations

import pytest

from decentralized import config
from decentralized.build import BuiltIn
from decentralized.prepare import make_graph
from scripts.l2c.methods import baselines
from scripts.l2c_study import CONFIGS, _file

NAMES = ("small", "cifar10", "cifar100", "miniimagenet")


@pytest.mark.parametrize("name", NAMES)
def test_all_methods_are_configurations_with_a_graph(name: str) -> None:
    file = _file(name, [])
    for variant in baselines(file):
        settings = variant.settings(file["algorithm"]["rounds"])
        experiment = config.load(CONFIGS / f"{name}.toml", BuiltIn(), settings)
        graph = make_graph(experiment)
        assert len(graph.pieces()) == 1
        assert BuiltIn().settings_of("algorithm", experiment.algorithm.name).model_fields["rounds"]


@pytest.mark.parametrize("changes", [[], ["training.local_epochs=2", "algorithm.rounds=7", "data.samples=2000"]])
def test_one_step_methods_take_as_many_steps(changes: list[str]) -> None:
    """160 training samples a node are 16 mini-batches; with the changes, 80 are 8."""
    file = _file("small", changes)
    rounds = {variant.name: variant.algorithm.get("rounds") for variant in baselines(file)}
    steps = 30 * 5 * 16 if not changes else 7 * 2 * 8
    assert rounds["CGA, 1 step on ring"] == rounds["D-PSGD, 1 step on bipartite"] == steps
    assert rounds["CGA, epochs on ring"] is None
    assert rounds["FedAvg"] == 10 * file["algorithm"]["rounds"]  # a tenth of the clients each
