"""The numbers that lesson 07 quotes, and where each comes from."""

import json
import re
import sys
from functools import cache
from pathlib import Path

import numpy as np

from safemarl_lite import cmdp, statewise
from safemarl_lite.lessons import tasks
from safemarl_lite.swarm import SwarmTask

ROOT = Path(__file__).parents[2]


@cache
def wall():
    """The passage: its two optima, each as exact values."""
    task = tasks.passage()
    return cmdp.evaluate(task, cmdp.solve_lp(task).policy), statewise.solve_states(task).exact


@cache
def courier():
    task = tasks.courier()
    return statewise.solve_states(task).exact


@cache
def mixture():
    """The dual's mixture: its reward, and V^c of the policy that flies and works."""
    task, working = tasks.courier(), np.array([[0, 1.0], [0, 1]])
    exact = cmdp.evaluate(task, working)
    share = task.thresholds[0] / exact.v_c[0].max()  # the rest of the flights stays at home
    return share * exact.J_r, exact.v_c[0].max(), share


def above(states=slice(-1)):
    """Share of the discounted visits above τ, budget kept in expectation; in the air."""
    visits, over = wall()[0].occupancy.sum(1)[states], wall()[0].v_c[0, states] > 0.3 + 1e-9
    return visits[over].sum() / visits.sum()


@cache
def table():
    return json.loads((ROOT / "figures/07_statewise.json").read_text())


def counted(name):
    return lambda: table()[name]


def oracles():
    sys.path.insert(0, str(ROOT / "tests"))
    from benchmarks import statewise_oracles

    return statewise_oracles


def last():
    return np.loadtxt(ROOT / "figures/07_colleague.csv", delimiter=",", skiprows=1)[-1]


TASK = tasks.passage()
ORACLES = (ROOT / "tests/benchmarks/statewise_oracles.py").read_text()
STEPS = int(re.search(r"steps: int = ([\d_]+)", ORACLES)[1])
QUOTED = {
    "title": {"16": lambda: 16, "128": lambda: 128, "0.3": lambda: TASK.thresholds[0]},
    "hides": {"0.1": lambda: TASK.costs.max(), "0.3": lambda: TASK.thresholds[0]},
    "hides-answer": {
        "0.736": lambda: wall()[0].v_c[0, 0],
        "0.757": lambda: wall()[0].v_c[0].max(),
        "20.5 %": above,
        "−5.72": lambda: wall()[0].J_r,
        "−6.70": lambda: wall()[1].J_r,
        "0.1": lambda: SwarmTask().threshold,
    },
    "ex-1-end": {
        "0.757": lambda: wall()[0].v_c[0].max(),
        "0.020": lambda: above(slice(None)),
        "0.205": above,
    },
    "feasible": {"0.8": lambda: tasks.courier().discount},
    "feasible-text": {"1.001": lambda: 1 + oracles().chords(tasks.courier())[0].max()},
    "dual": {"0.678": lambda: courier().J_r},
    "dual-answer": {
        "1.597": lambda: mixture()[0],
        "0.2": lambda: mixture()[2],
        "0.678": lambda: courier().J_r,
    },
    "price": {"60": counted("problems")},
    "price-answer": {
        "26": counted("price at the state alone at the optimum"),
        "60": counted("problems"),
        "13": counted("state alone: ends within the budget, below the optimum"),
        "21": counted("state alone: over the budget"),
        "49": counted("carried price at the optimum"),
        "11": lambda: table()["problems"] - table()["carried price at the optimum"],
        "5,000": lambda: STEPS,
        "53": counted("mixture in one state"),
    },
    "ex-2-end": {"12": lambda: 4 + 8},
    "ex-3-end": {
        "0.05": lambda: 0.5 * 0.1,  # λ that a flight without a cost brings to 0
        "0.1": lambda: 0.05 / 0.5,
        "0.5": lambda: 0.05 / 0.1,
        "100": lambda: 4 / 0.04,
        "0.04": lambda: 4 / 100,
    },
    "numbers": {
        "0.99": lambda: 0.92 ** (1 / 8),
        "0.92": lambda: 0.99**8,
        "128": lambda: 128,
        "0.28": lambda: 0.99**128,
        "16": lambda: 16,
    },
    "ex-4-end": {
        "0.9": lambda: 0.9992**128,
        "128": lambda: 128,
        "0.9992": lambda: 0.9 ** (1 / 128),
    },
    "bug-answer": {"0.610": lambda: last()[0], "0.678": lambda: courier().J_r},
    "limits": {"99 %": lambda: 0.28 ** (1 / 128), "128": lambda: 128, "28 %": lambda: 0.99**128},
}
