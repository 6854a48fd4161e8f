"""Notebook 02: its solutions pass the checks, common slips are named, its pilot is safe."""

import re
from pathlib import Path

import nbformat
import numpy as np
import pytest

from safemarl_lite.evaluate import rollout
from safemarl_lite.lessons import lesson_02, widgets
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


def page_pilot():
    (source,) = (c.source for c in CELLS if "def pilot" in c.source)
    space = {"np": np}
    exec(source, space)
    return space["pilot"]


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
        (1, "if i != j", "if abs(i - j) == 1", "consecutive"),
        (1, "positions[i] - positions[j]", "positions[i, :1] - positions[j, :1]", "x alone"),
        (1, "< d_safe", "< 2.0", "written into the code"),
        (1, "< d_safe", "<= d_safe", "strict"),
        (1, "return sum(", "return np.ones(n) * sum(", "one number for the swarm"),
        (2, "d / (2", "1 / (2", "multiply by d"),
        (2, "d / (2 * np.sin(np.pi / k))", "d / np.sin(np.pi / k)", "diameter"),
        (2, "np.pi / k", "2 * np.pi / k", "half of that angle"),
        (2, "d / (2 * np.sin(np.pi / k))",
         "d * (0, 0, 1 / 2, 3**-0.5, (3 / 8) ** 0.5, 2**-0.5)[k]", "no height"),
        (3, "return True", "pass", "got None"),
        (3, "except InfeasibleTask", "except KeyError", "catch it"),
    ],
)  # fmt: skip
def test_slips_are_named(exercise, right, wrong, slip, capsys):
    source = solution(exercise)
    assert right in source
    printed = run(exercise, source.replace(right, wrong), capsys)
    assert slip in printed and "correct" not in printed


def test_five_robots_do_not_fit_into_a_smaller_disc():
    """The proof of exercise 2.2, against random search: no five points do better."""
    x = np.random.default_rng(0).uniform(-1, 1, (200_000, 5, 2))
    x = x[(x**2).sum(-1).max(-1) <= 1]
    gap = np.linalg.norm(x[:, :, None] - x[:, None], axis=-1)[:, *np.triu_indices(5, 1)].min(-1)
    assert 0.8 < gap.max() <= 2 * np.sin(np.pi / 5)


def test_the_pilot_is_safe_on_flights_that_it_was_not_tuned_on():
    with SwarmVectorEnv(SwarmTask(), 300, seed=77, autoreset=False) as env:
        flown = rollout(page_pilot(), env)
    assert flown["success"].mean() > 0.95
    assert (flown["discounted"].sum(1) > 0).mean() < 0.05


def test_the_baselines_fail_where_the_page_says_so():
    space = {"np": np, "rollout": rollout, "SwarmVectorEnv": SwarmVectorEnv, "task": SwarmTask(),
             "pilot": page_pilot()}  # fmt: skip
    exec(next(c.source for c in CELLS if c.id == "swarm-30"), space)
    results = space["results"]
    assert results["hover"] == (0, 0, 0)  # clean and useless
    assert results["straight"][0] > 0.9 and results["straight"][1] > 20 * SwarmTask().threshold
    assert results["random"][0] == 0 and results["random"][1] > SwarmTask().threshold
    assert results["pilot"][0] > 0.9 and results["pilot"][1] < results["straight"][1] / 100


@pytest.mark.parametrize("changed", [True, False])
def test_the_colleagues_line_is_seen_in_the_drone_that_is_last(changed):
    task = SwarmTask()
    env = lesson_02.colleague(task, 50, 1) if changed else task.vector_env(50, 1, autoreset=False)
    with env:
        flown = rollout(page_pilot(), env, record=True)
    end = flown["positions"][flown["length"].astype(int), range(50)]
    last = np.linalg.norm(end - task.target, axis=-1).max(-1)
    assert flown["success"].mean() >= 0.98 and not flown["discounted"].any()  # neither tells
    last = last[flown["success"] > 0]
    assert (last > task.goal_radius).all() if changed else (last <= task.goal_radius).all()


def test_a_force_at_the_origin_of_the_world_spins_the_body():
    space = {"np": np}
    exec("from safemarl_lite.swarm.engine import bullet\n", space)
    exec(next(c.source for c in CELLS if "def drop" in c.source), space)
    assert space["drop"]([0, 0, 1], None)[1].max() < 1e-9
    assert space["drop"]([0, 0, 1], [0, 0, 0])[1][-1] > 2 * np.pi


def test_the_slider_draws_the_step_it_shows():
    import matplotlib.pyplot as plt

    drawn = []
    panel = widgets.SliderPanel(
        lambda step: drawn.append(step) or plt.figure(figsize=(2, 1)),
        "step",
        5,
        1,
        87,
        1,
        "a still",
    )
    for step in range(1, 88):
        panel.slider.value = float(np.nextafter(step, 0))  # what a browser sends
    assert drawn[1:] == list(range(1, 88)) and all(isinstance(step, int) for step in drawn)
    data, metadata = panel._repr_mimebundle_()
    assert data["image/png"] and metadata["image/png"]["alt"] == "a still"
    assert panel.slider.layout.width == "200px"
