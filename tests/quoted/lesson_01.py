"""The numbers that lesson 01's text quotes: cell → number → how it is computed."""

import re
from functools import cache
from itertools import product
from math import ceil, log2
from pathlib import Path

import numpy as np

from safemarl_lite import cmdp
from safemarl_lite.lessons import lesson_01
from safemarl_lite.lessons.tasks import random_cmdp

TASK = lesson_01.grid_world()
BUDGET = TASK.thresholds[0]
PANEL = np.linspace(0.06, 1.8, 88)  # the budgets of the page's sweep
SCRIPT = (Path(lesson_01.__file__).parent / "js/lesson_01.js").read_text()


def flights_at_once():
    """What the picture's button says, which is what it does."""
    said, done = re.search(r'"Fly ([\d,]+) at once".*?many\((\d+)\)', SCRIPT).groups()
    return int(done) if int(said.replace(",", "")) == int(done) else 0


@cache
def best(threshold=BUDGET):
    return cmdp.solve_lp(TASK.with_thresholds(threshold))


@cache
def fastest():
    return cmdp.evaluate(TASK, cmdp.best_response(TASK, TASK.reward))


@cache
def corner(price):
    """Cost of the best response at a price: where it changes, the front has a kink."""
    return cmdp.dual_function(TASK, [price])[1].J_c[0]


@cache
def least():
    return cmdp.best_response(TASK, -TASK.costs[0])


def price(threshold=BUDGET):
    return best(threshold).multipliers[0]


def waits(threshold):
    return lesson_01.first_moves(best(threshold).policy)[1, 0]


@cache
def off_the_scale():
    """The budget above which the price is on the figure's scale, at most 10."""
    low, high = 0.06, 0.2
    while high - low > 1e-4:
        middle = (low + high) / 2
        low, high = (middle, high) if price(middle) > 10 else (low, middle)
    return high


def states():
    return len(TASK.start)


def deterministic():
    return len(list(product(range(3), repeat=6)))


def wind():
    """A drone in cell 1 that wants to hover moves with probability `wind`."""
    return 1 - TASK.transition.reshape(8, 8, 3, 3, 8, 8)[1, 5, 0, 0].sum(1)[1]


def single_costs(above):
    costs = cmdp.subgradient_ascent(TASK, 60, 2.0)[2][20:, 0]
    return costs[costs > BUDGET].mean() if above else costs[costs < BUDGET].mean()


def halfway():
    return TASK.discount**14


def steps_of_bisection():
    return ceil(log2(20 / 1e-9))


PAIR = random_cmdp(np.random.default_rng(3), S=6, A=3, m=2)


def enough_alone():
    """3.5 lies above what each cost could reach alone, and below what both need."""
    try:
        cmdp.solve_lp(PAIR.with_thresholds([3.5, 3.5]))
    except cmdp.InfeasibleCMDP as error:
        return 3.5 if (error.least < 3.5).all() else error.least
    return float("nan")


def loose(threshold):
    """The budget, if the price there is zero."""
    return threshold if price(threshold) < 1e-9 else float("nan")


def given(value):
    """A setting of the page or of an exercise, not a result."""
    return lambda: value


QUOTED = {
    "cold-open": {
        "0.08": off_the_scale,
        "0.5": lambda: BUDGET,
        "0.7": given(0.7),  # the second budget of the sentence
        "1.52": lambda: corner(0.5),
        "25 %": lambda: waits(0.5),
        "71 %": lambda: waits(0.7),
    },
    "model": {
        "0.25": wind,
        "0.5": lambda: BUDGET,
        "0.95": lambda: TASK.discount,
        "64": states,
        "−1.5": lambda: TASK.reward[8 * 1 + 0, 0],  # drone b has landed: drone a alone pays
    },
    "baselines-read": {"1.52": lambda: corner(0.5)},
    "ex-2-help": {"1.414": price, "−10.277": lambda: best().value},
    "lp-library": {"1.414": price},
    "predict-2": {
        "0.4": given(0.4),  # two budgets of the question
        "0.8": given(0.8),
        "0.5": lambda: BUDGET,
        "64": states,
    },
    "coin-read": {
        "0.32": lambda: corner(5.7),
        "0.39": lambda: corner(1.45),
        "0.83": lambda: corner(1.3),
        "1.52": lambda: corner(0.5),
    },
    "cloud": {"729": deterministic},
    "touching-text": {"0.5": lambda: BUDGET},
    "slackness": {"1.8": lambda: loose(1.8)},
    "infeasible-many": {"3.5": enough_alone},
    "sensitivity": {"0.1": given(0.1), "88": lambda: len(PANEL)},  # how far the control is off
    "ex-3": {"1e-8": given(1e-8)},  # the tolerance that the exercise asks for
    "ex-3-help": {"0.5": lambda: BUDGET, "1.4143": price, "35": steps_of_bisection},
    "predict-3": {
        "0.39": lambda: single_costs(above=False),
        "0.83": lambda: single_costs(above=True),
        "400": given(400),  # the page's steps
    },
    "slider": {"2,000": flights_at_once},
    "bug-answer": {
        "0.076": lambda: corner(0.5) * (1 - TASK.discount),
        "0.08": lambda: fastest().J_c[0] * (1 - TASK.discount),
        "0.5": lambda: BUDGET,
        "1.25": lambda: fastest().J_r - best().value,
        "1.52": lambda: corner(0.5),
        "1.6": lambda: fastest().J_c[0],
        "20": lambda: 1 / (1 - TASK.discount),
        "−9.03": lambda: fastest().J_r,
    },
    "limits": {
        "0.49": halfway,
        "0.95": lambda: TASK.discount,
        "10": given(10),  # an imagined grid, 10 × 10 × 10
        "14": given(14),  # the step of the example
        "64": states,
    },
    "summary": {
        "10 %": given(0.1),  # the budget of the project
        "3.2": given(3.2),  # the imagined paper of question 2
        "112": given(112),  # J. Math. Anal. Appl., volume
        "6.9": given(6.9),  # Puterman, section
    },
}
