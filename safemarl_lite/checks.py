"""Checks of the exercises: one line when an answer is right, the likely slip when it is not.

Every check calls the learner's function on cases with a known answer. A stub that still raises
`NotImplementedError` gets a friendly line, never a traceback.
"""

from functools import partial

import numpy as np

from safemarl_lite import cmdp


def _run(name, check):
    """Run `check()`, which returns None or the likely slip; print one line on exercise `name`."""
    try:
        slip = check()
    except NotImplementedError:
        print(f"{name}: not written yet. Replace the line that raises, then run this cell again.")
    except Exception as error:
        print(f"{name}: your function stopped with {type(error).__name__}: {error}")
    else:
        print(f"{name}: correct." if slip is None else f"{name}: not yet. {slip}")


# ---- 01: constrained MDPs


def _compare(answer, right, slips):
    """None where `answer` equals `right`, else the slip whose value it equals, else its error."""
    answer, right = np.asarray(answer, dtype=float), np.asarray(right, dtype=float)
    if answer.shape != right.shape:
        return f"Its shape is {answer.shape}; {right.shape} was expected."
    for slip, value in {None: right, **slips}.items():
        if np.allclose(answer, value, atol=1e-6):
            return slip
    return f"The largest error is {np.abs(answer - right).max():.3g}."


def _task(seed):
    return cmdp.random_cmdp(np.random.default_rng(seed), 5, 3, 1)


def check_occupancy(occupancy):
    """Exercise 1.1: occupancy(transition, policy, start, discount) is the x (S,A) of the policy."""
    task, policy = _task(11), np.random.default_rng(0).dirichlet(np.ones(3), 5)
    x, ahead = cmdp.occupancy(task, policy), 0.9 * cmdp.policy_matrix(task, policy)
    backwards = np.linalg.solve(np.eye(5) - ahead, task.start)[:, None] * policy
    slips = {
        "Ten times too small: this x sums to 1, ours to 1/(1 − γ).": 0.1 * x,
        "P_π is not transposed: the flow sums over the states it comes from.": backwards,
    }
    answer = partial(occupancy, task.transition, policy, task.start, 0.9)
    _run("Exercise 1.1", lambda: _compare(answer(), x, slips))


def check_sweep(sweep):
    """Exercise 1.2: one sweep of value iteration on the reward minus the price of its cost."""
    task, v, λ = _task(12), np.linspace(-3, 9, 5), 2.0
    r, c, ahead = task.reward, task.costs[0], 0.9 * cmdp.backup(task, v)
    slips = {
        "Cost is rewarded: its price must be subtracted.": (r + λ * c + ahead).max(1),
        "The discount γ is missing.": (r - λ * c + ahead / 0.9).max(1),
        "That is the mean over the actions; take the best one.": (r - λ * c + ahead).mean(1),
    }
    answer = partial(sweep, v, task.transition, r, c, λ, 0.9)
    _run("Exercise 1.2", lambda: _compare(answer(), (r - λ * c + ahead).max(1), slips))


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
        return _compare(found, cmdp.solve_lp(task).multipliers[0], slips)

    _run("Exercise 1.3", check)


def check_mixture(mixture):
    """Exercise 1.4: mixture(x_fast, x_safe, cost, threshold), the policy that just keeps τ."""
    task = _task(14)
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
    _run("Exercise 1.4", lambda: _compare(mixture(x, y, cost, τ), right, slips))


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

    _run("Exercise 2.1", check)


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

    _run("Exercise 2.2", check)


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

    _run("Exercise 2.3", check)


# ---- 04: the cost advantage and the multiplier


