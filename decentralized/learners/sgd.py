"""Local training by mini-batches with any optimizer of torch.optim."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from decentralized.data.dataset import DataSet, NodeParts
from decentralized.errors import ConfigError, StateError
from decentralized.lazy import torch
from decentralized.learners.batches import EpochSampler, TensorSamples
from decentralized.learners.losses import Criterion
from decentralized.learners.settings import TrainingSettings
from decentralized.parameters import FlatParameters
from decentralized.settings import Named
from decentralized.state_checks import need_entries, need_equal, need_like
from decentralized.types import Rows, State

if TYPE_CHECKING:
    from torch import Tensor, nn

    from decentralized.types import Vector

EVALUATION_ELEMENTS = 2**18  # input numbers in one evaluation batch: bounds its memory
MIN_EVALUATION_BATCH = 16


class SGD:
    """Mini-batch training with an optimizer and a loss of torch. The node's model is a copy of `template`."""

    class Config(TrainingSettings):
        """The [training] table, and nothing more."""

    def __init__(
        self, config: Config, template: nn.Module, data: DataSet, parts: NodeParts, generator: np.random.Generator
    ) -> None:
        self._config, self._data = config, data
        self._indices = {"train": parts.train, "validation": parts.validation, "test": parts.test}
        self._train, self._test = TensorSamples(data.train, data), TensorSamples(data.test, data)
        self.parameters = FlatParameters(template, with_buffers=config.buffers == "averaged")
        self._model = self.parameters.model
        self._criterion = Criterion(make(torch.nn, config.loss, "loss"))
        self._penalty: Callable[[], Tensor | None] = getattr(self._model, "penalty", lambda: None)
        self._optimizer = self._new_optimizer()
        self._schedule: Any = None
        if config.schedule is not None:
            self._schedule = make(torch.optim.lr_scheduler, config.schedule, "schedule", self._optimizer)
        self._sampler = EpochSampler(parts.train, config.batch_size, generator)

    def fit(self, round: int, progress: Callable[[], None]) -> Mapping[str, float]:
        """Train for one round. `train_loss` is the mean over the round's samples, each at the time it was used."""
        if self._config.reset_optimizer:
            self._optimizer.state.clear()
        self._model.train()
        total, samples = 0.0, 0
        for indices_B in self._sampler.steps(self._steps()):
            total += self._step(indices_B) * len(indices_B)
            samples += len(indices_B)
            progress()
        metrics = {"train_loss": total / samples} if samples else {}
        if self._schedule is not None:
            metrics["learning_rate"] = float(self._optimizer.param_groups[0]["lr"])
            self._schedule.step()
        return metrics

    def vector(self) -> Vector:
        return self.parameters.vector

    def load(self, vector_P: Vector) -> None:
        self.parameters.load(vector_P)

    def evaluate(self, split: str, progress: Callable[[], None]) -> Mapping[str, float]:
        """`loss` (without any penalty), and `accuracy` or `rmse`, over the whole split."""
        indices_n = self._indices[split]
        if not len(indices_n):
            return {}
        source = self._test if split == "test" else self._train
        size = max(MIN_EVALUATION_BATCH, EVALUATION_ELEMENTS // source.sample_elements)
        was_training = self._model.training
        self._model.eval()
        loss = score = 0.0
        with torch.inference_mode():
            for start in range(0, len(indices_n), size):
                inputs, targets_B = source.batch(indices_n[start : start + size])
                outputs = self._model(inputs)
                loss += float(self._criterion(outputs, targets_B)) * len(targets_B)
                score += self._score(outputs, targets_B)
                progress()
        self._model.train(was_training)
        score /= len(indices_n)
        quality = {"accuracy": score} if self._data.task == "classification" else {"rmse": score**0.5}
        return {"loss": loss / len(indices_n), **quality}

    def arrays(self) -> Mapping[str, np.ndarray]:
        return {name: tensor.detach().numpy() for name, tensor in self._model.state_dict().items()}

    def rows(self) -> Rows | None:
        """The rows of a model that has `row_offsets` and `rows_of` (matrix factorization)."""
        offsets = getattr(self._model, "row_offsets", None)
        if offsets is None:
            return None
        first_rows: Mapping[str, int] = offsets()
        row_of_P = np.concatenate(
            [
                first_rows[slot.name] + np.repeat(np.arange(slot.shape[0]), slot.size // slot.shape[0])
                for slot in self.parameters.slots
            ]
        )
        held_R = np.zeros(int(row_of_P.max()) + 1, bool)
        held_R[self._model.rows_of(self._data.train.inputs[self._indices["train"]])] = True  # type: ignore[operator]
        return Rows(row_of_P, held_R)

    def schema(self) -> str:
        return self.parameters.schema()

    def optimizer_bytes(self) -> int:
        """Memory of the optimizer's state as it is now."""
        tensors = (value for state in self._optimizer.state.values() for value in state.values())
        return sum(value.nbytes for value in tensors if isinstance(value, torch.Tensor))

    def state(self) -> State:
        """Model, optimizer, place in the epoch, and torch's global generator, from which dropout draws. It is live."""
        optimizer = self._optimizer.state_dict()
        if self._config.reset_optimizer:  # the next round would forget it
            optimizer["state"] = {}
        return {
            "classes": self._classes(),
            "shapes": self._shapes(),
            "vector": self.parameters.vector,
            "buffers": self._other_buffers(),
            "optimizer": optimizer,
            "schedule": {} if self._schedule is None else self._schedule.state_dict(),
            "sampler": self._sampler.state(),
            "torch": torch.get_rng_state(),
        }

    def restore(self, state: State) -> None:
        buffers, random = self._other_buffers(), torch.get_rng_state()
        names = ("classes", "shapes", "vector", "buffers", "optimizer", "schedule", "sampler", "torch")
        parts = need_entries(state, names, "learner")
        need_equal(parts["classes"], self._classes(), "[training]")
        need_equal(parts["shapes"], self._shapes(), "[model]")
        kept = need_entries(parts["buffers"], buffers, "[model] buffers")
        with torch.no_grad():
            self.parameters.load(need_like(parts["vector"], self.parameters.vector, "[model] parameters"))
            for name, buffer in buffers.items():
                buffer.copy_(need_like(kept[name], buffer, f"[model] buffer {name}"))
        _load(self._optimizer, parts["optimizer"])
        if self._schedule is not None:
            _load(self._schedule, parts["schedule"])
        self._sampler.restore(parts["sampler"])
        torch.set_rng_state(need_like(parts["torch"], random, "torch's generator"))

    def _classes(self) -> dict[str, object]:
        schedule = None if self._schedule is None else type(self._schedule).__name__
        return {"optimizer": type(self._optimizer).__name__, "schedule": schedule}

    def _shapes(self) -> dict[str, object]:
        return {slot.name: slot.shape for slot in self.parameters.slots}

    def _other_buffers(self) -> dict[str, Tensor]:
        """Those that are not in the vector."""
        shapes = self._shapes()
        return {name: buffer for name, buffer in self._model.named_buffers() if name not in shapes}

    def _steps(self) -> int:
        if self._config.local_steps is not None:
            return self._config.local_steps
        epochs = 1 if self._config.local_epochs is None else self._config.local_epochs
        return epochs * self._sampler.batches_per_epoch

    def _step(self, indices_B: np.ndarray) -> float:
        inputs, targets_B = self._train.batch(indices_B)

        def closure() -> Tensor:  # some optimizers (LBFGS) evaluate the loss more than once in a step
            self._optimizer.zero_grad()
            loss = self._criterion(self._model(inputs), targets_B)
            penalty = self._penalty()
            if penalty is not None:
                loss = loss + penalty
            loss.backward()  # type: ignore[no-untyped-call]
            return loss

        loss: Tensor = self._optimizer.step(closure)
        return loss.item()

    def _score(self, outputs: Tensor, targets_B: Tensor) -> float:
        """Correct predictions, or the sum of squared errors."""
        if self._data.task == "rating":
            return float((outputs - targets_B).square().sum())
        two_sided = outputs.ndim == 1 or outputs.shape[1] == 1
        predicted_B = (outputs.view(-1) > 0).long() if two_sided else outputs.argmax(1)
        return float((predicted_B == targets_B).sum())

    def _new_optimizer(self) -> Any:
        return make(torch.optim, self._config.optimizer, "optimizer", self._model.parameters())


def _load(part: Any, state: object) -> None:
    """Give an optimizer or a schedule a copy of its state; raises StateError."""
    try:
        part.load_state_dict(copy.deepcopy(state))
    except (ValueError, TypeError, KeyError, AttributeError, RuntimeError) as error:
        raise StateError(f"[training] {type(part).__name__} does not take this state: {error}") from error


def make(module: Any, named: Named, what: str, *arguments: Any) -> Any:
    """An object of the class `named` of a torch module; raises ConfigError that says what is wrong with it."""
    kind = getattr(module, named.name, None)
    if not isinstance(kind, type):
        raise ConfigError([f"[training] {what}: {module.__name__} has no class {named.name!r}"])
    try:
        return kind(*arguments, **named.arguments)
    except (TypeError, ValueError) as error:
        raise ConfigError([f"[training] {what}: {named.name} does not take these arguments: {error}"]) from None
