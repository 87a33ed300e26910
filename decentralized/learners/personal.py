"""What learners with personal parameters share: which these are, and their settings."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, model_validator
from typing_extensions import Self

from decentralized.errors import ConfigError
from decentralized.learners.settings import TrainingSettings
from decentralized.mistakes import nearest
from decentralized.models.parts import personal_parts
from decentralized.settings import Named

if TYPE_CHECKING:
    from torch import nn


class PersonalOptimizer(TrainingSettings):
    """Settings of every learner whose personal parameters have an optimizer of their own."""

    personal_optimizer: Named | None = None
    """Any class of torch.optim, for the personal parameters; that of `optimizer` when not given."""

    @property
    def second_optimizer(self) -> Named:
        return self.personal_optimizer or self.optimizer


class PersonalSettings(PersonalOptimizer):
    """Settings of every learner whose personal parameters have steps of their own, too."""

    personal_steps: Annotated[int, Field(ge=0)] | None = None
    """Mini-batches on the personal parameters in a round."""
    personal_epochs: Annotated[int, Field(ge=0)] | None = None
    """Passes over the node's data for them in a round; as long as for the shared ones when neither is given."""

    @model_validator(mode="after")
    def _one_personal_length(self) -> Self:
        if self.personal_steps is not None and self.personal_epochs is not None:
            raise ValueError("give personal_steps or personal_epochs, not both")
        return self

    @property
    def personal_length(self) -> tuple[int | None, int | None]:
        """Steps and epochs for the personal parameters."""
        if self.personal_steps is None and self.personal_epochs is None:
            return self.local_steps, self.local_epochs
        return self.personal_steps, self.personal_epochs


def is_personal(model: nn.Module, personal: str | tuple[str, ...]) -> Callable[[str], bool]:
    """Whether the parameter or buffer of this name is personal: one of a part of the model, or named by a pattern.

    Raises ConfigError for a part that the model does not have, and for a pattern that names nothing.
    """
    if isinstance(personal, str):
        parts = personal_parts(model)
        if personal not in parts:
            known = sorted(parts)
            raise ConfigError(
                [f"[training] personal: the model has no part {personal!r}{nearest(personal, known)}; "
                 f"it has {', '.join(known)}, and takes a list of patterns"]
            )  # fmt: skip
        personal = parts[personal]
    names = [name for name, _ in [*model.named_parameters(), *model.named_buffers()]]
    for pattern in personal:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ConfigError([f"[training] personal: nothing is named {pattern!r}; there are {', '.join(names)}"])
    return lambda name: any(fnmatchcase(name, pattern) for pattern in personal)


@contextlib.contextmanager
def frozen(parameters: Iterable[nn.Parameter]) -> Iterator[None]:
    """No gradients for these, which saves their share of the backward pass."""
    stopped = [parameter for parameter in parameters if parameter.requires_grad]
    for parameter in stopped:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in stopped:
            parameter.requires_grad_(True)
