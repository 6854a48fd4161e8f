"""The numbers that lesson 04 quotes, and where each comes from."""

import inspect
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import torch

from safemarl_lite import cmdp
from safemarl_lite.as_printed import Faults, train
from safemarl_lite.lagrangian import Multipliers
from safemarl_lite.lessons import tasks

TASK = tasks.delivery()
BEST = cmdp.solve_lp(TASK)
λ_STAR, τ, γ = BEST.multipliers[0], TASK.thresholds[0], TASK.discount
FASTEST = cmdp.evaluate(TASK, cmdp.best_response(TASK, TASK.reward))
CLEANEST = cmdp.best_response(TASK, TASK.reward - 9 * TASK.costs[0])
DETOUR = cmdp.evaluate(TASK, CLEANEST)
C = FASTEST.J_c[0]
G, H = BEST.policy[0, 0] * BEST.policy[0, 1] * C, C / (1 + λ_STAR)
sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import draft_faults  # noqa: E402

GAPS = np.loadtxt(draft_faults.EXACT_UPDATE, delimiter=",", skiprows=1)[:, 1]


def default(function, name):
    return inspect.signature(function).parameters[name].default


@cache
def slow():
    """V^c(s0) of the slow corridor policy, and its cost in 32 steps."""
    policy = CLEANEST.copy()
    policy[0], policy[1] = (0.3, 0.7), (0.02, 0.98)
    P, cost = cmdp.policy_matrix(TASK, policy), (policy * TASK.costs[0]).sum(1)
    steps = (γ**t * TASK.start @ np.linalg.matrix_power(P, t) @ cost for t in range(32))
    return cmdp.evaluate(TASK, policy).v_c[0][0], sum(steps)


@cache
def too_high(seed):
    return train(TASK, Faults(only_rises=True), seed=seed)["lambda"][-1, 0] / λ_STAR - 1


def adam_step(violation):
    price = torch.zeros(1, requires_grad=True)
    adam = torch.optim.Adam([price], lr=1e-4)  # the draft's rate
    (-price * violation).sum().backward()
    adam.step()
    return price.item()


def chain(step):
    """Share of Theorem 4's bound that the two-state chain uses, γ = 0.9, from its exact values."""
    moves = np.array([[[1, 0], [0, 1]], [[0, 1], [0, 1]]])
    costs = np.array([[[1, 0], [1, 2]]])
    task = cmdp.TabularCMDP(moves, np.zeros((2, 2)), costs, [1.0], [1, 0], 0.9)
    stay, go = np.eye(2)[[0, 0]], np.eye(2)[[1, 1]]
    mixed = (1 - step) * stay + step * go
    old, new = cmdp.evaluate(task, stay), cmdp.evaluate(task, mixed)
    visits, g = old.occupancy.sum(1), (mixed * old.a_c[0]).sum(1)
    bound = 2 * 0.9 / 0.1 * abs(g).max() * (visits @ abs(mixed - stay).sum(1) / 2)
    return (new.J_c[0] - old.J_c[0] - visits @ g) / bound


@cache
def large_round():
    """Steps that the orbit of the integral alone takes, exact update."""
    λ, logits, path = Multipliers([τ], 0.01, 1.0), np.zeros((6, 2)), []
    for _ in range(3000):
        policy = np.exp(logits - logits.max(1, keepdims=True))
        exact = cmdp.evaluate(TASK, policy / policy.sum(1, keepdims=True))
        path.append(λ.update(exact.J_c)[0] - λ_STAR)
        logits = logits + (exact.a_r - λ.values * exact.a_c[0]) / (1 + λ.values)
    rises = [k for k in range(1, 3000) if path[k - 1] < 0 <= path[k]]
    return rises[-1] - rises[-2]


def modulus(κ):
    return abs(np.linalg.eigvals([[1 - H * (0.01 + κ) * G, -H], [0.01 * G, 1]])).max()


