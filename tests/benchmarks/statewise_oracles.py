"""State-wise optima of small CMDPs against brute force: `statewise_oracles.py [count]`.

Every problem has 2 or 3 states and 2 actions, so that all stationary policies are the points of a
square or a cube: a grid, refined around its 8 best feasible points, finds the optimum without any
theory. With 60 problems it writes `figures/07_statewise.json`.
"""

import json
import sys
from itertools import product
from pathlib import Path

import numpy as np
from scipy.optimize import linprog, minimize

from safemarl_lite import cmdp as C
from safemarl_lite import statewise as W
from safemarl_lite.lagrangian import Multipliers
from safemarl_lite.lessons.tasks import random_cmdp

TABLE = Path(__file__).parents[2] / "figures/07_statewise.json"
ENOUGH = 1e-4  # of J_r and of V^c: counts as the same


def problems(count, seed=0):
    """Random CMDPs whose τ lies between the least worst cost and that of the best free policy."""
    for child in np.random.SeedSequence(seed).spawn(count):
        rng = np.random.default_rng(child)
        cmdp = random_cmdp(rng, int(rng.integers(2, 4)), 2, 1)
        low, high = (
            C.evaluate(cmdp, C.best_response(cmdp, f)).v_c.max()
            for f in (-cmdp.costs[0], cmdp.reward)
        )
        yield cmdp.with_thresholds(low + rng.uniform(0.2, 0.8) * (high - low))


def grid_values(cmdp, first):
    """J_r (K,) and V^c (K, S) of policies, action 0 with probability `first` (K, S)."""
    policies = np.stack([first, 1 - first], -1)
    bellman = np.eye(len(cmdp.start)) - cmdp.discount * np.einsum(
        "ksa,sat->kst", policies, cmdp.transition
    )
    signals = np.einsum("ksa,nsa->ksn", policies, [cmdp.reward, cmdp.costs[0]])
    values = np.linalg.solve(bellman, signals)
    return values[..., 0] @ cmdp.start, values[..., 1]


def brute_force(cmdp):
    """Best J_r of a grid of policies that is refined around its best points, and that policy."""
    S = len(cmdp.start)
    size = {2: 201, 3: 41}[S]

    def feasible(first):
        J, V = grid_values(cmdp, first)
        return np.where((V <= cmdp.thresholds[0] + 1e-9).all(1), J, -np.inf)

    def box(n):
        return np.stack(np.meshgrid(*[np.linspace(-1, 1, n)] * S, indexing="ij"), -1).reshape(-1, S)

    coarse = (box(size) + 1) / 2
    value, fine, best = feasible(coarse), box(9), (-np.inf, None)
    for first in coarse[np.argsort(-value)[:8]]:
        width, reached = 1 / (size - 1), -np.inf
        for _ in range(60):
            near = np.clip(first + width * fine, 0, 1)
            values = feasible(near)
            if values.max() > reached + 1e-13:
                reached, first = values.max(), near[values.argmax()]
            else:
                width /= 2
        best = max(best, (reached, tuple(first)))
    return best


def chords(cmdp, draws=3000):
    """Mixtures of the occupancies of two policies on the edge of the feasible set: how far over τ
    the largest V^c(s) of each mixture's policy is, and its J_c less the mean of the two, (K,)."""
    rng, S, τ = np.random.default_rng(0), len(cmdp.start), cmdp.thresholds[0]
    kept, broken = rng.random((2, draws, S))
    kept[rng.random((draws, S)) < 0.3] = 0  # corners and sides as well

    def worst(first):
        return grid_values(cmdp, first)[1].max(1)

    fits = (worst(kept) <= τ) & (worst(broken) > τ)
    kept, broken = kept[fits], broken[fits]
    for _ in range(40):
        inside = worst((kept + broken) / 2)[:, None] <= τ
        kept, broken = (np.where(inside == x, (kept + broken) / 2, y)
                        for x, y in ((True, kept), (False, broken)))  # fmt: skip
    policies = np.stack([kept, 1 - kept], -1)
    ahead = np.eye(S) - cmdp.discount * np.einsum("ksa,sat->kst", policies, cmdp.transition)
    x = (cmdp.start @ np.linalg.inv(ahead))[..., None] * policies
    i, j = rng.integers(0, len(x), (2, draws))
    w = rng.random((draws, 1, 1))
    mixed = w * x[i] + (1 - w) * x[j]
    first = (mixed / mixed.sum(2, keepdims=True))[..., 0]
    cost = (x * cmdp.costs[0]).sum((1, 2))
    mean = w[:, 0, 0] * cost[i] + (1 - w[:, 0, 0]) * cost[j]
    return worst(first) - τ, grid_values(cmdp, first)[1] @ cmdp.start - mean


