"""Notebook 01: what its text asserts in passing, its taught code, its slider."""

import ast
import inspect
import re

import numpy as np
import pytest
from lesson_pages import source

from safemarl_lite import cmdp
from safemarl_lite.lessons import lesson_01
from safemarl_lite.lessons.tasks import random_cmdp


def test_the_front_is_concave_and_the_price_bounds_it_everywhere():
    """Sections 4 and 6: v is nondecreasing and concave; λ is a multiplier exactly if its plane
    lies on or above the whole front. Control: prices outside the interval cut it."""
    task, budgets = lesson_01.grid_world(), np.linspace(0.0302, 1.8, 60)
    v, _, prices = lesson_01.pareto_front(task, budgets)
    assert (np.diff(v) > -1e-9).all() and (np.diff(v, 2) < 1e-7).all()
    for k in range(60):
        assert (v[k] + prices[k, 0] * (budgets - budgets[k]) - v > -1e-6).all()
    corner = cmdp.dual_function(task, [0.5])[1]  # at this kink prices 0 to 1.135 fit
    here = task.with_thresholds(corner.J_c[0])
    for λ, fits in ((0.0, True), (0.6, True), (1.13, True), (1.3, False), (2.0, False)):
        above = (corner.J_r + λ * (budgets - corner.J_c[0]) - v > -1e-9).all()
        dual_is_tight = abs(cmdp.dual_function(here, [λ])[0] - corner.J_r) < 1e-9
        assert above == dual_is_tight == fits


@pytest.mark.parametrize("seed", range(5))
def test_sensitivity_with_two_budgets(seed):
    task = random_cmdp(np.random.default_rng(seed), 6, 3, 2)
    best, rng = cmdp.solve_lp(task), np.random.default_rng(0)
    assert abs(cmdp.dual_function(task, best.multipliers)[0] - best.value) < 1e-8
    for budgets in task.thresholds * rng.uniform(0.8, 1.5, (20, 2)):
        try:
            value = cmdp.solve_lp(task.with_thresholds(budgets)).value
        except cmdp.InfeasibleCMDP:
            continue
        assert value <= best.value + best.multipliers @ (budgets - task.thresholds) + 1e-8


def test_the_coin_of_the_first_figure():
    for budget, waits in ((0.5, 0.246), (0.7, 0.706)):
        best = cmdp.solve_lp(lesson_01.grid_world(budget))
        a, b = lesson_01.first_moves(best.policy)
        assert np.allclose(b, (waits, 0, 1 - waits), atol=5e-4) and np.allclose(a, (0, 1, 0))
        assert cmdp.extra_actions(best.occupancy) == 1
    ends = [cmdp.solve_lp(lesson_01.grid_world(τ)).policy.argmax(1) for τ in (0.4, 0.8)]
    assert (ends[0] != ends[1]).sum() == 1  # between two kinks one state changes its action


def test_the_last_policy_breaks_or_wastes_the_budget_and_the_average_keeps_it():
    task = lesson_01.grid_world()
    prices, _, costs, x = cmdp.subgradient_ascent(task, 400, 2.0)
    best, mean = cmdp.solve_lp(task), cmdp.solution_of(task, x, prices[-1])
    assert abs(prices[-1, 0] - best.multipliers[0]) < 0.05
    assert abs(costs[-100:] - 0.5).min() > 0.1  # single policies
    assert abs(mean.costs[0] - 0.5) < 0.05 and abs(mean.value - best.value) < 0.05


def test_a_threshold_refused_at_the_least_cost_comes_with_one_that_works():
    """Near γ = 1 rounding decides at the least possible cost; the error's number is feasible."""
    for seed in range(40):
        task = random_cmdp(np.random.default_rng(seed), 5, 3, 1, discount=0.999)
        least = cmdp.evaluate(task, cmdp.best_response(task, -task.costs[0])).J_c
        try:
            cost = cmdp.solve_lp(task.with_thresholds(least)).costs[0]
        except cmdp.InfeasibleCMDP as error:
            assert abs(error.feasible[0] - least[0]) < 1e-6
            advised = float(re.search(r"threshold is ([\d.]+)", str(error)).group(1))
            cost = cmdp.solve_lp(task.with_thresholds(advised)).costs[0]
        assert cost < least[0] + 2e-6


def untyped(code):
    """The functions of a source without their annotations: name → text."""
    found = [node for node in ast.parse(code).body if isinstance(node, ast.FunctionDef)]
    for node in found:
        node.returns = None
        for argument in node.args.args:
            argument.annotation = None
    return {node.name: ast.unparse(node) for node in found}


def test_taught_code_is_the_library_s():
    library = untyped(inspect.getsource(cmdp.state_values))
    assert untyped(source("01")["state-values"]) == library
