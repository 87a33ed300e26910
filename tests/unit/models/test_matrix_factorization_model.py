"""The prediction and the penalty of matrix factorization, by closed form, and a stable start on real ratings."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from decentralized.models.layers.matrix_factorization import MatrixFactorizationNetwork
from decentralized.models.matrix_factorization import MatrixFactorization
from decentralized.types import Facts


def build(users: int, items: int, **settings: Any) -> MatrixFactorizationNetwork:
    torch.manual_seed(2)
    config = MatrixFactorization.Config(name="matrix-factorization", **settings)
    module = MatrixFactorization(config).build(Facts((2,), users=users, items=items))
    assert isinstance(module, MatrixFactorizationNetwork)
    return module


def fill(module: MatrixFactorizationNetwork, **values: torch.Tensor) -> None:
    module.load_state_dict({f"{name}.weight": value for name, value in values.items()})


def test_prediction_is_the_product_and_both_biases() -> None:
    module = build(2, 3, embedding_dim=2)
    fill(
        module,
        user_factors=torch.tensor([[1.0, 2.0], [3.0, 4.0]]),
        item_factors=torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 2.0]]),
        user_biases=torch.tensor([[0.5], [0.25]]),
        item_biases=torch.tensor([[10.0], [20.0], [30.0]]),
    )
    ratings = module(torch.tensor([[0, 0], [1, 1], [1, 2]]))
    assert ratings.tolist() == [1.0 + 0.5 + 10.0, 4.0 + 0.25 + 20.0, 14.0 + 0.25 + 30.0]


def test_penalty_leaves_the_biases_out() -> None:
    module = build(2, 1, embedding_dim=2, regularization=0.5)
    fill(
        module,
        user_factors=torch.tensor([[1.0, 2.0], [3.0, 4.0]]),
        item_factors=torch.tensor([[5.0, 6.0]]),
        user_biases=torch.tensor([[100.0], [100.0]]),
        item_biases=torch.tensor([[100.0]]),
    )
    penalty = module.penalty()
    assert penalty is not None
    assert penalty.item() == 0.25 * (1 + 4 + 9 + 16 + 25 + 36)
    penalty.backward()  # type: ignore[no-untyped-call]
    gradient = module.user_factors.weight.grad
    assert gradient is not None and torch.equal(gradient, 0.5 * module.user_factors.weight)
    assert module.user_biases is not None and module.user_biases.weight.grad is None


def test_no_regularization_no_penalty() -> None:
    assert build(2, 3).penalty() is None


def test_initial_bias_is_the_first_prediction() -> None:
    module = build(50, 60, initial_bias=3.5, initial_scale=1e-6)
    assert torch.allclose(module(torch.tensor([[0, 0], [49, 59]])), torch.tensor([3.5, 3.5]))


def test_initial_scale_is_the_standard_deviation() -> None:
    module = build(500, 500, initial_scale=0.3)
    for factors in (module.user_factors, module.item_factors):
        assert factors.weight.std().item() == pytest.approx(0.3, rel=0.03)


@pytest.mark.parametrize("initial_bias", [0.0, 3.5])
def test_starts_stably_on_movielens(initial_bias: float) -> None:
    """Plain SGD, learning rate 0.25, batches of 8, as in the communication study: the error falls and stays finite."""
    root = os.environ.get("DECENTRALIZED_DATA")
    if not root or not (Path(root) / "ml-latest-small").is_dir():
        pytest.skip("DECENTRALIZED_DATA does not name a folder with ml-latest-small")
    pairs, ratings = read_ratings(Path(root) / "ml-latest-small" / "ratings.csv")
    users, items = (int(count) for count in pairs.max(dim=0).values + 1)
    module = build(users, items, initial_bias=initial_bias)
    generator = torch.Generator().manual_seed(3)

    def rmse() -> float:
        with torch.no_grad():
            return float((module(pairs) - ratings).square().mean().sqrt())

    errors = [rmse()]
    for _ in range(3):
        for _ in range(200):
            chosen = torch.randint(len(ratings), (8,), generator=generator)
            loss = (module(pairs[chosen]) - ratings[chosen]).square().mean()
            gradients = torch.autograd.grad(loss, list(module.parameters()))
            with torch.no_grad():
                for parameter, gradient in zip(module.parameters(), gradients, strict=True):
                    parameter.sub_(gradient, alpha=0.25)
        errors.append(rmse())
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < (1.0 if initial_bias else 2.0)


def read_ratings(path: Path) -> tuple[torch.Tensor, torch.Tensor]:
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))[1:]
    users = {name: number for number, name in enumerate(dict.fromkeys(row[0] for row in rows))}
    items = {name: number for number, name in enumerate(dict.fromkeys(row[1] for row in rows))}
    pairs = torch.tensor([[users[row[0]], items[row[1]]] for row in rows])
    return pairs, torch.tensor([float(row[2]) for row in rows])


def test_sparse_gradients_take_the_same_steps() -> None:
    pairs, ratings = torch.tensor([[0, 1], [2, 1], [0, 3]]), torch.tensor([4.0, 2.0, 5.0])
    after = []
    for sparse in (False, True):
        torch.manual_seed(0)
        module = build(3, 4, sparse_gradients=sparse)
        optimizer = torch.optim.SGD(module.parameters(), lr=0.25)
        torch.nn.functional.mse_loss(module(pairs), ratings).backward()  # type: ignore[no-untyped-call]
        assert module.item_factors.weight.grad is not None
        assert module.item_factors.weight.grad.is_sparse == sparse
        optimizer.step()
        after.append(torch.nn.utils.parameters_to_vector(module.parameters()))
    assert torch.allclose(after[0], after[1], atol=1e-6)


def test_sparse_gradients_exclude_a_penalty() -> None:
    with pytest.raises(ValidationError, match="exclude each other"):
        MatrixFactorization.Config(name="matrix-factorization", sparse_gradients=True, regularization=0.1)
