"""Notebook 04: solutions and slips, the switches and their checks, the draft's formulas."""

import inspect
import re
import sys
from dataclasses import replace
from pathlib import Path

import matplotlib
import nbformat
import numpy as np
import pytest
import torch

from safemarl_lite import as_printed, cmdp, lagrangian
from safemarl_lite.lessons import lesson_04, widgets

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests/benchmarks"))
import draft_faults  # noqa: E402

CELLS = nbformat.read(ROOT / "notebooks/04_cost_advantage_and_lagrangian.ipynb", 4).cells
SOURCE = {cell.id: cell.source for cell in CELLS}
CHECKS = {
    1: (lesson_04.check_mean_advantage, "mean_advantage"),
    2: (lesson_04.check_cost_advantage, "cost_advantage"),
    3: (lesson_04.check_multiplier_rule, "multiplier_rule"),
    4: (lesson_04.check_diagnosis, "diagnosis"),
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
def test_solution_passes_and_stub_gets_a_friendly_line(exercise, capsys):
    assert run(exercise, solution(exercise), capsys) == f"Exercise 4.{exercise}: correct.\n"
    assert "not written yet" in run(exercise, SOURCE[f"ex-{exercise}-stub"], capsys)


@pytest.mark.parametrize(
    ("exercise", "right", "wrong", "slip"),
    [
        (1, "(policy * advantage).sum(axis=1)", "advantage.mean(axis=1)", "weight each"),
        (1, " - values[:, None]", "", "not subtracted"),
        (1, "discount * transition", "transition", "γ is missing"),
        (2, "[:, 1]", "[:, 0]", "reward's critic"),
        (2, "(1 - terminated) * ", "", "no bootstrap"),
        (2, "(1 - terminated)", "(1 - ended)", "cut by time"),
        (2, "(1 - ended[t]) * ", "", "next episode"),
        (3, "violation = costs - thresholds", "violation = np.maximum(0, costs - thresholds)",
         "cannot fall"),
        (3, "costs - thresholds", "thresholds - costs", "reversed"),
        (3, "np.maximum(0, ", "(", "never negative"),
        (3, "rate * violation", "rate * violation + proportional * violation", "pile up"),
        (4, "only_rises", "hinge", "again and again"),
        (4, "only_rises", "no_terminals", "never land"),
        (4, "only_rises", "something", "what should it do"),
    ],
)  # fmt: skip
def test_slips_are_named(exercise, right, wrong, slip, capsys):
    source = solution(exercise)
    assert right in source
    printed = run(exercise, source.replace(right, wrong), capsys)
    assert slip in printed and "correct" not in printed and printed.count("\n") == 1


def test_solutions_are_the_library_s():
    space, rng = {"np": np}, np.random.default_rng(0)
    exec(solution(2) + solution(3), space)
    c, v, after = rng.random(9), rng.random((9, 2)), rng.random((9, 2))
    landed, ended = rng.random(9) < 0.2, rng.random(9) < 0.4
    tensors = (torch.tensor(x) for x in (c, v[:, 1], after[:, 1], landed, ended | landed))
    theirs = lagrangian.gae(*tensors, 0.9, 0.8).numpy()
    assert np.allclose(
        space["cost_advantage"](c, v, after, landed, ended | landed, 0.9, 0.8), theirs
    )
    λ, cost = lagrangian.Multipliers([1.0, 2.0], 0.1, 0.7, 0.5), np.array([1.4, 0.3])
    integral, price = space["multiplier_rule"](λ.integral, cost, λ.thresholds, 0.1, 0.5)
    assert np.allclose(λ.update(cost), price) and np.allclose(λ.integral, integral)


def test_taught_code_is_the_library_s():
    for function in (lagrangian.combined_advantage, lagrangian.clipped_loss):
        assert inspect.getsource(function).strip() in SOURCE["taught"]


def test_every_switch_is_caught_by_its_check_and_the_corrected_update_passes_all():
    task = lesson_04.delivery()
    best = cmdp.solve_lp(task)
    for name in ("", *as_printed.NAMES):
        faults = as_printed.Faults(**({name: True} if name else {}))
        history = as_printed.train(task, faults, seed=11)
        passed = lesson_04.passes(history, task.thresholds)
        assert tuple(passed) == as_printed.NAMES
        if name:
            assert not passed[name], name
        else:
            assert all(passed.values()), passed
            assert lesson_04.distance(history, best)[-50:].mean() < 0.3
            assert abs(history["lambda"][-100:].mean() - best.multipliers[0]) < 0.3


def test_a_budget_that_is_never_broken_has_no_price_and_no_check_fires():
    task = lesson_04.delivery()
    for loose in (task.with_thresholds(2.0), replace(task, costs=0 * task.costs)):
        history = as_printed.train(loose, iterations=100)
        assert all(lesson_04.passes(history, loose.thresholds).values())
        assert history["lambda"][-1] == 0


def test_the_hinge_s_price_climbs_past_the_optimal_one():
    task = lesson_04.delivery()
    best = cmdp.solve_lp(task).multipliers[0]
    for faults, climbs in ((as_printed.Faults(hinge=True), True), (None, False)):
        price = as_printed.train(task, faults, iterations=400, seed=3)["lambda"][200:].mean()
        assert (price > 1.8 * best) == climbs


def test_the_corrected_update_keeps_two_budgets_of_another_task():
    task = lesson_04.delivery()
    detour = np.zeros((6, 2))
    detour[2:5] = 0.1  # the detour has a small cost of another kind
    costs = np.stack([task.costs[0], detour])
    two = cmdp.TabularCMDP(task.transition, task.reward, costs, [0.4, 0.4], task.start, 0.95)
    history = as_printed.train(two, seed=1)
    assert all(lesson_04.passes(history, two.thresholds).values())
    assert (history["J_c"][-100:].mean(0) < two.thresholds + 0.05).all()


def test_the_draft_s_formulas_on_twenty_random_problems():
    for problem, rng in draft_faults.problems(20):
        errors, (slack, used) = draft_faults.lemmas(problem, rng)
        assert errors["|E_π[A^c_π]|, every state"] < 1e-12
        assert errors["printed E[c + γV(s′) − V(s)] − E[c − r]"] < 1e-12
        assert errors["performance difference"] < 1e-10
        assert not slack < -1e-12 and not used > 1
        assert all(draft_faults.stuck(problem).values())
        assert len(problem.thresholds) > 1 or draft_faults.too_high(problem)[0]


def test_the_repaired_update_reaches_the_optimum():
    for problem, _ in draft_faults.problems(6):
        gaps = draft_faults.convergence(problem)
        assert gaps["value gap a step, |J_r − LP|"] < 1e-3
        assert gaps["budget exceeded, a step"] < 1e-3
        assert gaps["dual gap a step, d(λ) − LP"] < 1e-3
        assert not gaps["|λ − λ*| where λ* is unique"] > 1e-2  # NaN where it is not


def test_menu_redraws_the_panel():
    matplotlib.use("agg")
    task = lesson_04.delivery()
    best, run = cmdp.solve_lp(task), as_printed.train(task, iterations=30)

    def draw(name):
        fig, axes = matplotlib.pyplot.subplots(1, 3)
        lesson_04.price_curves(axes, run, best, 0.25, label=name)
        axes[0].legend()
        return fig

    panel = widgets.ChoicePanel(draw, "fault", ("a", "b"))
    before = bytes(panel.picture.value)
    panel.menu.value = "b"
    assert bytes(panel.picture.value)[:4] == b"\x89PNG" and bytes(panel.picture.value) != before
    assert repr(panel) == "ChoicePanel(menu, picture)"
