"""Partial models between real processes: the bits of the run in memory, whoever averages and whatever the shapes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from tests.processes.runs import ROOT, models, run

FOLDER = ROOT / "configs" / "papers" / "decentralized_multitask"
SMALL = ("algorithm.rounds=4", "model.hidden=30", "algorithm.partial_models=[{name='global', neurons=[50, 20]}]")
DIGITS = """
nodes = 4
topology = "full"
data = { name = "digits", samples = 160 }
[model]
name = "mlp"
hidden = [20]
others = [{ nodes = [2], hidden = [9] }, { nodes = [3], hidden = [30] }]
[training]
local_steps = 3
[algorithm]
name = "partial-averaging"
rounds = 3
[[algorithm.partial_models]]
name = "global"
neurons = [64, 8, 10]
"""


@pytest.mark.parametrize("average", ["all", "gossip", "server"])
def test_processes_and_memory_give_the_same_bits(average: str, tmp_path: Path) -> None:
    settings = ("nodes=5", *SMALL, f"algorithm.average={average}", "data.permute_labels=[{nodes=[4], cycles=[[0, 3]]}]")
    found = [
        models(run(FOLDER / "associative.toml", tmp_path / name, *settings, f"network.transport={name}"))
        for name in ("tcp", "memory")
    ]
    assert found[0] == found[1]
    assert found[0][0] != found[0][4]


def test_networks_of_different_shapes(tmp_path: Path) -> None:
    """The hello lets them pass, and after the last average they agree on what they share."""
    (tmp_path / "shapes.toml").write_text(DIGITS)
    found = models(run(tmp_path / "shapes.toml", tmp_path / "runs"))
    arrays = [safetensors.numpy.load(found[node]) for node in sorted(found)]
    assert [len(of_node["dense1.weight"]) for of_node in arrays] == [20, 20, 9, 30]
    for of_node in arrays[1:]:
        assert np.array_equal(of_node["dense1.weight"][:8], arrays[0]["dense1.weight"][:8])
        assert np.array_equal(of_node["output.weight"][:, :8], arrays[0]["output.weight"][:, :8])
        assert np.array_equal(of_node["output.bias"], arrays[0]["output.bias"])
    assert not np.array_equal(arrays[0]["dense1.weight"][8:], arrays[1]["dense1.weight"][8:])