def nonlinear(cmdp, starts=8):
    """The same by sequential quadratic programming, from several starts, with exact gradients."""
    (S, A), τ, rng = cmdp.reward.shape, cmdp.thresholds[0], np.random.default_rng(0)
    safe, best = C.best_response(cmdp, -cmdp.costs[0]), -np.inf

    def visits(π):
        ahead = np.einsum("sa,sat->st", π, cmdp.transition)
        return np.linalg.inv(np.eye(S) - cmdp.discount * ahead)

    def solved(x):
        π = x.reshape(S, A)
        V = visits(π) @ np.stack([(π * f).sum(1) for f in (cmdp.reward, cmdp.costs[0])], 1)
        Q = [f + cmdp.discount * cmdp.transition @ v for f, v in
             zip((cmdp.reward, cmdp.costs[0]), V.T, strict=True)]  # fmt: skip
        return visits(π), V, Q

    def objective(x):
        M, V, Q = solved(x)
        return -cmdp.start @ V[:, 0], -((cmdp.start @ M)[:, None] * Q[0]).ravel()

    def slope(x):
        M, _, Q = solved(x)
        return -(M[:, :, None] * Q[1]).reshape(S, S * A)

    rules = [
        {"type": "ineq", "fun": lambda x: τ - solved(x)[1][:, 1], "jac": slope},
        {"type": "eq", "fun": lambda x: x.reshape(S, A).sum(1) - 1},
    ]
    for k in range(starts):
        x = 0.5 * safe + 0.5 * rng.dirichlet(np.ones(A), S) if k else 0.9 * safe + 0.1 / A
        settings = {"bounds": [(0, 1)] * (S * A), "options": {"maxiter": 300, "ftol": 1e-12}}
        settings |= {"method": "SLSQP", "constraints": rules}
        found = minimize(objective, x.ravel(), jac=True, **settings)
        π = np.clip(found.x, 0, None).reshape(S, A)
        exact = C.evaluate(cmdp, π / π.sum(1, keepdims=True))
        if exact.v_c.max() <= τ + 1e-7:
            best = max(best, exact.J_r)
    return best


def primal_dual(
    cmdp: C.TabularCMDP,
    steps: int = 5_000,
    rate: float = 0.2,
    proportional: float = 5.0,
    carry: bool = True,
    tolerance: float = 1e-7,
) -> W.StatewisePoint:
    """π by natural policy gradient against λ(s) by `Multipliers`, one for each state; exact values.

        λ(s) ← PI rule on (1 − γ)(V^c(s) − τ)
        θ(s,·) ← θ(s,·) + 3 (A^r − Λ(s) A^c) / (1 + Λ(s)),   π = softmax(θ)

    `carry=False` charges λ(s) at s alone, in place of the carried Λ(s). Starts from the uniform
    policy; stops after `steps`, or where `errors` are within `tolerance`. Raises
    `InfeasibleStates`.
    """
    W.least_costs(cmdp)
    scale, logits = 1 - cmdp.discount, np.zeros_like(cmdp.reward)
    λ = Multipliers(np.repeat(cmdp.thresholds, len(logits)) * scale, rate, 0.0, proportional)
    for step in range(steps):
        policy = np.exp(logits)
        policy /= policy.sum(1, keepdims=True)
        exact = C.evaluate(cmdp, policy)
        prices = λ.update(exact.v_c[0] * scale)
        if carry:
            prices = W.carried(cmdp, policy, prices)
        point = W.StatewisePoint(policy, λ.values, prices, exact)
        if step % 200 == 0 and max(point.errors(cmdp.thresholds[0])) <= tolerance:
            break
        logits = logits + 3 * W._gain(exact, prices)
        logits = np.maximum(logits - logits.max(1, keepdims=True), -15)
    return point