def check_mean_advantage(mean_advantage):
    """Exercise 4.1: E over a ∼ π of c + γV(s′) − V(s), (S,), for *any* critic V (S,)."""
    task, policy, v = _task(41), np.random.default_rng(1).dirichlet(np.ones(3), 5), np.arange(5.0)
    c, ahead, here = task.costs[0], 0.9 * cmdp.backup(task, v), v[:, None]
    slips = {
        "A plain mean over the actions; weight each by π(a|s).": (c + ahead - here).mean(1),
        "V(s) is not subtracted.": (policy * (c + ahead)).sum(1),
        "The discount γ is missing.": (policy * (c + ahead / 0.9 - here)).sum(1),
    }
    answer, right = partial(mean_advantage, policy, task.transition, c, v, 0.9), c + ahead - here
    _run("Exercise 4.1", lambda: _compare(answer(), (policy * right).sum(1), slips))


def check_cost_advantage(cost_advantage):
    """Exercise 4.2: GAE of the cost from values (T, 2) = [V^r, V^c]; ends by landing or by time."""
    c, v, after = np.random.default_rng(42).random((3, 6, 2))
    landed, ended = np.arange(6) == 2, np.isin(np.arange(6), (2, 4, 5))

    def gae(k=1, stop=landed, cut=ended):
        delta, out = c[:, 0] + 0.9 * (1 - stop) * after[:, k] - v[:, k], np.zeros(7)
        for t in reversed(range(6)):
            out[t] = delta[t] + 0.9 * 0.8 * (1 - cut[t]) * out[t + 1]
        return out[:6]

    slips = {
        "That is the reward's critic: use column 1.": gae(k=0),
        "A landed drone has no future: no bootstrap where `terminated`.": gae(stop=0 * ended),
        "An episode cut by time goes on: bootstrap where it is not `terminated`.": gae(stop=ended),
        "The sum runs on into the next episode: stop it where `ended`.": gae(cut=0 * ended),
    }
    answer = partial(cost_advantage, c[:, 0], v, after, landed, ended, 0.9, 0.8)
    _run("Exercise 4.2", lambda: _compare(answer(), gae(), slips))


def check_multiplier_rule(rule):
    """Exercise 4.3: (integral, Ĵ_c, τ, rate, proportional) → integral, λ, each (m,)."""
    start, e = np.array([1.0, 0.2, 2.0]), np.array([0.5, -4.0, -1.0])

    def pair(e, add=0.0, low=0.0):
        integral = np.maximum(low, start + 0.1 * e + add)
        return np.stack([integral, np.maximum(low, integral + 0.5 * e)])

    slips = {
        "λ cannot fall: keep the sign of Ĵ_c − τ.": pair(np.maximum(0, e)),
        "The sign is reversed: λ rises where the cost is above the budget.": pair(-e),
        "A price is never negative: project both on ≥ 0.": pair(e, low=-np.inf),
        "The proportional part must not pile up in the integral.": pair(e, add=0.5 * e),
    }
    answer = partial(rule, start, 3 + e, np.full(3, 3.0), 0.1, 0.5)
    _run("Exercise 4.3", lambda: _compare(answer(), pair(e), slips))


def check_diagnosis(diagnosis):
    """Exercise 4.4: () → the name of the one switch behind three curves."""
    slips = {
        "hinge": "With `hinge` the cost returns to the budget again and again, and λ rises on.",
        "constant_penalty": "Then the cost would not fall at all; here it does.",
        "adam_multiplier": "Then λ would creep at one pace; here it stops dead.",
        "no_terminals": "Then the drone would never land: look at J_r.",
    }
    right, other = "only_rises", "Look at λ while the cost is below the budget: what should it do?"
    _run("Exercise 4.4", lambda: None if (x := diagnosis()) == right else slips.get(x, other))


# ---- 05: training


def check_multiplier_step(step):
    """Exercise 5.1: λ, Ĵ_c, τ, rate → the next λ."""

    def check():
        if np.isclose(step(1.0, 0.0, 1.0, 0.5), 1.0):
            return "λ must be able to fall: keep the sign of Ĵ_c − τ (no max around it)."
        if np.isclose(step(1.0, 3.0, 1.0, 0.5), 0.0):
            return "the sign is reversed: λ rises when the cost is above the budget."
        if step(0.1, 0.0, 1.0, 0.5) < 0:
            return "λ became negative: project with max(0, ·)."
        cases = ((1.0, 3.0, 1.0, 0.5, 2.0), (2.0, 0.0, 1.0, 0.5, 1.5), (0.1, 0.0, 1.0, 0.5, 0.0))
        right = all(np.isclose(step(*case[:4]), case[4]) for case in cases)
        return None if right else f"step(1, 3, 1, 0.5) should be 2, got {step(1.0, 3.0, 1.0, 0.5)}."

    _run("Exercise 5.1", check)


