"""Checks of the exercises: one line when an answer is right, the likely slip when it is not.

Every check calls the learner's function on cases with a known answer. A stub that still raises
`NotImplementedError` gets a friendly line, never a traceback.
"""

import numpy as np

from safemarl_lite import cmdp


def _run(name, check):
    """Run `check()` (it returns None, or the likely slip) and print one line about exercise `name`."""
    try:
        slip = check()
    except NotImplementedError:
        print(f"{name}: not written yet. Replace the line that raises, then run this cell again.")
    except Exception as error:
        print(f"{name}: your function stopped with {type(error).__name__}: {error}")
    else:
        print(f"{name}: correct." if slip is None else f"{name}: not yet. {slip}")


# ---- 01: constrained MDPs ------------------------------------------------------------------------


def _compare(answer, right, slips):
    """None where `answer` equals `right`, else the slip whose value it equals, else its error."""
    answer, right = np.asarray(answer, dtype=float), np.asarray(right, dtype=float)
    if answer.shape != right.shape:
        return f"Its shape is {answer.shape}; {right.shape} was expected."
    if np.allclose(answer, right, atol=1e-6):
        return None
    for slip, value in slips.items():
        if np.allclose(answer, value, atol=1e-6):
            return slip
    return f"The largest error is {np.abs(answer - right).max():.3g}."


def check_occupancy(occupancy):
    """Exercise 1.1: occupancy(transition, policy, start, discount) is the x (S,A) of the policy."""

    def check():
        rng = np.random.default_rng(11)
        task = cmdp.random_cmdp(rng, 5, 3, 1)
        policy = rng.dirichlet(np.ones(3), 5)
        x = cmdp.occupancy(task, policy)
        values = np.linalg.solve(np.eye(5) - 0.9 * cmdp.policy_matrix(task, policy), task.start)
        slips = {
            "Ten times too small: this x sums to 1, ours to 1/(1 − γ).": 0.1 * x,
            "The matrix is not transposed: this runs time backwards.": values[:, None] * policy,
            "These are the visits of the states, not yet split by π.": x.sum(1)[:, None] + 0 * x,
        }
        return _compare(occupancy(task.transition, policy, task.start, 0.9), x, slips)

    _run("Exercise 1.1", check)


def check_sweep(sweep):
    """Exercise 1.2: one sweep of value iteration on the reward minus the price of its cost."""

    def check():
        task, v = cmdp.random_cmdp(np.random.default_rng(12), 5, 3, 1), np.linspace(-3, 9, 5)
        r, c, ahead = task.reward, task.costs[0], cmdp.backup(task, v)
        slips = {
            "Cost is rewarded: the price must be subtracted.": (r + 2 * c + 0.9 * ahead).max(1),
            "The discount γ is missing.": (r - 2 * c + ahead).max(1),
            "That is the uniform policy's mean; take the best action.": (
                r - 2 * c + 0.9 * ahead
            ).mean(1),
            "The price λ is missing.": (r + 0.9 * ahead).max(1),
        }
        right = (r - 2 * c + 0.9 * ahead).max(1)
        return _compare(sweep(v, task.transition, r, c, 2.0, 0.9), right, slips)

    _run("Exercise 1.2", check)


def check_price(price):
    """Exercise 1.3: price(cost_of, threshold, high), the λ at which the cost falls to the budget."""

    def check():
        task, calls = cmdp.grid_world(), []

        def cost_of(multiplier):
            calls.append(multiplier)
            return cmdp.dual_function(task, [multiplier])[1].J_c[0]

        found, right = price(cost_of, 0.5, 20.0), cmdp.solve_lp(task).multipliers[0]
        if len(calls) > 200:
            return f"cost_of was called {len(calls)} times; halving [0, 20] needs about 40."
        if abs(price(cost_of, 5.0, 20.0)) > 1e-6:
            return "With the loose budget τ = 5 the price is 0: a free policy keeps it already."
        slips = {
            "It ran to the upper end. Cost above budget: the price is too low, so move `low`.": 20.0,
            "It ran to 0. Cost above the budget means that the price is too low.": 0.0,
        }
        return _compare(found, right, slips)

    _run("Exercise 1.3", check)


def check_mixture(mixture):
    """Exercise 1.4: mixture(x_fast, x_safe, cost, threshold), the policy that just keeps τ."""

    def check():
        task = cmdp.random_cmdp(np.random.default_rng(14), 6, 3, 1)
        fast, safe = (cmdp.best_response(task, f) for f in (task.reward, -task.costs[0]))
        x, y = cmdp.occupancy(task, fast), cmdp.occupancy(task, safe)
        cost, τ = task.costs[0], task.thresholds[0]
        w = (τ - (y * cost).sum()) / ((x - y) * cost).sum()
        mixes = [share * x + (1 - share) * y for share in (w, 1 - w)]
        right, swapped = (mix / mix.sum(1, keepdims=True) for mix in mixes)
        slips = {
            "The policies were mixed state by state; mix the occupancies.": w * fast
            + (1 - w) * safe,
            "The two weights are swapped.": swapped,
            "That is the mixed occupancy; divide each row by its sum.": mixes[0],
        }
        return _compare(mixture(x, y, cost, τ), right, slips)

    _run("Exercise 1.4", check)
