"""Checks of the exercises: `checks.check_…(answer)` prints one line.

Every check calls the learner's function on cases with a known answer. A stub that still raises
`NotImplementedError` gets a friendly line, never a traceback.
"""

from functools import partial

import numpy as np

from . import cmdp
from .checks_training import *  # noqa: F403, the lessons from 04 on
from .exercise import compare, random_task, run

# ---- 01: constrained MDPs


def check_occupancy(occupancy):
    """Exercise 1.1: occupancy(transition, policy, start, discount) is the x (S,A) of the policy."""
    task, policy = random_task(11), np.random.default_rng(0).dirichlet(np.ones(3), 5)
    x, ahead = cmdp.occupancy(task, policy), 0.9 * cmdp.policy_matrix(task, policy)
    backwards = np.linalg.solve(np.eye(5) - ahead, task.start)[:, None] * policy
    slips = {
        "Ten times too small: this x sums to 1, ours to 1/(1 − γ).": 0.1 * x,
        "P_π is not transposed: the flow sums over the states it comes from.": backwards,
    }
    answer = partial(occupancy, task.transition, policy, task.start, 0.9)
    run("Exercise 1.1", lambda: compare(answer(), x, slips))


def check_sweep(sweep):
    """Exercise 1.2: one sweep of value iteration on the reward minus the price of its cost."""
    task, v, λ = random_task(12), np.linspace(-3, 9, 5), 2.0
    r, c, ahead = task.reward, task.costs[0], 0.9 * cmdp.backup(task, v)
    slips = {
        "Cost is rewarded: its price must be subtracted.": (r + λ * c + ahead).max(1),
        "The discount γ is missing.": (r - λ * c + ahead / 0.9).max(1),
        "That is the mean over the actions; take the best one.": (r - λ * c + ahead).mean(1),
    }
    answer = partial(sweep, v, task.transition, r, c, λ, 0.9)
    run("Exercise 1.2", lambda: compare(answer(), (r - λ * c + ahead).max(1), slips))


def check_price(price):
    """Exercise 1.3: price(cost_of, threshold, high), where the cost falls to the budget."""
    task = cmdp.grid_world()
    slips = {
        "It ran to the upper end: cost within the budget must move `high` down.": 20.0,
        "It ran to 0: cost above the budget must move `low` up.": 0.0,
    }

    def check():
        for threshold in (5.0, 0.5):  # a loose budget, then a binding one
            found = price(lambda λ: cmdp.dual_function(task, [λ])[1].J_c[0], threshold, 20.0)
            if threshold == 5.0 and abs(found) > 1e-6:
                return "With the loose budget 5 the price is 0: the fastest policy keeps it."
        return compare(found, cmdp.solve_lp(task).multipliers[0], slips)

    run("Exercise 1.3", check)


def check_mixture(mixture):
    """Exercise 1.4: mixture(x_fast, x_safe, cost, threshold), the policy that just keeps τ."""
    task = random_task(14)
    cost, τ = task.costs[0], task.thresholds[0]
    fast, safe = (cmdp.best_response(task, f) for f in (task.reward, -cost))
    x, y = cmdp.occupancy(task, fast), cmdp.occupancy(task, safe)
    w = (τ - (y * cost).sum()) / ((x - y) * cost).sum()
    mixed, swapped = w * x + (1 - w) * y, (1 - w) * x + w * y
    slips = {
        "Policies were mixed state by state; mix the occupancies.": w * fast + (1 - w) * safe,
        "The two weights are swapped.": swapped / swapped.sum(1, keepdims=True),
        "That is the mixed occupancy; divide each row by its sum.": mixed,
    }
    right = mixed / mixed.sum(1, keepdims=True)
    run("Exercise 1.4", lambda: compare(mixture(x, y, cost, τ), right, slips))


# ---- 02: the swarm


def check_drone_costs(drone_costs):
    """Exercise 2.1: positions (N, 3), d_safe → c_drones, one number for the swarm."""

    def check():
        line = np.array([[0.0, 0, 0], [1.5, 0, 0], [3.0, 0, 0], [9.0, 0, 0]])
        given = drone_costs(line, 2.0)
        if np.shape(given) != ():
            return f"c_drones is one number for the whole swarm, yours has shape {np.shape(given)}."
        slips = {2: "half of what is expected: the formula counts (i, j) and (j, i).",
                 8: "every drone is counted as its own neighbour: j ≠ i.",
                 0: "nothing is counted: is the inequality the right way round?"}  # fmt: skip
        if given != 4:
            return slips.get(given, f"two pairs are 1.5 m apart, so 4 is expected; got {given}.")
        edge = drone_costs(np.array([[0.0, 0, 0], [2.0, 0, 0]]), 2.0)
        return None if edge == 0 else "exactly d_safe apart is safe: the inequality is strict."

    run("Exercise 2.1", check)


