"""Notebook 06: solutions pass, slips are named, the page's cells agree with the module."""

import importlib.util
import json
import re
from pathlib import Path

import numpy as np
import pytest

from safemarl_lite.lessons import lesson_06
from safemarl_lite.navigation import NavigationTask

ROOT = Path(__file__).parents[1]
CELLS = json.loads((ROOT / "notebooks/06_attention_actor_critic.ipynb").read_text())["cells"]
TEXT = "\n".join("".join(cell["source"]) for cell in CELLS)
CHECKS = {
    1: (lesson_06.check_attention, "my_attention"),
    2: (lesson_06.check_q_target, "my_target"),
    3: (lesson_06.check_counterfactual, "my_advantage"),
    4: (lesson_06.check_steps_allowed, "my_steps_allowed"),
}


def source(exercise, stub=False):
    """The stub or the folded solution of an exercise."""
    name = CHECKS[exercise][1]
    if stub:
        return next(x for x in map("".join, (c["source"] for c in CELLS)) if f"def {name}" in x)
    return re.search(rf"```python\n(def {name}.*?)```", TEXT, re.S)[1]


def run(exercise, code, capsys):
    check, name = CHECKS[exercise]
    space = {"np": np}
    exec(code, space)
    check(space[name])
    said = capsys.readouterr().out
    assert said.count("\n") == 1
    return said


@pytest.mark.parametrize("exercise", CHECKS)
def test_solution_passes_and_stub_gets_a_friendly_line(exercise, capsys):
    assert run(exercise, source(exercise), capsys) == f"Exercise 6.{exercise}: correct.\n"
    assert "not written yet" in run(exercise, source(exercise, stub=True), capsys)


@pytest.mark.parametrize(
    ("exercise", "right", "wrong", "slip"),
    [
        (1, "    np.fill_diagonal(scores, -np.inf)\n", "", "attends to itself"),
        (1, " / np.sqrt(queries.shape[1])", "", "not divided by √d"),
        (1, "np.sqrt(queries.shape[1])", "queries.shape[1]", "by d, not by √d"),
        (1, "queries @ keys.T", "keys @ queries.T", "the one who asks"),
        (2, " * ~last", "", "no future"),
        (2, "~last", "last", "sign of `last`"),
        (2, "(policy * next_q).sum(-1)", "next_q.min(-1)", "minimum"),
        (2, "(policy * next_q).sum(-1)", "next_q.max(-1)", "maximum"),
        (2, "(policy * next_q).sum(-1)", "next_q.mean(-1)", "weight by the policy"),
        (3, "q_cost + λ", "q_cost - λ", "price is added"),
        (3, " - (policy * q).sum(-1, keepdims=True)", "", "baseline is missing"),
        (3, "(policy * q).sum(-1, keepdims=True)", "q.mean(-1, keepdims=True)", "weight by the"),
        (3, "λ * q_penalty", "q_penalty", "λ is missing"),
        (4, " - w * np.log(n_actions)", "", "entropy term is missing"),
        (4, " - w", " + w", "less room"),
        (4, "L * max(0.0, α * (1 - γ) - w * np.log(n_actions))", "α", "plain sum"),
        (4, "max(0.0, α * (1 - γ) - w * np.log(n_actions))",
         "(α * (1 - γ) - w * np.log(n_actions))", "below zero"),
    ],
)  # fmt: skip
def test_slips_are_named(exercise, right, wrong, slip, capsys):
    code = source(exercise)
    assert code.count(right) == 1
    assert slip in run(exercise, code.replace(right, wrong), capsys)


def test_a_diagonal_zeroed_after_the_softmax_is_named(capsys):
    code = source(1).replace("    np.fill_diagonal(scores, -np.inf)\n", "")
    code = code.replace(
        "    return weights", "    weights *= 1 - np.eye(len(weights))\n    return weights"
    )
    late = code.replace("weights / weights.sum(1, keepdims=True)", "weights")
    late = late.replace(
        "weights = np.exp(scores - scores.max(1, keepdims=True))",
        "weights = np.exp(scores)\n    weights /= weights.sum(1, keepdims=True)",
    )
    assert "after the softmax" in run(1, late, capsys)


