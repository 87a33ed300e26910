"""How good a model is on one node's part of the data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from decentralized.data.dataset import DataSet, NodeParts
from decentralized.lazy import torch
from decentralized.learners.batches import TensorSamples
from decentralized.learners.losses import Criterion

if TYPE_CHECKING:
    from torch import Tensor, nn

EVALUATION_ELEMENTS = 2**18  # input numbers in one evaluation batch: bounds its memory
MIN_EVALUATION_BATCH = 16


class Evaluator:
    """Measures models on the training, validation and test samples of one node."""

    def __init__(self, data: DataSet, parts: NodeParts, train: TensorSamples, criterion: Criterion) -> None:
        test = TensorSamples(data.test, data)
        self._splits = {"train": (train, parts.train), "validation": (train, parts.validation)}
        self._splits["test"] = (test, parts.test)
        self._criterion, self._rates = criterion, data.task == "rating"

    def has(self, split: str) -> bool:
        """Whether there are samples to measure on."""
        return len(self._splits[split][1]) > 0

    def measure(self, model: nn.Module, split: str, progress: Callable[[], None]) -> Mapping[str, float]:
        """`loss` (without any penalty), and `accuracy` or `rmse`, over the whole split; empty without samples."""
        source, indices_n = self._splits[split]
        if not self.has(split):
            return {}
        size = max(MIN_EVALUATION_BATCH, EVALUATION_ELEMENTS // source.sample_elements)
        was_training = model.training
        model.eval()
        loss = score = 0.0
        with torch.inference_mode():
            for start in range(0, len(indices_n), size):
                inputs, targets_B = source.batch(indices_n[start : start + size])
                outputs = model(inputs)
                loss += float(self._criterion(outputs, targets_B)) * len(targets_B)
                score += self._score(outputs, targets_B)
                progress()
        model.train(was_training)
        score /= len(indices_n)
        quality = {"rmse": score**0.5} if self._rates else {"accuracy": score}
        return {"loss": loss / len(indices_n), **quality}

    def _score(self, outputs: Tensor, targets_B: Tensor) -> float:
        """Correct predictions, or the sum of squared errors."""
        if self._rates:
            return float((outputs - targets_B).square().sum())
        two_sided = outputs.ndim == 1 or outputs.shape[1] == 1
        predicted_B = (outputs.view(-1) > 0).long() if two_sided else outputs.argmax(1)
        return float((predicted_B == targets_B).sum())
