"""Matrix factorization for ratings.

The communication study (Dresevic, EPFL 2022, section 2.1): p_ij = X_i . Y_j + b_i + c_j, without a global mean, and the
penalty lambda/2 (||X||^2 + ||Y||^2) added to the loss. 610 users and 9,724 items with 20 numbers each make 217,014
parameters, 206,680 without the biases; the study prints 413,360, which is 40 numbers each without biases.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator
from typing_extensions import Self

from decentralized.lazy import torch
from decentralized.models.needs import need_ratings
from decentralized.settings import Component
from decentralized.types import Facts


class MatrixFactorization:
    """One vector and one bias per user and per item. The module has a method `penalty()` besides `forward`."""

    class Config(Component):
        """Settings of the factorization."""

        embedding_dim: Annotated[int, Field(ge=1)] = 20
        """Numbers per user and per item."""
        regularization: Annotated[float, Field(ge=0)] = 0.0
        """lambda of the penalty lambda/2 (||X||^2 + ||Y||^2); 0 is none."""
        biases: bool = True
        """Whether each user and each item has a bias."""
        initial_scale: Annotated[float, Field(gt=0)] = 0.1
        """Standard deviation of the first user and item vectors."""
        initial_bias: float = 0.0
        """First prediction of every rating, half in the user's bias and half in the item's; in rating units.

        The mean rating (3.5 on MovieLens) saves thousands of steps; 0 starts from the formula without a global mean.
        """
        sparse_gradients: bool = False
        """Gradients hold only the rows of the batch: half the cost of a step. For plain SGD, Adagrad and SparseAdam."""

        @model_validator(mode="after")
        def _penalty_is_dense(self) -> Self:
            if self.sparse_gradients and self.regularization:
                raise ValueError("sparse_gradients and regularization exclude each other: the penalty reaches all rows")
            return self

    def __init__(self, config: Config) -> None:
        self._config = config

    def build(self, facts: Facts) -> torch.nn.Module:
        """(B, 2) int64 rows (user, item) to (B,) float32 ratings; raises ConfigError for other data than ratings."""
        from decentralized.models.layers.matrix_factorization import MatrixFactorizationNetwork  # imports torch

        config = self._config
        users, items = need_ratings(config.name, facts)
        network = MatrixFactorizationNetwork(users, items, config.embedding_dim, config.biases, config.regularization)
        network.initialize(config.initial_scale, config.initial_bias)
        for module in network.modules():
            if isinstance(module, torch.nn.Embedding):
                module.sparse = config.sparse_gradients
        return network
