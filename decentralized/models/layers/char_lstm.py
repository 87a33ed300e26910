"""Next-character prediction with stacked LSTM layers."""

from __future__ import annotations

import torch
from torch import nn


class CharLstmNetwork(nn.Module):
    """Characters (B, L) int64 to logits (B, vocabulary) of the character that follows."""

    def __init__(self, vocabulary: int, embedding_dim: int, hidden: int, layers: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, embedding_dim)
        self.lstm = nn.LSTM(embedding_dim, hidden, num_layers=layers, batch_first=True)
        self.output = nn.Linear(hidden, vocabulary)

    def forward(self, characters_BL: torch.Tensor) -> torch.Tensor:
        states_BLH, _ = self.lstm(self.embedding(characters_BL))
        logits_BV: torch.Tensor = self.output(states_BLH[:, -1])
        return logits_BV