def check_choose(choose):
    """Exercise 5.2: [(cost, return), …], τ → index of the checkpoint to keep."""

    def check():
        some = [(0.5, 20.0), (0.05, 11.0), (0.09, 14.0), (0.3, 9.0)]
        given = choose(some, 0.1)
        if given == 0:
            return "that one has the highest return and breaks the budget."
        if given == 1:
            return "that one is the safest; among the feasible ones the return decides."
        if given != 2:
            return f"index 2 is feasible with the highest return, got {given!r}."
        if choose(some, 0.01) != 1:
            return "where none is feasible, keep the least cost."

    _run("Exercise 5.2", check)


def check_episodes(episodes_needed):
    """Exercise 5.3: p, level → clean episodes needed to bound P(violation) by p."""

    def check():
        given, right = episodes_needed(0.03, 0.99), int(np.ceil(np.log(0.01) / np.log(0.97)))
        if given == int(np.ceil(np.log(0.99) / np.log(0.97))):
            return "the probability of seeing no violation must be at most 1 − level."
        return None if given == right else f"episodes_needed(0.03, 0.99) is {right}, got {given}."

    _run("Exercise 5.3", check)


# ---- 03: critics


def check_explained_variance(explained):
    """Exercise 3.1: explained(returns (B,), values (B,)) is 1 − E[(G − V)²] / Var(G)."""
    G, V = np.array([0.0, 2.0, 4.0, 6.0]), np.array([2.0, 3.0, 5.0, 7.0])
    slips = {"Var(G − V) forgives a constant offset; use the mean square.": 0.9625,
             "That is the share left over; take it from 1.": 0.35,
             "Divide by the variance of the returns, not of the values.": 0.5254237}  # fmt: skip
    _run("Exercise 3.1", lambda: _compare(explained(G, V), 0.65, slips))


def check_split_variance(split):
    """Exercise 3.2: split(returns (B,), state (B,)) → (E[Var(G|s)], Var(E[G|s]))."""
    G, s = np.array([0.0, 2, 2, 4, 10, 12]), np.array([0, 0, 0, 0, 1, 1])
    slips = {"Weight each state by how often it occurs.": (1.5, 20.25),
             "The two parts are swapped.": (18, 5 / 3),
             "With ddof=1 the parts do not add up to Var(G).": (22 / 9, 18)}  # fmt: skip
    _run("Exercise 3.2", lambda: _compare(split(G, s), (5 / 3, 18), slips))


def check_attend(attend):
    """Exercise 3.3: attend(query (N,d), key (N,d), value (N,e)) → (N,e), over the others only."""
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
    _run("Exercise 3.3", lambda: _compare(attend(query, key, value), right, slips))


def check_two_targets(targets):
    """Exercise 3.4: (reward (B,), cost (B,), V(s′) (B,2), terminated (B,), γ) → targets (B,2)."""
    ahead, end = np.array([[10.0, 3.0], [20.0, 4.0]]), np.array([False, True])
    slips = {"It bootstraps over termination: no future is left there.": ((10, 2.7), (23, 5.6)),
             "The cost's target is built on the reward's value.": ((10, 9), (5, 2)),
             "The discount γ is missing.": ((11, 3), (5, 2))}  # fmt: skip
    answer = partial(targets, np.array([1.0, 5.0]), np.array([0.0, 2.0]), ahead, end, 0.9)
    _run("Exercise 3.4", lambda: _compare(answer(), ((10, 2.7), (5, 2)), slips))
