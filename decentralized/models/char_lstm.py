"""The recurrent network for LEAF's Shakespeare data: predict the next character.

Caldas et al., "LEAF: a benchmark for federated settings" (2018): an embedding of 8, two LSTM layers of 256 units, and a
linear output over the vocabulary. Departure: torch's LSTM has two bias vectors per layer where LEAF's has one.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from decentralized.lazy import torch
from decentralized.models.needs import need_text
from decentralized.settings import Component
from decentralized.types import Facts


class CharLstm:
    """An embedding of each character, stacked LSTM layers, and a linear output after the last character."""

    class Config(Component):
        """Settings of the network."""

        embedding_dim: Annotated[int, Field(ge=1)] = 8
        """Numbers per character."""
        hidden: Annotated[int, Field(ge=1)] = 256
        """Units per LSTM layer."""
        layers: Annotated[int, Field(ge=1)] = 2
        """LSTM layers, one on top of the other."""

    def __init__(self, config: Config) -> None:
        self._config = config

    def build(self, facts: Facts) -> torch.nn.Module:
        """(B, length) int64 characters to (B, vocabulary) logits; raises ConfigError for other data than text."""
        from decentralized.models.layers.char_lstm import CharLstmNetwork  # imports torch

        config = self._config
        return CharLstmNetwork(need_text(config.name, facts), config.embedding_dim, config.hidden, config.layers)
