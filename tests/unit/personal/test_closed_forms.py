"""Each learner's steps against its paper's formulas, in float64, on a quadratic problem."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.unit.personal.quadratic import WIDTH, OnePart, Problem, TwoParts, nothing, value

LR_U, LR_V = 0.1, 0.03
RATES = {"optimizer": {"name": "SGD", "lr": LR_U}, "personal_optimizer": {"name": "SGD", "lr": LR_V}}


def close(found: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def parts(learner: Any) -> tuple[np.ndarray, np.ndarray]:
    """u and v."""
    return value(learner.parameters.shared), value(learner.parameters.personal)


class TestFedAltAndFedSim:
    def test_fedalt_moves_v_first_and_then_u_with_the_new_v(self) -> None:
        problem = Problem()
        learner = problem.learner(TwoParts(), "partial", method="fedalt", personal=("v",), **RATES)
        u, v = parts(learner)
        learner.fit(1, nothing)
        v_new = v - LR_V * problem.gradient(u + v)
        close(parts(learner)[1], v_new)
        close(parts(learner)[0], u - LR_U * problem.gradient(u + v_new))

    def test_fedsim_moves_both_from_one_gradient(self) -> None:
        problem = Problem()
        learner = problem.learner(TwoParts(), "partial", method="fedsim", personal=("v",), **RATES)
        u, v = parts(learner)
        learner.fit(1, nothing)
        gradient = problem.gradient(u + v)
        close(parts(learner)[1], v - LR_V * gradient)
        close(parts(learner)[0], u - LR_U * gradient)

    @pytest.mark.parametrize(("steps", "length"), [(3, {"personal_steps": 3}), (2, {"personal_epochs": 2}), (1, {})])
    def test_v_has_steps_of_its_own(self, steps: int, length: dict[str, int]) -> None:
        problem = Problem()
        learner = problem.learner(TwoParts(), "partial", personal=("v",), **RATES, **length)
        u, v = parts(learner)
        learner.fit(1, nothing)
        for _ in range(steps):
            v = v - LR_V * problem.gradient(u + v)
        close(parts(learner)[1], v)
        close(parts(learner)[0], u - LR_U * problem.gradient(u + v))

    def test_v_stays_when_u_is_replaced(self) -> None:
        learner = Problem().learner(TwoParts(), "partial", personal=("v",))
        _, v = parts(learner)
        learner.load(learner.vector() * 0 + 7)
        u, after = parts(learner)
        assert u.tolist() == [7] * WIDTH and after.tolist() == v.tolist()

    @pytest.mark.parametrize("method", ["fedalt", "fedsim"])
    def test_everything_personal_is_training_alone(self, method: str) -> None:
        problem = Problem()
        learner = problem.learner(TwoParts(), "partial", method=method, personal="all", **RATES)
        assert len(learner.vector()) == 0
        v, u = np.split(value(learner.parameters.vector), 2)  # in the order of the model
        metrics = learner.fit(1, nothing)
        gradient = problem.gradient(u + v)
        close(value(learner.parameters.vector), np.concatenate([v - LR_V * gradient, u - LR_V * gradient]))
        assert len(metrics) == 1

    def test_reconstruction_begins_each_round_with_the_first_v(self) -> None:
        problem = Problem()
        rates = {**RATES, "personal_optimizer": {"name": "SGD", "lr": LR_V, "momentum": 0.9}}
        learner = problem.learner(TwoParts(), "partial", preset="reconstruction", personal=("v",), **rates)
        u, first = parts(learner)
        for round in (1, 2):
            learner.fit(round, nothing)
            v = first - LR_V * problem.gradient(u + first)  # no momentum of an earlier round either
            u = u - LR_U * problem.gradient(u + v)
            close(parts(learner)[1], v)
            close(parts(learner)[0], u)

    def test_reconstruction_fits_v_to_the_newest_u_before_it_is_evaluated(self) -> None:
        problem = Problem()
        learner = problem.learner(TwoParts(), "partial", preset="reconstruction", personal=("v",), **RATES)
        _, first = parts(learner)
        learner.fit(1, nothing)
        learner.load(learner.vector() * 0.5)  # mixing
        u, v_before = parts(learner)
        v = first - LR_V * problem.gradient(u + first)
        expected = np.mean((problem.x @ (u + v) - problem.y) ** 2)
        assert learner.evaluate("test", nothing)["loss"] == pytest.approx(expected, rel=1e-5)
        assert parts(learner)[1].tolist() == v_before.tolist()


def test_ditto_pulls_its_model_to_u_as_it_was_at_the_start() -> None:
    problem, strength = Problem(), 0.7
    learner = problem.learner(OnePart(), "ditto", regularization=strength, personal_steps=3, **RATES)
    u = v = value(learner.vector())
    for round in (1, 2):
        learner.fit(round, nothing)
        anchor, u = u, u - LR_U * problem.gradient(u)
        for _ in range(3):
            v = v - LR_V * (problem.gradient(v) + strength * (v - anchor))
        close(value(learner.vector()), u)
        expected = np.mean((problem.x @ v - problem.y) ** 2)
        assert learner.evaluate("test", nothing)["loss"] == pytest.approx(expected, rel=1e-5)
        assert learner.arrays()["w"].tolist() == pytest.approx(v.tolist(), rel=1e-5)
        assert learner.arrays()["shared.w"].tolist() == pytest.approx(u.tolist(), rel=1e-5)


class TestPFedMe:
    def test_inner_and_outer_steps(self) -> None:
        problem, strength = Problem(), 2.0
        learner = problem.learner(OnePart(), "pfedme", regularization=strength, inner_steps=4, local_steps=2, **RATES)
        u = value(learner.vector())
        learner.fit(1, nothing)
        theta = u
        for _ in range(2):
            for _ in range(4):
                theta = theta - LR_V * (problem.gradient(theta) + strength * (theta - u))
            u = u - LR_U * strength * (u - theta)
        close(value(learner.vector()), u)
        close(learner.arrays()["w"], theta)

    def test_with_many_inner_steps_it_descends_the_moreau_envelope(self) -> None:
        problem, strength = Problem(), 2.0
        learner = problem.learner(OnePart(), "pfedme", regularization=strength, inner_steps=500, **RATES)
        u = value(learner.vector())
        learner.fit(1, nothing)
        target = 2 / len(problem.y) * problem.x.T @ problem.y
        theta = np.linalg.solve(problem.hessian + strength * np.eye(WIDTH), target + strength * u)
        close(learner.arrays()["w"], theta)
        close(value(learner.vector()), u - LR_U * strength * (u - theta))


class TestAPFL:
    def test_both_models_step_from_the_same_place(self) -> None:
        problem, alpha = Problem(), 0.3
        learner = problem.learner(OnePart(), "apfl", alpha=alpha, local_steps=2, **RATES)
        u = v = value(learner.vector())
        metrics = learner.fit(1, nothing)
        for _ in range(2):
            gradient = problem.gradient(alpha * v + (1 - alpha) * u)
            u, v = u - LR_U * problem.gradient(u), v - LR_V * alpha * gradient
        close(value(learner.vector()), u)
        close(learner.arrays()["w"], alpha * v + (1 - alpha) * u)
        assert metrics["alpha"] == alpha
        learner.load(learner.vector() * 0)  # the mixture follows u
        expected = np.mean((problem.x @ (alpha * v) - problem.y) ** 2)
        assert learner.evaluate("test", nothing)["loss"] == pytest.approx(expected, rel=1e-5)

    def test_alpha_is_learned_once_a_round(self) -> None:
        problem = Problem()
        learner = problem.learner(OnePart(), "apfl", alpha=0.5, alpha_lr=0.05, local_steps=2, **RATES)
        alpha, u = 0.5, value(learner.vector())
        v = u
        for round in (1, 2, 3):
            for batch in range(2):
                gradient = problem.gradient(alpha * v + (1 - alpha) * u)
                slope = (v - u) @ gradient
                u, v = u - LR_U * problem.gradient(u), v - LR_V * alpha * gradient
                alpha -= 0.05 * slope if batch == 0 else 0
            assert learner.fit(round, nothing)["alpha"] == pytest.approx(alpha, rel=1e-4)
            close(learner.arrays()["w"], alpha * v + (1 - alpha) * u)
        assert 0 < alpha != 0.5

    def test_alpha_stays_a_weight(self) -> None:
        learner = Problem().learner(OnePart(), "apfl", alpha=0.5, alpha_lr=1e6, local_steps=2, **RATES)
        assert {learner.fit(round, nothing)["alpha"] for round in range(1, 6)} <= {0.0, 0.5, 1.0}


class TestMAML:
    @pytest.mark.parametrize("gradient", ["first-order", "exact"])
    def test_a_step(self, gradient: str) -> None:
        problem, alpha = Problem(), 0.2
        learner = problem.learner(OnePart(), "maml", gradient=gradient, adaptation_lr=alpha, local_steps=2)
        u = value(learner.vector())
        learner.fit(1, nothing)
        for _ in range(2):
            step = problem.gradient(u - alpha * problem.gradient(u))
            u = u - LR_U * (step - alpha * problem.hessian @ step if gradient == "exact" else step)
        close(value(learner.vector()), u)

    def test_it_is_evaluated_after_adaptation(self) -> None:
        problem = Problem()
        learner = problem.learner(OnePart(), "maml", adaptation_lr=0.2, adaptation_steps=3)
        u = value(learner.vector())
        for _ in range(3):
            u = u - 0.2 * problem.gradient(u)
        expected = np.mean((problem.x @ u - problem.y) ** 2)
        assert learner.evaluate("test", nothing)["loss"] == pytest.approx(expected, rel=1e-5)


def test_fine_tuning_measures_a_copy_after_some_steps() -> None:
    problem = Problem()
    learner = problem.learner(OnePart(), "fine-tune", fine_tuning_steps=4, **RATES)
    u = before = value(learner.vector())
    for _ in range(4):
        u = u - LR_V * problem.gradient(u)
    found = learner.evaluate("test", nothing)
    assert found["loss"] == pytest.approx(np.mean((problem.x @ u - problem.y) ** 2), rel=1e-5)
    assert found["shared_loss"] == pytest.approx(np.mean((problem.x @ before - problem.y) ** 2), rel=1e-5)
    assert value(learner.vector()).tolist() == before.tolist()
