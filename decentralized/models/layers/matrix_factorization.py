"""A rating as the product of a user vector and an item vector.

Legend: B samples of a batch, D numbers per user and per item.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn


class MatrixFactorizationNetwork(nn.Module):
    """(user, item) rows (B, 2) int64 to predicted ratings (B,) float32."""

    def __init__(self, users: int, items: int, embedding_dim: int, biases: bool, regularization: float) -> None:
        super().__init__()
        self.user_factors = nn.Embedding(users, embedding_dim)
        self.item_factors = nn.Embedding(items, embedding_dim)
        self.user_biases = nn.Embedding(users, 1) if biases else None
        self.item_biases = nn.Embedding(items, 1) if biases else None
        self.regularization = regularization

    def initialize(self, scale: float, bias: float) -> None:
        """Factors are normal with standard deviation `scale`; the two biases of a rating add up to `bias`."""
        nn.init.normal_(self.user_factors.weight, std=scale)
        nn.init.normal_(self.item_factors.weight, std=scale)
        for biases in (self.user_biases, self.item_biases):
            if biases is not None:
                nn.init.constant_(biases.weight, bias / 2)

    def forward(self, pairs_B2: torch.Tensor) -> torch.Tensor:
        users_B, items_B = pairs_B2[:, 0], pairs_B2[:, 1]
        rating_B: torch.Tensor = (self.user_factors(users_B) * self.item_factors(items_B)).sum(dim=1)
        if self.user_biases is not None and self.item_biases is not None:
            rating_B = rating_B + self.user_biases(users_B)[:, 0] + self.item_biases(items_B)[:, 0]
        return rating_B

    def row_offsets(self) -> dict[str, int]:
        """The first row of each table: users come first, items after them."""
        items = self.user_factors.num_embeddings
        offsets = {"user_factors.weight": 0, "item_factors.weight": items}
        if self.user_biases is not None:
            offsets |= {"user_biases.weight": 0, "item_biases.weight": items}
        return offsets

    def rows_of(self, pairs_B2: np.ndarray) -> np.ndarray:
        """The rows that these (user, item) samples touch, each once."""
        return np.unique(pairs_B2 + np.array([0, self.user_factors.num_embeddings]))

    def personal_parts(self) -> dict[str, tuple[str, ...]]:
        """A user's rows are the input of what all users share, the items' rows the output."""
        return {"input": ("user_*",), "output": ("item_*",)}

    def penalty(self) -> torch.Tensor | None:
        """lambda/2 (||X||^2 + ||Y||^2), to add to the loss; the biases are not regularized. None for lambda 0."""
        if not self.regularization:
            return None  # squaring both tables costs more than the rest of a step
        squares = self.user_factors.weight.square().sum() + self.item_factors.weight.square().sum()
        return self.regularization / 2 * squares
