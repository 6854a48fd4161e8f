"""Random CMDPs against independent oracles: `python tests/benchmarks/cmdp_oracles.py [count]`.

Every number is the worst over all problems. "Certificate" needs no trust in the linear programme:
its policy is evaluated exactly (a lower bound, if it keeps the budget), and policy iteration gives
the dual function at its λ (an upper bound); where the two meet, both are optimal.
"""

import sys
from itertools import product

import numpy as np
from scipy.optimize import linprog

from safemarl_lite import cmdp as C
from safemarl_lite.lessons.tasks import random_cmdp


def value_iteration(cmdp, signal, tolerance=1e-10):
    """V*(s) of the unconstrained problem max_π J_f to within `tolerance`, shape (S,)."""
    values = np.zeros(len(cmdp.start))
    while True:  # V ← max_a f + γ P V contracts by γ: what is left is ≤ γ/(1−γ) × the last change
        change = (signal + cmdp.discount * C.backup(cmdp, values)).max(1) - values
        values = values + change
        if cmdp.discount * np.abs(change).max() <= tolerance * (1 - cmdp.discount):
            return values


def deterministic_points(cmdp):
    """(J_r, J_c1..m) of each of the A^S deterministic policies, shape (A^S, 1 + m)."""
    S, A = cmdp.reward.shape
    points = []
    for actions in product(range(A), repeat=S):
        exact = C.evaluate(cmdp, np.eye(A)[list(actions)])
        points.append([exact.J_r, *exact.J_c])
    return np.array(points)


def best_mixture(points, thresholds):
    """Best mean reward of a mixture of `points` that keeps every budget. One budget: by geometry
    (the best of all segments), several: by a linear programme over the mixture's weights."""
    if len(thresholds) == 1:
        r, c = points.T
        inside, outside = c <= thresholds[0], c > thresholds[0]
        share = (thresholds[0] - c[inside]) / (c[outside][:, None] - c[inside])
        segments = r[inside] + share * (r[outside][:, None] - r[inside])
        return max(segments.max(initial=-np.inf), r[inside].max())
    ones = np.ones((1, len(points)))
    options = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}
    rows = {"A_ub": points[:, 1:].T, "b_ub": thresholds, "A_eq": ones, "b_eq": [1]}
    return -linprog(-points[:, 0], **rows, options=options).fun


def measure(cmdp, rng):
    """The errors of everything that `safemarl_lite.cmdp` computes for one problem, as a dict."""
    S, A = cmdp.reward.shape
    m, τ = len(cmdp.thresholds), cmdp.thresholds
    best = C.solve_lp(cmdp)
    λ = best.multipliers
    bound, _ = C.dual_function(cmdp, λ)
    ascent, _ = C.dual_ascent(cmdp)
    errors = {
        "budget exceeded": max((best.costs - τ).max(), 0),
        "certificate: d(λ*) − J_r": abs(bound - best.value),
        "dual ascent − LP, value": abs(ascent.value - best.value),
        "dual ascent, d(λ) − LP": abs(C.dual_function(cmdp, ascent.multipliers)[0] - best.value),
        "dual ascent, budget exceeded": max((ascent.costs - τ).max(), 0),
        "extra actions beyond m": max(C.extra_actions(best.occupancy) - m, 0),
    }
    # a coin for every budget in use pins λ* down; elsewhere several multipliers are optimal
    unique = C.extra_actions(best.occupancy) == (best.costs > τ - 1e-9).sum()
    if unique:
        errors["dual ascent − LP, λ* where unique"] = np.abs(ascent.multipliers - λ).max()
    # KKT: x ≥ 0 and F x = ρ; reduced costs ≤ 0; x · reduced cost = 0; λ ≥ 0; λ (J_c − τ) = 0
    signal = C.penalised(cmdp, λ)
    values = value_iteration(cmdp, signal, tolerance=1e-12)
    reduced = signal + cmdp.discount * C.backup(cmdp, values) - values[:, None]
    flow = C.flow_matrix(cmdp) @ best.occupancy.ravel() - cmdp.start
    errors |= {
        "KKT primal: flow": np.abs(flow).max(),
        "KKT dual: reduced cost > 0": max(reduced.max(), 0),
        "KKT slackness: x · reduced": np.abs(best.occupancy * reduced).max(),
        "KKT slackness: λ (J_c − τ)": np.abs(λ * (best.costs - τ)).max(),
        "KKT dual: λ < 0": max(-λ.min(), 0),
    }
    # unconstrained: budgets that never bind, against value iteration
    free = C.solve_lp(cmdp.with_thresholds(1 + np.abs(cmdp.costs).max() / (1 - cmdp.discount)))
    iterated = value_iteration(cmdp, cmdp.reward, tolerance=1e-11) @ cmdp.start
    errors["unconstrained LP − value iteration"] = abs(free.value - iterated)
    # lemmas, for two policies that have nothing to do with the optimum
    one, two = (rng.dirichlet(np.ones(A), S) for _ in range(2))
    at_one, at_two = C.evaluate(cmdp, one), C.evaluate(cmdp, two)
    difference = np.einsum("sa,msa->m", at_two.occupancy, at_one.a_c)
    errors |= {
        "zero mean: |E_π[A^c_π]|": np.abs((one * at_one.a_c).sum(-1)).max(),
        "performance difference": np.abs(at_two.J_c - at_one.J_c - difference).max(),
        "Σ x (1 − γ) − 1": abs(at_one.occupancy.sum() * (1 - cmdp.discount) - 1),
        "Σ x c − J_c": np.abs((at_one.occupancy * cmdp.costs).sum((1, 2)) - at_one.J_c).max(),
    }
    if A**S <= 1100:
        errors["LP − brute force"] = abs(best_mixture(deterministic_points(cmdp), τ) - best.value)
    binding = λ.max() > 1e-9
    facts = {"A^S enumerated": A**S <= 1100, "some budget binds": binding, "λ* unique": unique}
    return errors, facts


def problems(count, seed=0):
    """`count` random CMDPs; every other one is small enough to enumerate all A^S policies."""
    for k, child in enumerate(np.random.SeedSequence(seed).spawn(count)):
        rng = np.random.default_rng(child)
        S, A = int(rng.integers(2, 21)), int(rng.integers(2, 6))
        if k % 2:
            A = int(rng.integers(2, 5))
            S = int(rng.integers(2, {2: 11, 3: 7, 4: 6}[A]))
        yield random_cmdp(rng, S, A, 1 + k % 3, rng.choice([0.0, 0.5, 0.9, 0.95, 0.99])), rng


def main(count=200):
    """Print the worst error of every kind over `count` problems."""
    worst, tallies = {}, {}
    for cmdp, rng in problems(count):
        errors, facts = measure(cmdp, rng)
        for name, error in errors.items():
            worst[name] = max(worst.get(name, 0), float(error))
        for name, fact in facts.items():
            tallies[name] = tallies.get(name, 0) + bool(fact)
    print(f"{count} random CMDPs, up to 20 states × 5 actions, m = 1..3; worst absolute error")
    for name, error in worst.items():
        print(f"  {name:36s} {error:.1e}")
    for name, tally in tallies.items():
        print(f"  {name:36s} {tally} of {count}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
