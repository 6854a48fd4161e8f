"""Notebook 01: its solutions pass the checks, common slips are named, the slider redraws."""

import inspect
import re
from pathlib import Path

import matplotlib
import nbformat
import numpy as np
import pytest

from safemarl_lite import cmdp
from safemarl_lite.lessons import lesson_01, widgets

ROOT = Path(__file__).parents[1]
CELLS = nbformat.read(ROOT / "notebooks/01_constrained_mdp.ipynb", as_version=4).cells
SOURCE = {cell.id: cell.source for cell in CELLS}
CHECKS = {
    1: (lesson_01.check_occupancy, "occupancy"),
    2: (lesson_01.check_sweep, "sweep_values"),
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
        (2, "reward - multiplier", "reward + multiplier", "must be subtracted"),
        (2, "discount * transition", "transition", "γ is missing"),
        (2, ".max(", ".mean(", "take the best"),
        (3, "cost_of(middle) > threshold", "cost_of(middle) <= threshold", "ran to"),
        (3, "    if cost_of(0.0) <= threshold:\n        return 0.0\n    low = 0.0", "    low = 0.5",
         "the price is 0"),
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


def test_taught_code_is_the_library_s():
    assert inspect.getsource(cmdp.state_values).strip() in SOURCE["state-values"]


def test_slider_redraws_the_panel():
    matplotlib.use("agg")
    task = lesson_01.grid_world()
    values, _, prices = lesson_01.pareto_front(task, [0.2, 0.5, 1.0])
    sweep = [0.2, 0.5, 1.0], values, prices[:, 0]
    panel = widgets.SliderPanel(
        lambda τ: lesson_01.budget_panel(task, τ, sweep), "budget τ", 0.5, 0.06, 1.8, 0.02
    )
    before = bytes(panel.picture.value)
    panel.slider.value = 1.2
    after = bytes(panel.picture.value)
    assert after.startswith(b"\x89PNG") and after != before
    assert repr(panel) == "SliderPanel(slider, picture)"
