"""Weights that come with the graph, in a whole run."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from decentralized.errors import ConfigError
from decentralized.in_memory import InMemoryRun
from decentralized.prepare import build_learner
from decentralized.topologies.changing import weights_of

Run = Callable[..., InMemoryRun]
NODES, ROUNDS = 6, 12


def test_matcha_mixes_with_its_own_weights(run_in_memory: Run) -> None:
    run = run_in_memory(
        f"nodes={NODES}",
        "topology={name='matcha', base={name='small-world'}}",
        "mixing.name=from-topology",
        f"algorithm.rounds={ROUNDS}",
        "training.local_steps=0",
        "training.same_start=false",
    )
    prepared = run._prepared
    assert prepared.changing is not None
    expected_NP = np.stack([build_learner(prepared, node).vector().numpy() for node in range(NODES)])
    mean_P = expected_NP.mean(axis=0)
    for round in range(1, ROUNDS + 1):
        expected_NP = weights_of(prepared.changing, NODES, round) @ expected_NP
    final_NP = np.stack([run.learners[node].vector().numpy() for node in range(NODES)])
    np.testing.assert_allclose(final_NP, expected_NP, atol=1e-5)
    np.testing.assert_allclose(final_NP.mean(axis=0), mean_P, atol=1e-6)


def test_a_graph_without_weights_is_refused(run_in_memory: Run) -> None:
    with pytest.raises(ConfigError, match="brings no weights"):
        run_in_memory("topology.name=ring", "mixing.name=from-topology")
