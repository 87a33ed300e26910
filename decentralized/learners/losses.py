"""Any loss of torch.nn on the targets of a data set."""

from __future__ import annotations

from typing import TYPE_CHECKING

from decentralized.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor, nn

CLASS_NUMBER_LOSSES = frozenset({"CrossEntropyLoss", "NLLLoss", "MultiMarginLoss", "AdaptiveLogSoftmaxWithLoss"})


class Criterion:
    """Calls a loss with targets in the form that it wants.

    Losses over class numbers get them as they are; every other loss gets float targets of the outputs' shape, which for
    classes means one-hot rows.
    """

    def __init__(self, loss: nn.Module) -> None:
        self._loss = loss
        self._takes_numbers = type(loss).__name__ in CLASS_NUMBER_LOSSES

    def __call__(self, outputs: Tensor, targets_B: Tensor) -> Tensor:
        if not self._takes_numbers:
            targets_B = _as_outputs(outputs, targets_B)
        result: Tensor = self._loss(outputs, targets_B)
        return result


def _as_outputs(outputs: Tensor, targets_B: Tensor) -> Tensor:
    if outputs.ndim == 2 and outputs.shape[1] > 1 and not targets_B.is_floating_point():
        return torch.nn.functional.one_hot(targets_B, outputs.shape[1]).to(outputs.dtype)
    return targets_B.to(outputs.dtype).view_as(outputs)
