"""State-wise constraints: the cost to come stays within the budget from *every* state, exactly.

    max_π J_r(π)   subject to   V^c_π(s) ≤ τ   for all s, π stationary

Notebook: `07_scaling_and_guarantees`; symbols as in `cmdp.py`. M = (I − γ P_π)^{-1}: M(s,s') counts
the discounted visits to s' of a flight from s, and μ = ρ M those of the flights that are flown.
λ(s) ≥ 0 is the multiplier of the constraint at s. There is no linear programme in the occupancy:
values from several starts belong to several occupancies, which share a policy and no linear map.

    feasible    some π meets all constraints iff the one of least cost does: it is least everywhere
    stationary  where no small change helps, π(·|s) maximises A^r − Λ(s) A^c with the *carried*
                price Λ(s) = Σ_s' λ(s') M(s',s) / μ(s): an action is charged for every constrained
                state that a flight came through on its way here, not for s alone

Sources: Achiam et al. 2017 (the linear model of a step); Ma et al. 2021 (λ(s), charged at s).
"""

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
    """Λ(s) = Σ_s' λ(s') M(s',s) / μ(s) of weights λ, (S,): ∞ where no flight comes but a price
    does, NaN where neither does and the policy is free."""
    M = np.linalg.inv(np.eye(len(weights)) - cmdp.discount * policy_matrix(cmdp, policy))
    with np.errstate(divide="ignore", invalid="ignore"):
        return (weights @ M) / (cmdp.start @ M)


class StatewisePoint(NamedTuple):
    """A policy (S,A), its multipliers λ(s) (S,) and prices Λ(s) (S,), and its exact values."""

    policy: np.ndarray
    multipliers: np.ndarray
    prices: np.ndarray
    exact: Evaluation

    def errors(self, threshold: float) -> tuple[float, float, float]:
        """How far from first-order optimal: excess over τ, λ(s)·(τ − V^c(s)), what an action gains.

        The last is the largest (A^r − Λ A^c)/(1 + Λ). Zero is necessary for an optimum and, without
        convexity, not sufficient.
        """
        spare = threshold - self.exact.v_c[0]
        gain = _gain(self.exact, self.prices)
        return max(-spare.min(), 0.0), float(abs(self.multipliers * spare).max()), gain.max()


def _gain(exact, prices):
    """(A^r − Λ(s) A^c) / (1 + Λ(s)), (S,A); −A^c where Λ = ∞, 0 where Λ is 0/0."""
    share = (1 / (1 + prices))[:, None]
    return np.nan_to_num(share * exact.a_r - (1 - share) * exact.a_c[0])


def solve_states(cmdp: TabularCMDP, steps: int = 200, width: float = 0.5) -> StatewisePoint:
    """A first-order optimal π and its λ(s), by successive linear programmes; starts from safety.

    Each programme replaces V by its slope in π, the performance difference with the old visits:

        max_π′ Σ_s μ(s) π′(·|s)·A^r(s,·) − big·z   subject to
        V^c(s) + Σ_s' M(s,s') π′(·|s')·A^c(s',·) ≤ τ + z   for all s,   |π′ − π| ≤ width

    The step is kept if J_r − big · excess rises, else `width` is halved. λ are the programme's
    multipliers. Without convexity another start may end elsewhere. Raises `InfeasibleStates`.
    """
    least_costs(cmdp)
    (S, A), τ, z = cmdp.reward.shape, cmdp.thresholds[0], np.eye(cmdp.reward.size + 1)[-1]

    def merit(exact):
        return exact.J_r - big * max(exact.v_c[0].max() - τ, 0)

    policy = best_response(cmdp, -cmdp.costs[0])
    exact, λ, big = evaluate(cmdp, policy), np.zeros(S), 1.0
    for _ in range(steps):
        M = np.linalg.inv(np.eye(S) - cmdp.discount * policy_matrix(cmdp, policy))
        slopes = (M[:, :, None] * exact.a_c[0]).reshape(S, S * A)
        aim = big * z - np.append(((cmdp.start @ M)[:, None] * exact.a_r).ravel(), 0)
        near = np.stack([policy - width, policy + width], -1).clip(0, 1).reshape(-1, 2)
        found = linprog(
            aim, np.c_[slopes, -np.ones(S)], τ - exact.v_c[0],
            np.c_[np.repeat(np.eye(S), A, axis=1), np.zeros(S)], np.ones(S),
            [*map(tuple, near), (0, None)], options=HIGHS,
        )  # fmt: skip
        moved = np.maximum(found.x[:-1].reshape(S, A), 0)
        moved /= moved.sum(1, keepdims=True)
        to, λ = evaluate(cmdp, moved), np.maximum(-found.ineqlin.marginals, 0)
        big *= 4 if found.x[-1] > 1e-9 else 1  # dearer than Σ λ(s): z is for rounding only
        if merit(to) > merit(exact):
            policy, exact, width = moved, to, min(2 * width, 1)
        else:
            width /= 2
        if width < 1e-9:
            break
    return StatewisePoint(policy, λ, carried(cmdp, policy, λ), exact)