LINES = json.loads((ROOT / "figures/06_results.json").read_text())


def mean(algo, name):
    return np.mean([run[name] for run in LINES[algo]])


@pytest.fixture(scope="module")
def page():
    """The names after the page's code cells have run, without the exercises and the widget."""
    import matplotlib

    matplotlib.use("Agg")
    space = {}
    cells = {c["id"]: "".join(c["source"]) for c in CELLS if c["cell_type"] == "code"}
    for name, text in cells.items():
        if "lesson_06.check" in text or "NotImplementedError" in text or "widgets.Slider" in text:
            continue
        text = text.replace("%matplotlib inline", "").replace('"../figures"', f'"{ROOT}/figures"')
        exec(compile(text, name, "exec"), space)
    return space


def test_the_table_is_the_files(page):
    path = ROOT / "tests/quoted/lesson_06.py"
    spec = importlib.util.spec_from_file_location("quoted_06", path)
    quoted = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(quoted)
    rows = [line for line in quoted.SOURCE["attention-39"].splitlines() if line.startswith("| ")]
    assert rows[1:] == [quoted.row_of(algo) for algo in LINES]  # the first is the head


def test_the_result_is_a_pair(page):
    for algo in ("macaac", "maddpg-c", "mappo-lagrangian"):
        assert all(run["penalty"] <= 3 for run in LINES[algo])
    assert all(run["penalty"] > 3 for run in LINES["maac"])  # the control, from every seed
    assert mean("maac", "cost") > mean("macaac", "cost")  # dearer: neither is at its optimum
    assert mean("mappo, λ = 0", "cost") < mean("mappo-lagrangian", "cost")  # the expected order
    assert all(pairs[0][1] < 3 for pairs in page["untrained"].values())  # proves nothing alone
    assert page["cost"] < min(mean(a, "cost") for a in LINES) and page["penalty"] > 3  # the script
    assert mean("paper view", "cost") - mean("macaac", "cost") > 5
    shares = page["shares"]
    assert shares["trained"] > 0.5 and max(shares["random"], shares["no-op"]) < 0.2


def test_a_script_can_keep_the_budget_and_needs_to_look_at_the_others():
    """What is left to gain: far cheaper than any learner, at a penalty near zero."""
    task = NavigationTask()
    careful, careless = (
        lesson_06.pilot(task.vector_env(80, 5, autoreset=False), room) for room in (0.3, 0.0)
    )
    assert careful[1].mean() < 0.5 and careless[1].mean() > 3
    assert careless[0].mean() < careful[0].mean() < 17 < mean("macaac", "cost") - 5


def test_attention_is_not_explanation(page):
    assert all(share > 0 for share in page["explained"].values())
    start, signal, untrained = page["distances"].values()
    assert signal / 2 < start and untrained < start
    assert page["correlation"] < 0.6 and page["top"] < 0.7


def test_the_own_action_does_not_enter_and_the_others_do(page):
    change = page["change"]
    assert (change.diagonal() == 0).all() and (change[~np.eye(5, dtype=bool)] > 0).all()
    policy, advantage = page["policy"], page["advantage"]
    assert abs(float((np.array([0.1, 0.2, 0.3, 0.2, 0.2]) * advantage.numpy()).sum())) < 1e-6
    assert policy.task.kind == "navigation"


def test_the_colleagues_price_moves_too_little(page):
    curves = page["curves"]
    ours, his = curves("macaac", "lambda")[3], curves("colleague", "lambda")[0]
    penalty = curves("colleague", "penalty")[0]
    assert (penalty[5:] > 3).all() and (np.diff(his)[5:] > 0).all()  # it sees the violation
    iterations = curves("colleague", "episodes")[0][-1] / 128
    assert his[-1] <= 1e-5 * 1.0 * iterations < 0.01 * ours[-1]  # steps × rate × violation cap


def test_no_exercise_and_no_code_prints_its_formula():
    for cell in CELLS:
        for message in re.findall(r"NotImplementedError\(([^)]*)\)", "".join(cell["source"])):
            assert re.fullmatch(r'\s*"Exercise 6\.\d"\s*', message)
