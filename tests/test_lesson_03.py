"""Notebook 03: solutions pass, common slips are named, and what its text asserts in passing."""

import re
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch

from safemarl_lite import critics, lagrangian
from safemarl_lite.lessons import lesson_03

ROOT = Path(__file__).parents[1]
CELLS = nbformat.read(ROOT / "notebooks/03_centralized_critics.ipynb", 4).cells
SOURCE = {cell.id: cell.source for cell in CELLS}
CHECKS = {
    1: (lesson_03.check_explained_variance, "my_explained_variance"),
    2: (lesson_03.check_split_variance, "split_variance"),
    3: (lesson_03.check_two_targets, "two_targets"),
    4: (lesson_03.check_attend, "attend"),
}


def solution(exercise):
    """The source of the solution that the notebook prints."""
    return re.search(r"```python\n(.*?)```", SOURCE[f"ex-{exercise}-help"], re.S).group(1)


def written(exercise, source):
    """The function that `source` defines."""
    space = {"np": np}
    exec(source, space)
    return space[CHECKS[exercise][1]]


def run(exercise, source, capsys):
    """What the check prints for `source`."""
    CHECKS[exercise][0](written(exercise, source))
    return capsys.readouterr().out


@pytest.mark.parametrize("exercise", CHECKS)
def test_solution_passes_and_stub_gets_a_friendly_line(exercise, capsys):
    assert run(exercise, solution(exercise), capsys) == f"Exercise 3.{exercise}: correct.\n"
    assert "not written yet" in run(exercise, SOURCE[f"ex-{exercise}-stub"], capsys)


@pytest.mark.parametrize(
    ("exercise", "right", "wrong", "slip"),
    [
        (1, "np.mean((returns - values) ** 2)", "np.var(returns - values)", "constant offset"),
        (1, "return 1 - ", "return ", "take it from 1"),
        (1, "/ np.var(returns)", "/ np.var(values)", "variance of the returns"),
        (2, "np.mean((returns - V) ** 2), np.var(V)",
         "np.mean([returns[state == k].var() for k in labels]), np.var(means)", "how often"),
        (2, "np.mean((returns - V) ** 2), np.var(V)", "np.var(V), np.mean((returns - V) ** 2)",
         "swapped"),
        (3, " * (1 - terminated[:, None])", "", "over termination"),
        (3, "next_values\n", "next_values[:, :1]\n", "the reward's value"),
        (3, "discount * ", "", "γ is missing"),
        (4, "    np.fill_diagonal(score, -np.inf)\n", "", "attends to itself"),
        (4, "    return weights /", "    return (1 - np.eye(len(weights))) * weights /",
         "after the softmax"),
        (4, " / np.sqrt(query.shape[1])", "", "√d"),
    ],
)  # fmt: skip
def test_slips_are_named(exercise, right, wrong, slip, capsys):
    source = solution(exercise)
    assert right in source
    source = source.replace(right, wrong)
    if slip == "after the softmax":
        source = source.replace("    np.fill_diagonal(score, -np.inf)\n", "")
    printed = run(exercise, source, capsys)
    assert slip in printed and "correct" not in printed and printed.count("\n") == 1


def test_solutions_are_the_library_s():
    rng = np.random.default_rng(0)
    G, V = rng.normal(size=(2, 50))
    theirs = critics.explained_variance(torch.tensor(G)[:, None], torch.tensor(V)[:, None])
    assert np.isclose(written(1, solution(1))(G, V), theirs.item())
    state = rng.integers(4, size=50)
    assert np.isclose(sum(written(2, solution(2))(G, state)), G.var())
    r, c, ahead, end = G, V, rng.normal(size=(50, 2)), rng.random(50) < 0.3
    targets = written(3, solution(3))(r, c, ahead, end, 0.9)
    signals, none = torch.tensor(np.stack([r, c], -1))[:, None], torch.zeros(1, 1, 2)
    for k in range(50):  # one step of GAE with critic 0 in s is the target
        step = signals[k : k + 1], none, torch.tensor(ahead[k])[None, None]
        over = torch.tensor(end[k]).reshape(1, 1)
        assert np.allclose(lagrangian.gae(*step, over, over, 0.9, 1.0)[0, 0], targets[k])


def test_the_state_s_velocities_are_the_view_s():
    """What the check of the silent bug relies on, and that it is not true of shifted rows."""
    space = {"torch": torch, "np": np}
    exec(SOURCE["bug-agree"].split("print(")[0], space)
    velocity = torch.randn(8, 5, 3)
    view, state = torch.zeros(8, 5, 17), torch.zeros(8, 42)
    view[..., :3], state[:, 15:30] = velocity / 3, velocity.reshape(8, 15)
    assert space["agree"](view, state) and not space["agree"](view, state.roll(1, 0))


def test_the_race_in_small():
    space = {"np": np}
    exec(SOURCE["toy"], space)
    own, team, same = (
        space["toy"](10, *kind, seeds=3)[0] for kind in ((False, 0.1), (True, 0.1), (True, 0.1, 1))
    )
    assert own.min() > 0.9 and team.max() < 0.1 and same.min() > 0.9


def test_the_last_drone():
    """Exact mean and variance of the three estimators, against the histogram's code."""
    space = {"np": np}
    exec(SOURCE["cold-open-figure"] + "\n" + SOURCE["cold-open-critics"], space)
    for value_of, variance in zip(space["critics_by_hand"].values(), (6.5, 2.5, 0.25), strict=True):
        drawn = space["estimates"](value_of)
        assert abs(drawn.mean() - 0.5) < 4 * (variance / 40_000) ** 0.5
        assert np.isclose(drawn.var(), variance / 20, rtol=0.15)
