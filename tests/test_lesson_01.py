"""Notebook 01: its solutions pass the checks, common slips are named, the slider redraws."""

import ast
import inspect
import re
from pathlib import Path

import nbformat
import numpy as np
import pytest

from safemarl_lite import cmdp
from safemarl_lite.lessons import lesson_01
from safemarl_lite.lessons.tasks import random_cmdp

ROOT = Path(__file__).parents[1]
CELLS = nbformat.read(ROOT / "notebooks/01_constrained_mdp.ipynb", as_version=4).cells
SOURCE = {cell.id: cell.source for cell in CELLS}
CHECKS = {
    1: (lesson_01.check_occupancy, "occupancy"),
    2: (lesson_01.check_lp, "occupancy_lp"),
    3: (lesson_01.check_price, "price_by_bisection"),
    4: (lesson_01.check_mixture, "mixture"),
}


def solution(exercise):
    """The source of the solution that the notebook prints."""
    return re.search(r"```python\n(.*?)```", SOURCE[f"ex-{exercise}-help"], re.S).group(1)


def run(exercise, source, capsys):
    """What the check prints for `source`."""
    check, name = CHECKS[exercise]
    space = {"np": np}
    exec(source, space)
    check(space[name])
    return capsys.readouterr().out


@pytest.mark.parametrize("exercise", CHECKS)
def test_solution_passes(exercise, capsys):
    assert run(exercise, solution(exercise), capsys) == f"Exercise 1.{exercise}: correct.\n"


@pytest.mark.parametrize("exercise", CHECKS)
def test_stub_gets_a_friendly_line_and_has_the_solution_s_arguments(exercise, capsys):
    stub = SOURCE[f"ex-{exercise}-stub"]
    assert "not written yet" in run(exercise, stub, capsys)
    spaces = [{"np": np}, {"np": np}]
    for space, source in zip(spaces, (stub, solution(exercise)), strict=True):
        exec(source, space)
    stub_args, solution_args = (
        inspect.signature(s[CHECKS[exercise][1]]).parameters for s in spaces
    )
    assert list(stub_args) == list(solution_args)


@pytest.mark.parametrize(
    ("exercise", "right", "wrong", "slip"),
    [
        (1, "step.T", "step", "not transposed"),
        (1, "visits[:, None] * policy", "(1 - discount) * visits[:, None] * policy", "Ten times"),
        (1, "visits[:, None] * policy", "visits", "shape is (5,)"),
        (2, "-reward.ravel()", "reward.ravel()", "hand it −r"),
        (2, "-result.ineqlin", "result.ineqlin", "The sign"),
        (2, "[threshold]", "[1e6]", "budget is ignored"),
        (2, "b_eq=start", "b_eq=(1 - discount) * start", "sums to 1"),
        (2, " - discount * ", " - ", "is γ in"),
        (2, "transition.reshape(S * A, S).T", "transition.reshape(S, S * A)", "breaks (flow)"),
        (2, "result.x.reshape(S, A), -result.ineqlin.marginals[0]",
         "-result.ineqlin.marginals[0], result.x.reshape(S, A)", "swapped"),
        (3, "cost_of(middle) > threshold", "cost_of(middle) <= threshold", "ran to"),
        (3, "    if cost_of(0.0) <= threshold:\n        return 0.0\n    low = 0.0", "    low = 0.5",
         "the price is 0"),
        (3, "while high - low > 1e-9", "while cost_of(high) != threshold", "did not end"),
        (3, "low + high) / 2", "low + high) / 0", "ZeroDivisionError"),
        (4, "threshold - safe", "fast - threshold", "swapped"),
        (4, "return x / x.sum(axis=1, keepdims=True)", "return x", "divide each row"),
        (4, "x = w * x_fast + (1 - w) * x_safe",
         "x = w * (x_fast > 1e-9) + (1 - w) * (x_safe > 1e-9)", "state by state"),
    ],
)  # fmt: skip
def test_slips_are_named(exercise, right, wrong, slip, capsys):
    source = solution(exercise)
    assert right in source
    printed = run(exercise, source.replace(right, wrong), capsys)
    assert slip in printed and "correct" not in printed


def test_answers_of_other_kinds_pass(capsys):
    """A flat x, a price (1,), float32, lists, an answer that writes into what it is given."""
    space = {"np": np}
    for exercise in CHECKS:
        exec(solution(exercise), space)
    lp, price, x = space["occupancy_lp"], space["price_by_bisection"], space["occupancy"]

    def flat(*given):
        found, λ = lp(*given)
        return found.ravel(), np.array([λ])

    def in_place(transition, policy, start, discount):
        answer = x(transition, policy, start, discount)
        transition *= 0
        return answer.tolist()

    lesson_01.check_lp(flat)
    lesson_01.check_price(lambda *given: np.array([price(*given)], np.float32))
    lesson_01.check_occupancy(in_place)
    assert capsys.readouterr().out.count("correct") == 3


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


def untyped(source):
    """The functions of a source without their annotations: name → text."""
    found = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]
    for node in found:
        node.returns = None
        for argument in node.args.args:
            argument.annotation = None
    return {node.name: ast.unparse(node) for node in found}


def test_taught_code_is_the_library_s():
    library = untyped(inspect.getsource(cmdp.state_values))
    assert untyped(SOURCE["state-values"]) == library