def small_round():
    return 2 * np.pi / abs(np.angle(np.linalg.eigvals([[1 - H * 0.01 * G, -H], [0.01 * G, 1]])[0]))


def checkpoints():
    return sum(rounds for _, rounds in default(draft_faults.repaired, "plan"))


COARSE = (FASTEST.J_r - DETOUR.J_r) / 16  # ν of p in eighths: half a step, in reward
TIGHTER = cmdp.solve_lp(TASK.with_thresholds(τ - COARSE)).multipliers[0]
DOUBLE = cmdp.solve_lp(replace(TASK, costs=2 * TASK.costs, thresholds=2 * TASK.thresholds))
UNIFORM = cmdp.evaluate(TASK, np.full((6, 2), 0.5))

QUOTED = {
    "task": {"0.95": lambda: default(tasks.delivery, "discount"), "0.25": lambda: τ},
    "predict-1": {"0.25": lambda: τ},
    "ex-1-help": {"1.105": lambda: UNIFORM.J_c[0]},
    "ends": {"32": lambda: default(train, "T")},
    "clock-read": {
        "32": lambda: default(train, "T"),
        "4.371": lambda: slow()[0],
        "3.831": lambda: slow()[1],
        "12 %": lambda: 1 - slow()[1] / slow()[0],
    },
    "rises": {"3 %": lambda: too_high(0), "7 %": lambda: max(map(too_high, range(3)))},
    "constant": {"1,000": lambda: 1000},  # an example of a large price
    "silent": {
        "0.0001": lambda: adam_step(1.0),
        "0.01": lambda: adam_step(0.01) / adam_step(1.0) * 0.01,  # any violation, the same step
        "100": lambda: adam_step(100.0) / adam_step(1.0) * 100,
        "0.001": lambda: 0.001,  # written into `as_printed.train`
    },
    "scope": {
        "0.25": lambda: TASK.start @ cmdp.evaluate(TASK, BEST.policy).v_c[0],
        "1.235": lambda: cmdp.evaluate(TASK, CLEANEST).v_c[0][1],
        "0.213": lambda: BEST.policy[0, 0],
    },
    "theorems": {"200": lambda: len(GAPS)},
    "step": {
        "0.917": lambda: chain(0.01),
        "0.01": lambda: 0.01,  # the step it belongs to
        "0.991": lambda: chain(0.001),
        "0.001": lambda: 0.001,  # the step it belongs to
    },
    "borkar": {
        "0.3": lambda: 0.3,  # written into the cell below it, as are the steps
        "4,000": lambda: 4000,
        "1,000": lambda: 1000,
    },
    "circle-read": {
        "972": large_round,
        "220": small_round,
        "0.9996": lambda: modulus(0.01),
        "0.9918": lambda: modulus(0.2),
        "0.2": lambda: 0.2,  # the κ it belongs to
        "200": lambda: len(GAPS),
        "197": lambda: (GAPS <= 1e-4).sum(),
        "1e-4": lambda: 1e-4,  # the criterion of the line above
        "16": checkpoints,
    },
    "gap": {
        "0.133": lambda: COARSE,
        "0.188": lambda: BEST.value - (0.125 * FASTEST.J_r + 0.875 * DETOUR.J_r),
        "0.376": lambda: (1 + TIGHTER) * COARSE,
        "0.3": lambda: 0.3,  # the error that is put in
    },
    "predict-2": {
        "24": lambda: default(train, "E"),
        "32": lambda: default(train, "T"),
        "200": lambda: default(train, "iterations"),
        "0.1": lambda: 0.1,  # written into `as_printed.train`
    },
    "ex-5-help": {"−2.17": lambda: FASTEST.J_r},
    "other-papers": {"1.819": lambda: λ_STAR, "0.909": lambda: DOUBLE.multipliers[0]},
    "summary": {"10": lambda: 10},  # a question's own number
}