def dual_optimum(cmdp: C.TabularCMDP) -> tuple[float, np.ndarray, np.ndarray]:
    """min_λ max_π J_r − Σ_s λ(s)(V^c(s) − τ) → its value, λ (S,), the mixture's weights (A^S,).

    A linear programme over all A^S deterministic policies (in the order of `itertools.product`):
    max_w Σ_k w_k J_r^k subject to Σ_k w_k V^c_k(s) ≤ τ, Σ w = 1, w ≥ 0. Raises `InfeasibleStates`.
    """
    W.least_costs(cmdp)
    S, A = cmdp.reward.shape
    choices = np.eye(A)[list(product(range(A), repeat=S))]  # (A^S, S, A)
    exact = [C.evaluate(cmdp, policy) for policy in choices]
    J, V = np.array([e.J_r for e in exact]), np.array([e.v_c[0] for e in exact])
    rows, sides = V.T, np.repeat(cmdp.thresholds, S)
    one = {"A_eq": np.ones((1, len(J))), "b_eq": [1]}
    result = linprog(-J, rows, sides, **one, method="highs", options=C.HIGHS)
    if result.status != 0:
        raise RuntimeError(f"the linear programme failed: {result.message}")
    return float(-result.fun), np.maximum(-result.ineqlin.marginals, 0), result.x


def mixed_in_one_state(cmdp, weights):
    """Whether the policies of a mixture (A^S,) differ in at most one state."""
    S, A = cmdp.reward.shape
    used = np.array(np.unravel_index(np.flatnonzero(weights > 1e-9), [A] * S))
    return bool((np.ptp(used, axis=1) > 0).sum() <= 1)


def measure(cmdp):
    """Optimum, dual value, and where primal–dual with and without the carried price ends."""
    best, (dual, _, weights) = brute_force(cmdp)[0], dual_optimum(cmdp)
    row = {"optimum": best, "nonlinear": nonlinear(cmdp), "dual": dual}
    row |= {"expectation": C.solve_lp(cmdp).value, "one_state": mixed_in_one_state(cmdp, weights)}
    for name, carry in ("carried", True), ("local", False):
        point = primal_dual(cmdp, carry=carry)
        off = point.exact.J_r - max(best, row["nonlinear"])
        excess, _, gain = point.errors(cmdp.thresholds[0])
        row[name] = {"off": off, "excess": excess, "gain": gain}
    return row


def reached(row, name):
    """Whether a method ended at the optimum: value and budget within `ENOUGH`."""
    return abs(row[name]["off"]) <= ENOUGH and row[name]["excess"] <= ENOUGH


def summary(rows):
    """Counts and largest differences over the rows of `measure`."""
    best = [max(row["optimum"], row["nonlinear"]) for row in rows]
    gaps = [row["dual"] - value for row, value in zip(rows, best, strict=True)]

    def count(holds):
        return sum(bool(holds(row, gap)) for row, gap in zip(rows, gaps, strict=True))

    one = [gap for row, gap in zip(rows, gaps, strict=True) if row["one_state"]]
    table = {
        "problems": len(rows),
        "brute force and nonlinear programming differ by at most": max(
            abs(row["optimum"] - row["nonlinear"]) for row in rows
        ),
        "dual below the optimum by at most": max(0.0, -min(gaps)),
        "with a gap": count(lambda row, gap: gap > ENOUGH),
        "largest gap": max(gaps),
        "mixture in one state": len(one),
        "largest gap, mixture in one state": max(one),
        "carried price at the optimum": count(lambda row, gap: reached(row, "carried")),
        "of those with a gap": count(lambda row, gap: gap > ENOUGH and reached(row, "carried")),
        "carried: over the budget": count(lambda row, gap: row["carried"]["excess"] > ENOUGH),
        "price at the state alone at the optimum": count(lambda row, gap: reached(row, "local")),
        "state alone: ends within the budget, below the optimum": count(
            lambda row, gap: row["local"]["excess"] <= ENOUGH and row["local"]["off"] < -ENOUGH
        ),
        "state alone: over the budget": count(lambda row, gap: row["local"]["excess"] > ENOUGH),
    }
    return {name: x if isinstance(x, int) else float(x) for name, x in table.items()}


def main(count=60):
    rows = []
    for cmdp in problems(count):
        rows.append(measure(cmdp))
        print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    table = summary(rows)
    for name, value in table.items():
        print(f"  {name:60s} {value:.3g}")
    if count == 60:
        TABLE.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 60)
