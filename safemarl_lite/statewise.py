"""State-wise constraints: the cost to come stays within the budget from *every* state, exactly.

    max_π J_r(π)   subject to   V^c_π(s) ≤ τ   for all s, π stationary

Notebook: `07_scaling_and_guarantees`; symbols as in `cmdp.py`, and M = (I − γ P_π)^{-1}, so that
M(s,s') counts the discounted visits to s' of a flight that begins in s, and μ = ρ M those of the
flights that are flown. λ(s) ≥ 0 is the multiplier of the constraint at s, one for each state.

There is no linear programme in the occupancy: V^c from another start belongs to another occupancy,
and the two share the *policy*, not a linear map. What holds instead:

    feasible    some π meets all constraints iff the policy of least cost does (it is least
                everywhere at once)
    stationary  where no small change helps, π(·|s) maximises A^r − Λ(s) A^c with the *carried* price
                Λ(s) = Σ_s' λ(s') M(s',s) / μ(s): an action is charged for every constrained state
                that a flight came through on its way here, not for s alone
    dual        at fixed λ the Lagrangian has a deterministic maximiser, so that the dual value is
                the best *mixture* of deterministic policies, drawn once and kept. It bounds J_r
                from above; a mixture that keeps the budget at every start may break it on the way

Sources: Dadashi et al. 2019 (values along a change in one state lie on a line); Ma et al. 2021 (the
multiplier network λ(s), charged at s alone); Chow et al. 2018 (Lyapunov functions, an inner bound).
"""

from itertools import product
from typing import NamedTuple

import numpy as np
from scipy.optimize import linprog

from .cmdp import (
    HIGHS,
    Evaluation,
    TabularCMDP,
    best_response,
    evaluate,
    policy_matrix,
    state_values,
)
from .lagrangian import Multipliers


class InfeasibleStates(ValueError):
    """No policy keeps the budget from every state; `.least (S,)` is the least cost from each."""

    def __init__(self, threshold: float, least: np.ndarray) -> None:
        self.least, worst = least, int(least.argmax())
        up = np.ceil(least[worst] * 1e6) / 1e6
        super().__init__(
            f"no policy meets V^c(s) ≤ {threshold:g} in {(least > threshold).sum()} of {len(least)}"
            f" states: from state {worst} the least is {up:.9g}, the smallest feasible threshold"
        )


def least_costs(cmdp: TabularCMDP) -> np.ndarray:
    """min_π V^c_π(s), (S,): one policy attains it in all states. Raises `InfeasibleStates`."""
    if len(cmdp.thresholds) != 1:
        raise ValueError(f"state-wise: one cost, not {len(cmdp.thresholds)}")
    least = state_values(cmdp, best_response(cmdp, -cmdp.costs[0]), cmdp.costs[0])
    if least.max() > cmdp.thresholds[0] + 1e-9:
        raise InfeasibleStates(float(cmdp.thresholds[0]), least)
    return least


def carried(cmdp: TabularCMDP, policy: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Σ_s' w(s') M(s',s), (S,): visits of flights begun with weights w(s'), ρ or λ."""
    bellman = np.eye(len(weights)) - cmdp.discount * policy_matrix(cmdp, policy)
    return np.linalg.solve(bellman.T, weights)


class StatewisePoint(NamedTuple):
    """A policy (S,A), its multipliers λ(s) (S,) and prices Λ(s) (S,), and its exact values."""

    policy: np.ndarray
    multipliers: np.ndarray
    prices: np.ndarray
    exact: Evaluation

    def errors(self, threshold: float) -> tuple[float, float, float]:
        """How far from first-order optimal: excess over τ, λ(s)·(τ − V^c(s)), what an action gains.

        The last weighs each state by μ + λM and divides by 1 + Λ(s). Zero is necessary for an
        optimum and, without convexity, not sufficient.
        """
        spare = threshold - self.exact.v_c[0]
        gain = _gain(self.exact, self.prices)
        return max(-spare.min(), 0.0), float(abs(self.multipliers * spare).max()), gain.max()


def _gain(exact, prices):
    """(A^r − Λ(s) A^c) / (1 + Λ(s)), (S,A); Λ = ∞ where only the price's flights come."""
    share = (1 / (1 + prices))[:, None]
    return share * exact.a_r - (1 - share) * exact.a_c[0]


def primal_dual(
    cmdp: TabularCMDP,
    steps: int = 5_000,
    rate: float = 0.2,
    proportional: float = 5.0,
    carry: bool = True,
    tolerance: float = 1e-7,
) -> StatewisePoint:
    """π by natural policy gradient against λ(s) by `Multipliers`, one for each state; exact values.

        λ(s) ← PI rule on (1 − γ)(V^c(s) − τ)
        θ(s,·) ← θ(s,·) + 3 (A^r − Λ(s) A^c) / (1 + Λ(s)),   π = softmax(θ)

    `carry=False` charges λ(s) at s alone, in place of the carried Λ(s). Starts from the uniform
    policy; stops after `steps`, or where `errors` are within `tolerance`. Raises
    `InfeasibleStates`.
    """
    least_costs(cmdp)
    scale, logits = 1 - cmdp.discount, np.zeros_like(cmdp.reward)
    λ = Multipliers(np.repeat(cmdp.thresholds, len(logits)) * scale, rate, 0.0, proportional)
    for step in range(steps):
        policy = np.exp(logits)
        policy /= policy.sum(1, keepdims=True)
        exact = evaluate(cmdp, policy)
        prices = λ.update(exact.v_c[0] * scale)
        if carry:
            with np.errstate(divide="ignore", invalid="ignore"):
                prices = carried(cmdp, policy, prices) / exact.occupancy.sum(1)
            prices = np.nan_to_num(prices, posinf=np.inf)  # 0/0: a state that nobody reaches
        point = StatewisePoint(policy, λ.values, prices, exact)
        if step % 200 == 0 and max(point.errors(cmdp.thresholds[0])) <= tolerance:
            break
        logits = logits + 3 * _gain(exact, prices)
        logits = np.maximum(logits - logits.max(1, keepdims=True), -15)
    return point


def dual_optimum(cmdp: TabularCMDP) -> tuple[float, np.ndarray, np.ndarray]:
    """min_λ max_π J_r − Σ_s λ(s)(V^c(s) − τ) → its value, λ (S,), the mixture's weights (A^S,).

    A linear programme over all A^S deterministic policies (in the order of `itertools.product`):
    max_w Σ_k w_k J_r^k subject to Σ_k w_k V^c_k(s) ≤ τ, Σ w = 1, w ≥ 0. Raises `InfeasibleStates`.
    """
    least_costs(cmdp)
    S, A = cmdp.reward.shape
    choices = np.eye(A)[list(product(range(A), repeat=S))]  # (A^S, S, A)
    exact = [evaluate(cmdp, policy) for policy in choices]
    J, V = np.array([e.J_r for e in exact]), np.array([e.v_c[0] for e in exact])
    rows, sides = V.T, np.repeat(cmdp.thresholds, S)
    one = {"A_eq": np.ones((1, len(J))), "b_eq": [1]}
    result = linprog(-J, rows, sides, **one, method="highs", options=HIGHS)
    if result.status != 0:
        raise RuntimeError(f"the linear programme failed: {result.message}")
    return float(-result.fun), np.maximum(-result.ineqlin.marginals, 0), result.x
