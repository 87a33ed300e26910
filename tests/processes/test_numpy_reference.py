"""Real processes against a few lines of NumPy on a convex problem: softmax regression by full-batch gradients."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from decentralized import config
from decentralized.build import BuiltIn
from decentralized.mixing.matrices import metropolis_hastings
from decentralized.prepare import Prepared, build_learner, prepare
from tests.processes.runs import ROOT, models, run

NODES, ROUNDS, LEARNING_RATE, CLASSES = 7, 12, 0.2, 10
SETTINGS = (
    f"nodes={NODES}",
    f"algorithm.rounds={ROUNDS}",
    "model.hidden=[]",
    "data.samples=400",
    f"training.optimizer={{ name = 'SGD', lr = {LEARNING_RATE} }}",
    "training.batch_size=1000",
    "training.same_start=false",
    "topology.name=star",  # degrees differ, so the weights do
)


@pytest.mark.parametrize("order", ["train-then-mix", "mix-and-add"])
def test_dpsgd_is_its_formula(order: str, tmp_path: Path) -> None:
    overrides = [*SETTINGS, f"algorithm.order={order}"]
    prepared = prepare(config.load(ROOT / "configs" / "demo.toml", BuiltIn(), overrides), tmp_path)
    expected_NP = reference(prepared, order)
    saved = models(run(ROOT / "configs" / "demo.toml", tmp_path, *overrides))
    for node, model in saved.items():
        arrays = safetensors.numpy.load(model)
        actual_P = np.concatenate([arrays[name].ravel() for name in ("output.weight", "output.bias")])
        np.testing.assert_allclose(actual_P, expected_NP[node], rtol=0, atol=1e-6)


def reference(prepared: Prepared, order: str) -> np.ndarray:
    """X <- W (X - lr G(X)), or X <- W X - lr G(X), in float64."""
    weights_NN = metropolis_hastings(prepared.graph)
    start = [build_learner(prepared, node).vector().numpy().astype(np.float64) for node in range(NODES)]
    state_NP = np.stack(start)
    for _ in range(ROUNDS):
        steps_NP = np.stack([LEARNING_RATE * gradient(prepared, node, state_NP[node]) for node in range(NODES)])
        state_NP = weights_NN @ (state_NP - steps_NP) if order == "train-then-mix" else weights_NN @ state_NP - steps_NP
    return state_NP


def gradient(prepared: Prepared, node: int, model_P: np.ndarray) -> np.ndarray:
    """Of the mean cross-entropy of softmax(A x + b) over all training samples of the node."""
    indices_n = prepared.parts[node].train
    inputs_nD = prepared.data.train.inputs[indices_n].reshape(len(indices_n), -1).astype(np.float64)
    dimension = inputs_nD.shape[1]
    slope_CD, offset_C = model_P[: CLASSES * dimension].reshape(CLASSES, dimension), model_P[CLASSES * dimension :]
    scores_nC = inputs_nD @ slope_CD.T + offset_C
    probabilities_nC = np.exp(scores_nC - scores_nC.max(axis=1, keepdims=True))
    probabilities_nC /= probabilities_nC.sum(axis=1, keepdims=True)
    probabilities_nC[np.arange(len(indices_n)), prepared.data.train.targets[indices_n]] -= 1
    probabilities_nC /= len(indices_n)
    return np.concatenate([(probabilities_nC.T @ inputs_nD).ravel(), probabilities_nC.sum(axis=0)])
