"""Notebook 02: its solutions pass the checks, common slips are named, its pilot is safe."""

import re
from pathlib import Path

import nbformat
import numpy as np
import pytest

from safemarl_lite.evaluate import rollout
from safemarl_lite.lessons import lesson_02
from safemarl_lite.swarm import InfeasibleTask, SwarmTask, SwarmVectorEnv

ROOT = Path(__file__).parents[1]
CELLS = nbformat.read(ROOT / "notebooks/02_swarm_environment.ipynb", as_version=4).cells
TEXT = "\n".join(cell.source for cell in CELLS)
CHECKS = {
    1: (lesson_02.check_drone_costs, "my_drone_costs"),
    2: (lesson_02.check_goal_radius, "my_goal_radius"),
    3: (lesson_02.check_is_feasible, "my_is_feasible"),
}


def solution(exercise):
    """The source of the solution that the notebook prints."""
    name = CHECKS[exercise][1]
    return re.search(rf"```python\n(def {name}.*?)```", TEXT, re.S).group(1)


def run(exercise, source, capsys):
    """What the check prints for `source`."""
    check, name = CHECKS[exercise]
    space = {"np": np, "SwarmTask": SwarmTask, "InfeasibleTask": InfeasibleTask}
    exec(source, space)
    check(space[name])
    return capsys.readouterr().out


@pytest.mark.parametrize("exercise", CHECKS)
def test_solution_passes_and_stub_gets_a_friendly_line(exercise, capsys):
    assert run(exercise, solution(exercise), capsys) == f"Exercise 2.{exercise}: correct.\n"
    name = CHECKS[exercise][1]
    (stub,) = (c.source for c in CELLS if c.cell_type == "code" and f"def {name}" in c.source)
    assert "not written yet" in run(exercise, stub, capsys)


@pytest.mark.parametrize(
    ("exercise", "right", "wrong", "slip"),
    [
        (1, "if i != j", "if i < j", "half of what is expected"),
        (1, " if i != j", "", "its own neighbour"),
        (1, "< d_safe", "<= d_safe", "strict"),
        (1, "return sum(", "return np.ones(n) * sum(", "one number for the whole swarm"),
        (2, "d * (3 / 8) ** 0.5", "d / 2**0.5", "flat square"),
        (2, "d * (3 / 8) ** 0.5", "(3 / 8) ** 0.5", "multiply by d"),
        (3, "return True", "pass", "got None"),
        (3, "except InfeasibleTask", "except KeyError", "catch it"),
    ],
)
def test_slips_are_named(exercise, right, wrong, slip, capsys):
    source = solution(exercise)
    assert right in source
    printed = run(exercise, source.replace(right, wrong), capsys)
    assert slip in printed and "correct" not in printed


def test_the_pilot_is_safe_on_flights_that_it_was_not_tuned_on():
    (source,) = (c.source for c in CELLS if "def pilot" in c.source)
    space = {"np": np}
    exec(source, space)
    env = SwarmVectorEnv(SwarmTask(), 300, seed=77, autoreset=False)
    flown = rollout(space["pilot"], env)
    env.close()
    assert flown["success"].mean() > 0.95
    assert (flown["discounted"].sum(1) > 0).mean() < 0.05
