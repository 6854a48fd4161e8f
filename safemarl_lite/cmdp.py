"""Constrained Markov decision processes with finitely many states, solved exactly.

    max_π J_r(π)   subject to   J_cj(π) ≤ τ_j, j = 1..m,   J_f(π) = E_π[Σ_t γ^t f(s_t, a_t)]

Source: Altman, "Constrained Markov Decision Processes" (1999), ch. 3 (occupancy measures and their
linear programme). Notebook 01. Rewards are maximised, costs stay low, multipliers are ≥ 0;
every J is a discounted sum from t = 0 on, *not* multiplied by 1 − γ, and so is every threshold.

    P    transition (S, A, S)     x   occupancy (S, A), x(s,a) = Σ_t γ^t Pr(s_t = s, a_t = a)
    r    reward (S, A)            λ   multipliers (m,), reward given up per unit of budget
    c_j  costs (m, S, A)          d   dual function, d(λ) = max_π J_r − Σ_j λ_j (J_cj − τ_j)
    τ_j  thresholds (m,)          ρ, γ  start (S,), discount in [0, 1)
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from scipy.optimize import linprog

HIGHS = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}


class InfeasibleCMDP(ValueError):
    """No policy meets all thresholds. `.least (m,)` is what each cost could reach were it alone,
    `.feasible (m,)` the given thresholds, all raised by one and the least slack that helps."""

    def __init__(self, thresholds, feasible, least):
        self.thresholds, self.feasible, self.least = thresholds, feasible, least
        up, alone = (np.ceil(bound * 1e6) / 1e6 for bound in (feasible, least))  # still feasible
        advice = f"the smallest feasible threshold is {up[0]:.9g}"
        if len(least) > 1:
            advice = f"raised alike, the smallest feasible thresholds are {up.tolist()}"
            advice += f"; each cost alone could reach {alone.tolist()}"
        super().__init__(f"no policy meets thresholds {thresholds.tolist()}: {advice}")


@dataclass(frozen=True, eq=False)
class TabularCMDP:
    """A CMDP: transition (S,A,S), reward (S,A), costs (m,S,A), thresholds (m,), start (S,)."""

    transition: np.ndarray
    reward: np.ndarray
    costs: np.ndarray
    thresholds: np.ndarray
    start: np.ndarray
    discount: float

    def __post_init__(self):
        for name in ("transition", "reward", "costs", "thresholds", "start"):
            array = np.array(getattr(self, name), dtype=np.float64)
            if not np.isfinite(array).all():
                raise ValueError(f"{name} holds NaN or infinity; every entry must be finite")
            array.setflags(write=False)
            object.__setattr__(self, name, array)
        if len(given := self.transition.shape) != 3 or 0 in given:
            raise ValueError(f"transition has shape {given}; it must be (S, A, S)")
        (S, A, _), m = given, self.thresholds.size
        shapes = {"transition": (S, A, S), "reward": (S, A), "start": (S,)}
        for name, shape in (shapes | {"costs": (m, S, A), "thresholds": (m,)}).items():
            if (given := getattr(self, name).shape) != shape or m == 0:
                must = f"with S={S}, A={A}, m={m} ≥ 1 it must be {shape}"
                raise ValueError(f"{name} has shape {given}; {must}")
        for name, array in ("transition", self.transition), ("start", self.start):
            if (array < 0).any() or np.abs(array.sum(-1) - 1).max() > 1e-9:
                raise ValueError(f"{name} must be ≥ 0 and sum to 1 over its last axis")
        if not 0 <= self.discount < 1:
            raise ValueError(f"discount is {self.discount}; it must lie in [0, 1)")

    def with_thresholds(self, thresholds: np.ndarray | float) -> "TabularCMDP":
        """The same CMDP with other thresholds, (m,) or a scalar for all."""
        return replace(self, thresholds=np.broadcast_to(thresholds, self.thresholds.shape))


def policy_matrix(cmdp: TabularCMDP, policy: np.ndarray) -> np.ndarray:
    """P_π(s, s') = Σ_a π(a|s) P(s'|s,a), shape (S, S)."""
    policy = np.asarray(policy, dtype=np.float64)
    fits = policy.shape == cmdp.reward.shape and (policy >= 0).all()
    if not fits or np.abs(policy.sum(1) - 1).max() > 1e-9:
        raise ValueError(f"a policy is {cmdp.reward.shape}, each row ≥ 0 with sum 1")
    return np.einsum("sa,sat->st", policy, cmdp.transition)


def state_values(cmdp: TabularCMDP, policy: np.ndarray, signal: np.ndarray) -> np.ndarray:
    """V(s) = E_π[Σ_t γ^t f(s_t, a_t) | s_0 = s]: solves V = f_π + γ P_π V. signal (..., S, A)."""
    bellman = np.eye(len(cmdp.start)) - cmdp.discount * policy_matrix(cmdp, policy)
    expected = np.sum(policy * signal, axis=-1)
    return np.linalg.solve(bellman, expected[..., None])[..., 0]


def action_values(cmdp: TabularCMDP, policy: np.ndarray, signal: np.ndarray) -> np.ndarray:
    """Q(s,a) = f(s,a) + γ Σ_s' P(s'|s,a) V(s'), shape (..., S, A)."""
    return signal + cmdp.discount * backup(cmdp, state_values(cmdp, policy, signal))


def advantages(cmdp: TabularCMDP, policy: np.ndarray, signal: np.ndarray) -> np.ndarray:
    """A(s,a) = Q(s,a) − V(s), shape (..., S, A). Its mean under the policy is 0 in every state."""
    return action_values(cmdp, policy, signal) - state_values(cmdp, policy, signal)[..., None]


def backup(cmdp: TabularCMDP, values: np.ndarray) -> np.ndarray:
    """Σ_s' P(s'|s,a) V(s'): (..., S) to (..., S, A)."""
    return np.einsum("sat,...t->...sa", cmdp.transition, values)


def occupancy(cmdp: TabularCMDP, policy: np.ndarray) -> np.ndarray:
    """x(s,a) = Σ_t γ^t Pr(s_t=s, a_t=a), shape (S, A); sums to 1/(1−γ), so J_f = Σ x f.
    The probability d^π of the literature is the state marginal (1−γ) Σ_a x(s,a)."""
    bellman = np.eye(len(cmdp.start)) - cmdp.discount * policy_matrix(cmdp, policy)
    return np.linalg.solve(bellman.T, cmdp.start)[:, None] * policy


class Evaluation(NamedTuple):
    """Exact values of a policy, for the reward (_r) and the costs (_c)."""

    v_r: np.ndarray  # (S,)
    v_c: np.ndarray  # (m, S)
    q_r: np.ndarray  # (S, A)
    q_c: np.ndarray  # (m, S, A)
    a_r: np.ndarray  # (S, A)
    a_c: np.ndarray  # (m, S, A)
    J_r: float
    J_c: np.ndarray  # (m,)
    occupancy: np.ndarray  # (S, A)


def evaluate(cmdp: TabularCMDP, policy: np.ndarray) -> Evaluation:
    """Exact values, advantages, returns and occupancy of `policy` (S, A)."""
    signals = np.concatenate([cmdp.reward[None], cmdp.costs])
    v, q = state_values(cmdp, policy, signals), action_values(cmdp, policy, signals)
    a, J, x = q - v[..., None], v @ cmdp.start, occupancy(cmdp, policy)
    return Evaluation(v[0], v[1:], q[0], q[1:], a[0], a[1:], float(J[0]), J[1:], x)


class Solution(NamedTuple):
    """The optimum of a CMDP."""

    policy: np.ndarray  # (S, A)
    value: float  # J_r
    costs: np.ndarray  # J_c (m,)
    multipliers: np.ndarray  # λ* (m,)
    occupancy: np.ndarray  # x (S, A)


def flow_matrix(cmdp: TabularCMDP) -> np.ndarray:
    """F (S, S·A) of the flow equations F x = ρ: Σ_a x(s',a) − γ Σ_sa P(s'|s,a) x(s,a) = ρ(s')."""
    S, A = cmdp.reward.shape
    return np.repeat(np.eye(S), A, axis=1) - cmdp.discount * cmdp.transition.reshape(S * A, S).T


def solve_lp(cmdp: TabularCMDP) -> Solution:
    """max_x Σ x r  subject to  F x = ρ, Σ x c_j ≤ τ_j, x ≥ 0; then π(a|s) = x(s,a) / Σ_a x(s,a).

    λ* is minus the solver's marginals of the cost rows, because it minimises −Σ x r. A state that
    is never visited gets the uniform policy. Raises `InfeasibleCMDP`; at the least possible cost
    itself rounding decides.
    """
    m, S, A = cmdp.costs.shape
    rows, flow = cmdp.costs.reshape(m, S * A), flow_matrix(cmdp)
    problem = {"b_ub": cmdp.thresholds, "b_eq": cmdp.start, "method": "highs", "options": HIGHS}
    result = linprog(-cmdp.reward.ravel(), A_ub=rows, A_eq=flow, **problem)
    if result.status == 2:  # infeasible: one slack z for all thresholds, made as small as it can be
        rows, flow = np.c_[rows, -np.ones(m)], np.c_[flow, np.zeros(S)]
        slack = linprog(np.eye(S * A + 1)[-1], A_ub=rows, A_eq=flow, **problem).fun
        least = [evaluate(cmdp, best_response(cmdp, -c)).J_c[j] for j, c in enumerate(cmdp.costs)]
        raise InfeasibleCMDP(cmdp.thresholds, cmdp.thresholds + slack, np.array(least))
    if result.status != 0:
        raise RuntimeError(f"the linear programme failed: {result.message}")
    # HiGHS ignores coefficients below 1e-9: solve the equations of its vertex again, with all
    used, full, x = result.x > 0, result.slack < 1e-9, np.zeros((S, A))
    vertex, sides = np.vstack([flow, rows[full]])[:, used], [*cmdp.start, *cmdp.thresholds[full]]
    x.flat[used] = np.maximum(np.linalg.lstsq(vertex, sides)[0], 0)
    return solution_of(cmdp, x, np.maximum(-result.ineqlin.marginals, 0))


def solution_of(cmdp: TabularCMDP, x: np.ndarray, multipliers: np.ndarray) -> Solution:
    """The stationary policy π(a|s) = x(s,a) / Σ_a x(s,a) of an occupancy (S,A), evaluated anew."""
    visits = x.sum(1, keepdims=True)
    policy = np.where(visits > 1e-10, x / np.maximum(visits, 1e-10), 1 / x.shape[1])
    exact = evaluate(cmdp, policy)
    return Solution(policy, exact.J_r, exact.J_c, multipliers, exact.occupancy)


def extra_actions(x: np.ndarray, tolerance: float = 1e-8) -> int:
    """How many more actions than visited states an occupancy (S,A) uses; at an LP vertex ≤ m."""
    return int((x > tolerance).sum() - (x.sum(1) > tolerance).sum())


def penalised(cmdp: TabularCMDP, multipliers: np.ndarray) -> np.ndarray:
    """The reward after the price is paid, r − Σ_j λ_j c_j, shape (S, A)."""
    return cmdp.reward - np.tensordot(np.asarray(multipliers, float), cmdp.costs, axes=1)


def best_response(cmdp: TabularCMDP, signal: np.ndarray) -> np.ndarray:
    """A deterministic policy (S,A) that maximises J_f, by policy iteration (finite, exact)."""
    S, A = signal.shape
    actions = np.zeros(S, dtype=int)
    while True:
        q = action_values(cmdp, np.eye(A)[actions], signal)
        better = q.max(1) > q[np.arange(S), actions] + 1e-12 * (1 + np.abs(q).max())
        if not better.any():
            return np.eye(A)[actions]
        actions = np.where(better, q.argmax(1), actions)


def dual_function(cmdp: TabularCMDP, multipliers: np.ndarray) -> tuple[float, Evaluation]:
    """d(λ) = max_π J_r(π) − Σ_j λ_j (J_cj(π) − τ_j), and a maximiser's `Evaluation`.

    A maximum of lines in λ, one a deterministic policy: convex, piecewise linear, with subgradient
    τ − J_c(π_λ). Its mirror image −d(λ) = min_π −J_r + Σ λ_j (J_cj − τ_j) is the concave dual of
    the minimisation form. Every d(λ), λ ≥ 0, bounds the constrained optimum from above.
    """
    exact = evaluate(cmdp, best_response(cmdp, penalised(cmdp, multipliers)))
    return float(exact.J_r - np.dot(multipliers, exact.J_c - cmdp.thresholds)), exact


def subgradient_ascent(
    cmdp: TabularCMDP, steps: int, rate: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The textbook method on −d: λ_{k+1} = max(0, λ_k + η_k (J_c(π_k) − τ)), η_k = rate/√(k+1).

    Returns λ (K,m), J_r (K,), J_c (K,m) of each step's policy, and the η-weighted mean occupancy
    (S,A). The mean exceeds budget j by at most λ_j / Σ_k η_k, λ after the last step (sum the
    recursion); the last policy may exceed it by any amount.
    """
    λ, path, mean = np.zeros(len(cmdp.thresholds)), [], 0
    etas = rate / np.sqrt(np.arange(1, steps + 1))
    for eta in etas:
        _, exact = dual_function(cmdp, λ)
        path.append((λ, exact.J_r, exact.J_c))
        mean = mean + eta / etas.sum() * exact.occupancy
        λ = np.maximum(0, λ + eta * (exact.J_c - cmdp.thresholds))
    return *(np.array(column) for column in zip(*path, strict=True)), mean


def dual_ascent(
    cmdp: TabularCMDP, tolerance: float = 1e-10, bound: float = 10.0, max_cuts: int = 2000
) -> tuple[Solution, np.ndarray]:
    """The optimum through the dual alone, by cutting planes (Kelley 1960): exact and finite.

    Each best response adds a line below d; the next λ minimises the highest of the lines so far.
    That small programme's own multipliers w mix the policies found: x = Σ w_k x_k is feasible, and
    optimal when the gap closes. λ is searched in [0, bound]^m, widened while λ sits on its edge.
    Returns the `Solution` and the trace (K, 2) of [lowest d so far, highest line's minimum].
    """
    λ, lines, visits, trace = np.zeros(len(cmdp.thresholds)), [], [], []
    while len(trace) < max_cuts and bound < 1e9:
        value, exact = dual_function(cmdp, λ)
        lines.append([exact.J_r, *(exact.J_c - cmdp.thresholds)])
        visits.append(exact.occupancy)
        rewards, excess = np.array(lines)[:, 0], np.array(lines)[:, 1:]
        rows = -np.c_[np.ones(len(lines)), excess]  # min t  subject to  t + λ·(J_c − τ)_k ≥ J_r,k
        box = [(None, None)] + [(0, bound)] * λ.size
        model = linprog(np.eye(1 + λ.size)[0], rows, -rewards, bounds=box, options=HIGHS)
        λ = model.x[1:]
        trace.append([min(value, trace[-1][0]) if trace else value, model.fun])
        if trace[-1][0] - model.fun <= tolerance * (1 + abs(model.fun)):
            if (λ < 0.999 * bound).all():
                x = np.tensordot(-model.ineqlin.marginals, visits, axes=1)
                return solution_of(cmdp, x, λ), np.array(trace)
            bound *= 10
    raise ValueError(f"no minimum of the dual within {len(trace)} cuts: are the budgets feasible?")
