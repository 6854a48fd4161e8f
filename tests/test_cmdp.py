"""cmdp.py against brute force, value iteration and the identities that exact values must obey."""

from dataclasses import replace

import numpy as np
import pytest
from benchmarks import cmdp_oracles as oracles
from hypothesis import given, settings
from hypothesis import strategies as st

from safemarl_lite import cmdp as C
from safemarl_lite.lessons.lesson_01 import grid_world, pareto_front
from safemarl_lite.lessons.tasks import random_cmdp

TOLERANCE = 1e-8


def small_cmdp(seed=0, S=4, A=3, m=1, discount=0.9):
    return random_cmdp(np.random.default_rng(seed), S, A, m, discount)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_every_oracle_agrees(seed):
    (cmdp, rng), *_ = oracles.problems(1, seed)
    errors, _ = oracles.measure(cmdp, rng)
    # HiGHS drops coefficients below 1e-9: prices may be off by more than values (seed 114: 1.8e-8)
    assert max(errors.values()) <= 10 * TOLERANCE, errors


@pytest.mark.parametrize("m", [1, 2, 3])
def test_brute_force_and_its_negative_control(m):
    for seed in range(10):
        cmdp = small_cmdp(seed, m=m)
        best, points = C.solve_lp(cmdp), oracles.deterministic_points(cmdp)
        assert oracles.best_mixture(points, cmdp.thresholds) == pytest.approx(best.value, abs=1e-9)
        feasible = points[(points[:, 1:] <= cmdp.thresholds).all(1), 0]
        if C.extra_actions(best.occupancy):  # without mixing the optimum is out of reach
            assert feasible.max(initial=-np.inf) < best.value


def test_values_are_discounted_sums():
    cmdp = small_cmdp(3, m=2)
    policy = np.random.default_rng(1).dirichlet(np.ones(3), 4)
    at, reach, total = cmdp.start, C.policy_matrix(cmdp, policy), np.zeros(2)
    for t in range(400):
        total += cmdp.discount**t * np.einsum("s,sa,msa->m", at, policy, cmdp.costs)
        at = at @ reach
    np.testing.assert_allclose(C.evaluate(cmdp, policy).J_c, total, atol=1e-12)


def test_multiplier_is_the_slope_of_the_front():
    cmdp = grid_world(threshold=0.6)
    values, _, multipliers = pareto_front(cmdp, [0.6 - 1e-4, 0.6, 0.6 + 1e-4])
    assert (values[2] - values[0]) / 2e-4 == pytest.approx(multipliers[1, 0], abs=1e-6)


def test_front_is_concave_and_nan_where_infeasible():
    values, costs, multipliers = pareto_front(grid_world(), np.linspace(0, 2, 21))
    assert np.isnan(values[0]) and np.isnan(costs[0]).all() and np.isnan(multipliers[0]).all()
    assert (np.diff(values[1:], 2) <= 1e-9).all() and (np.diff(multipliers[1:, 0]) <= 1e-9).all()


def test_infeasible_threshold_names_the_least_feasible():
    with pytest.raises(C.InfeasibleCMDP, match=r"smallest feasible threshold is 0\.030114") as info:
        C.solve_lp(grid_world(threshold=0.0))
    error = info.value
    assert error.feasible == pytest.approx(error.least, abs=1e-9)
    C.solve_lp(grid_world(threshold=error.feasible[0] + 1e-9))
    with pytest.raises(C.InfeasibleCMDP):
        C.solve_lp(grid_world(threshold=error.feasible[0] - 1e-6))


def test_infeasible_with_several_budgets():
    cmdp = small_cmdp(5, S=6, m=3).with_thresholds([0.1, 0.2, 0.3])
    with pytest.raises(C.InfeasibleCMDP, match="raised alike") as info:
        C.solve_lp(cmdp)
    error = info.value
    assert np.ptp(error.feasible - cmdp.thresholds) < 1e-12
    assert (error.least <= error.feasible + 1e-9).all()
    C.solve_lp(cmdp.with_thresholds(error.feasible + 1e-8))
    with pytest.raises(C.InfeasibleCMDP):
        C.solve_lp(cmdp.with_thresholds(error.feasible - 1e-6))
    with pytest.raises(ValueError, match="are the budgets feasible"):
        C.dual_ascent(cmdp)


def test_subgradient_ascent_keeps_its_promise():
    cmdp = grid_world()
    best = C.solve_lp(cmdp)
    λ, J_r, J_c, mean = C.subgradient_ascent(cmdp, steps=400, rate=0.5)
    assert λ.shape == (400, 1) and J_r.shape == (400,) and J_c.shape == (400, 1)
    assert (λ >= 0).all() and mean.sum() == pytest.approx(1 / (1 - cmdp.discount))
    mixed = C.solution_of(cmdp, mean, λ[-1])
    assert abs(mixed.costs[0] - 0.5) < 0.1 and abs(mixed.value - best.value) < 0.2
    η = 0.5 / np.sqrt(np.arange(1, 401))  # the two bounds that notebook 01 proves
    assert mixed.costs[0] - 0.5 <= (λ[-1, 0] + η[-1] * abs(J_c[-1, 0] - 0.5)) / η.sum()
    assert mixed.value >= best.value - η**2 @ (J_c[:, 0] - 0.5) ** 2 / (2 * η.sum())
    assert np.abs(J_c[-50:] - 0.5).min() > 0.1  # no single policy sits at the budget


def test_grid_world_is_what_its_docstring_says():
    cmdp = grid_world(wind=0.0, urgency=(1, 1))
    free = C.evaluate(cmdp, C.best_response(cmdp, cmdp.reward))
    γ = cmdp.discount  # both fly straight through: three steps in the air each, two near misses
    assert pytest.approx(-2 * (1 + γ + γ**2)) == free.J_r
    assert free.J_c[0] == pytest.approx(γ + γ**2)
    safe = C.evaluate(cmdp, C.best_response(cmdp, -cmdp.costs[0]))
    assert safe.J_c[0] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"transition": np.ones((2, 3))}, "transition has shape"),
        ({"reward": np.zeros((4, 2))}, r"reward has shape \(4, 2\)"),
        ({"costs": np.zeros((4, 3))}, "costs has shape"),
        ({"thresholds": []}, "m=0 ≥ 1"),
        ({"start": [0.5, 0.5, 0.5, 0.5]}, "start must"),
        ({"transition": np.full((4, 3, 4), 0.3)}, "transition must"),
        ({"discount": 1.0}, "discount is 1.0"),
        ({"reward": np.full((4, 3), np.nan)}, "NaN"),
    ],
)
def test_bad_input_gets_one_clear_line(change, message):
    with pytest.raises(ValueError, match=message) as info:
        replace(small_cmdp(), **change)
    assert "\n" not in str(info.value)


def test_bad_policy_is_refused():
    with pytest.raises(ValueError, match="each row"):
        C.evaluate(small_cmdp(), np.ones((4, 3)))


def test_arrays_are_copied_and_read_only():
    reward = np.zeros((4, 3))
    cmdp = replace(small_cmdp(), reward=reward)
    reward[0, 0] = 9
    assert cmdp.reward[0, 0] == 0
    with pytest.raises(ValueError, match="read-only"):
        cmdp.reward[0, 0] = 1


def test_tiny_probabilities_are_not_lost():
    """HiGHS drops coefficients below 1e-9; here that alone broke the budget by 6e-8."""
    cmdp, _ = list(oracles.problems(11, seed=2))[10]
    assert 0 < cmdp.transition.min() < 1e-9
    assert (C.solve_lp(cmdp).costs <= cmdp.thresholds + 1e-10).all()
