"""Associative learning with thresholds and Hebbian updates: no gradients.

Bouchra Pilet, Frey, Taiani 2019, section IV.2. With v the visible layer's outputs, h the hidden layer's, and
step(x) = 1 where x >= threshold, else 0:

    Algorithm 3    h = step(hidden.weight v), then v = step(visible.weight h)
    Algorithm 4    with v a complete vector and h as above, the weights that come from active neurons:
                   w <- w + lr (1 - w) / 2 where the neuron that they go to is active,
                   w <- w - lr (1 + w) / 2 where it is not

Both lines are w <- w + lr (x - w) / 2 with x = 1 or -1, so weights stay in [-1, 1]. A test is passed when the answer
and the whole vector, without noise, have at least as many ones in common as places in which they differ (section V.2).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from decentralized.data.dataset import DataSet, NodeParts
from decentralized.errors import ConfigError, StateError
from decentralized.parameters import FlatParameters
from decentralized.partial_models.layout import Layout, Weights
from decentralized.settings import Component
from decentralized.state_checks import need_entries, need_like
from decentralized.types import Rows, State

if TYPE_CHECKING:
    from torch import nn

    from decentralized.types import Vector

VISIBLE, HIDDEN = 0, 1  # the parts


class Hebbian:
    """Trains a model "associative" to complete binary vectors, one after the other in the order of the data set."""

    class Config(Component):
        lr: Annotated[float, Field(gt=0, le=1)] = 0.1
        """Learning rate l."""
        threshold: float = 0.5
        """A neuron is active where the weighted sum of its inputs is at least this."""
        local_steps: Annotated[int, Field(ge=0)] | None = None
        """Vectors in a round; they go on where the last round stopped. All of the node's once when not given."""
        same_start: bool = True
        """All nodes start from the same weights, or each from its own."""

    def __init__(
        self, config: Config, template: nn.Module, data: DataSet, parts: NodeParts, generator: np.random.Generator
    ) -> None:
        del generator  # nothing is drawn
        self._parameters = FlatParameters(template)
        shapes = {slot.name: slot.shape for slot in self._parameters.slots}
        if sorted(shapes) != ["hidden.weight", "visible.weight"] or data.halves is None:
            raise ConfigError(
                [
                    '[training] name = "hebbian" trains [model] name = "associative" on vectors to be completed, '
                    'such as [data] name = "sparse-binary-vectors"'
                ]
            )
        self._config, self._halves_CPV = config, data.halves
        self._samples = {"train": data.train, "validation": data.train, "test": data.test}
        self._indices = {"train": parts.train, "validation": parts.validation, "test": parts.test}
        arrays = {
            slot.name: self._parameters.vector.numpy()[slot.offset : slot.offset + slot.size].reshape(slot.shape)
            for slot in self._parameters.slots
        }
        self._hidden_HV, self._visible_VH = arrays["hidden.weight"], arrays["visible.weight"]  # views of the vector
        self._place = 0

    def fit(self, round: int, progress: Callable[[], None]) -> Mapping[str, float]:
        """Algorithm 4 for each of the round's vectors. `hidden_active`: the mean fraction of active hidden neurons."""
        train_n = self._indices["train"]
        steps = len(train_n) if self._config.local_steps is None else self._config.local_steps
        active = 0.0
        for _ in range(steps):
            chosen = train_n[self._place : self._place + 1]
            visible_V = self._complete(chosen)[0]
            hidden_H = self._step(self._hidden_HV @ visible_V)
            associate(self._hidden_HV, hidden_H, visible_V, self._config.lr)
            associate(self._visible_VH, visible_V, hidden_H, self._config.lr)
            active += float(hidden_H.mean())
            self._place = (self._place + 1) % len(train_n)
            progress()
        return {"hidden_active": active / steps} if steps else {}

    def evaluate(self, split: str, progress: Callable[[], None]) -> Mapping[str, float]:
        """`accuracy`: the fraction of vectors that are completed well enough, from what is given of them."""
        indices_n = self._indices[split]
        if not len(indices_n):
            return {}
        samples = self._samples[split]
        given_BV, wanted_BV = samples.inputs[indices_n], self._halves_CPV[samples.targets[indices_n]].sum(axis=1)
        answer_BV = self._step(self._step(given_BV @ self._hidden_HV.T) @ self._visible_VH.T)
        return {"accuracy": float(passed(answer_BV, wanted_BV).mean())}

    def vector(self) -> Vector:
        return self._parameters.vector

    def load(self, vector_P: Vector) -> None:
        self._parameters.load(vector_P)

    def layout(self) -> Layout:
        """Two parts, connected both ways; thresholds are the same everywhere, and no parameters."""
        first, second = self._parameters.slots
        hidden, visible = self._hidden_HV.shape
        weights = (Weights(VISIBLE, HIDDEN, first.offset), Weights(HIDDEN, VISIBLE, second.offset))
        return Layout((visible, hidden), weights)

    def arrays(self) -> Mapping[str, np.ndarray]:
        return {"hidden.weight": self._hidden_HV, "visible.weight": self._visible_VH}

    def rows(self) -> Rows | None:
        return None

    def schema(self) -> str:
        return self._parameters.schema()

    def state(self) -> State:
        """The weights and the next vector's place. It is live."""
        return {"vector": self._parameters.vector, "place": self._place}

    def restore(self, state: State) -> None:
        parts = need_entries(state, ("vector", "place"), "learner")
        place = parts["place"]
        if type(place) is not int or not 0 <= place < len(self._indices["train"]):
            raise StateError("learner: the state holds no place among the vectors")
        self.load(need_like(parts["vector"], self._parameters.vector, "[model] parameters"))
        self._place = place

    def _step(self, sums: np.ndarray) -> np.ndarray:
        return np.asarray(sums >= self._config.threshold, np.float32)

    def _complete(self, indices_B: np.ndarray) -> np.ndarray:
        """Training vectors with both halves and their noise, (B, visible) of 0 and 1."""
        train = self._samples["train"]
        missing_BV = self._halves_CPV[train.targets[indices_B], 1]
        whole_BV: np.ndarray = np.abs(train.inputs[indices_B] - missing_BV)  # noise inverts ones of this half, too
        return whole_BV


def associate(weights_TS: np.ndarray, target_T: np.ndarray, source_S: np.ndarray, lr: float) -> None:
    """Algorithm 4 for one direction, in place: the weights from `source` into `target`, whose outputs are 0 or 1."""
    active = np.flatnonzero(source_S)
    from_active = weights_TS[:, active]
    weights_TS[:, active] = from_active + lr * (2 * target_T[:, None] - 1 - from_active) / 2


def passed(answer_BV: np.ndarray, wanted_BV: np.ndarray) -> np.ndarray:
    """Which answers have at least as many ones in common with the wanted vector as they differ from it in places."""
    common_B = np.logical_and(answer_BV, wanted_BV).sum(axis=1)
    different_B = np.logical_xor(answer_BV, wanted_BV).sum(axis=1)
    good_enough_B: np.ndarray = common_B >= different_B
    return good_enough_B