def check_goal_radius(goal_radius):
    """Exercise 2.2: the least goal radius for four drones, as a function of d."""

    def check():
        given = goal_radius(2.0)
        if np.isclose(given, 2.0 * (3 / 8) ** 0.5):
            return None if np.isclose(goal_radius(1.0), (3 / 8) ** 0.5) else "it must scale with d."
        if np.isclose(given, 2**0.5):
            return "that is a flat square of side d: the tetrahedron is smaller."
        if np.isclose(given, (3 / 8) ** 0.5):
            return "that is for edge 1: multiply by d."
        return f"expected about 1.2247 for d = 2, got {given}."

    run("Exercise 2.2", check)


def check_is_feasible(is_feasible):
    """Exercise 2.3: task fields → True or False, never an exception."""

    def check():
        cases = [({}, True), ({"goal_radius": 1.0}, False), ({"max_thrust": 4.0}, False),
                 ({"n_drones": 2, "goal_radius": 1.0}, True), ({"horizon": 5}, False)]  # fmt: skip
        for fields, right in cases:
            try:
                given = is_feasible(**fields)
            except ValueError as error:
                return f"is_feasible({fields}) raised {type(error).__name__}: catch it."
            if given is not right:
                return f"is_feasible({fields}) should be {right}, got {given!r}."

    run("Exercise 2.3", check)


# ---- 03: critics


def check_explained_variance(explained):
    """Exercise 3.1: explained(returns (B,), values (B,)) is 1 − E[(G − V)²] / Var(G)."""
    G, V = np.array([0.0, 2.0, 4.0, 6.0]), np.array([2.0, 3.0, 5.0, 7.0])
    slips = {"Var(G − V) forgives a constant offset; use the mean square.": 0.9625,
             "That is the share left over; take it from 1.": 0.35,
             "Divide by the variance of the returns, not of the values.": 0.5254237}  # fmt: skip
    run("Exercise 3.1", lambda: compare(explained(G, V), 0.65, slips))


def check_split_variance(split):
    """Exercise 3.2: split(returns (B,), state (B,)) → (E[Var(G|s)], Var(E[G|s]))."""
    G, s = np.array([0.0, 2, 2, 4, 10, 12]), np.array([0, 0, 0, 0, 1, 1])
    slips = {"Weight each state by how often it occurs.": (1.5, 20.25),
             "The two parts are swapped.": (18, 5 / 3),
             "With ddof=1 the parts do not add up to Var(G).": (22 / 9, 18)}  # fmt: skip
    run("Exercise 3.2", lambda: compare(split(G, s), (5 / 3, 18), slips))


def check_two_targets(targets):
    """Exercise 3.3: (reward (B,), cost (B,), V(s′) (B,2), terminated (B,), γ) → targets (B,2)."""
    ahead, end = np.array([[10.0, 3.0], [20.0, 4.0]]), np.array([False, True])
    slips = {"It bootstraps over termination: no future is left there.": ((10, 2.7), (23, 5.6)),
             "The cost's target is built on the reward's value.": ((10, 9), (5, 2)),
             "The discount γ is missing.": ((11, 3), (5, 2))}  # fmt: skip
    answer = partial(targets, np.array([1.0, 5.0]), np.array([0.0, 2.0]), ahead, end, 0.9)
    run("Exercise 3.3", lambda: compare(answer(), ((10, 2.7), (5, 2)), slips))


def check_attend(attend):
    """Exercise 3.4: attend(query (N,d), key (N,d), value (N,e)) → (N,e), over the others only."""
    query, key, value = np.random.default_rng(3).normal(size=(3, 4, 5))
    whole, plain = np.exp(query @ key.T / 5**0.5), np.exp(query @ key.T) * (1 - np.eye(4))
    other = whole * (1 - np.eye(4))
    right, own, late, unscaled = (
        x / y.sum(1, keepdims=True) @ value
        for x, y in ((other, other), (whole, whole), (other, whole), (plain, plain))
    )
    slips = {"An agent attends to itself too: leave out j = i.": own,
             "Masked after the softmax: the others' weights must add up to 1.": late,
             "The scores are not divided by √d.": unscaled}  # fmt: skip
    run("Exercise 3.4", lambda: compare(attend(query, key, value), right, slips))
