"""Notebook 06: solutions pass, slips are named, the page's cells agree with the module."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from safemarl_lite.lessons import lesson_06

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
