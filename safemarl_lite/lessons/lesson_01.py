"""Lesson 01, constrained MDPs: its figures, and the checks of its exercises."""

from contextlib import suppress
from functools import partial

import matplotlib.pyplot as plt
import numpy as np

from .. import cmdp
from ..cmdp import InfeasibleCMDP, TabularCMDP, solve_lp
from .exercise import compare, random_task, run
from .style import PRICE, REWARD, THRESHOLD

RING = ((1, 0), (1, 1), (1, 2), (1, 3), (0, 3), (0, 2), (0, 1), (0, 0))  # (row, column) of a cell


def grid_world(threshold=0.5, wind=0.25, urgency=(1.5, 1.0), discount=0.95):
    """Two drones swap sides: cells 1, 2 are the corridor, 4..7 the detour, 0 and 3 the two pads.
    State 8·a + b: drone a starts in cell 0 and lands in 3, drone b the reverse. Each hovers or
    moves one cell either way round the ring (action 3·u_a + u_b); with probability `wind` a gust
    moves it to a random side instead. A drone in the air pays its urgency a step (reward < 0, in
    steps); two in the air within one cell cost 1 a step: J_c counts discounted near misses.
    """
    goals, n, fly = (3, 0), len(RING), np.zeros((2, 8, 3, 8))
    for drone, cell, u in np.ndindex(2, n, 3):
        landed = cell == goals[drone]
        for move, probability in ((1, wind / 2), (-1, wind / 2), ((0, 1, -1)[u], 1 - wind)):
            fly[drone, cell, u, (cell + (0 if landed else move)) % n] += probability
    a, b = np.divmod(np.arange(n * n), n)
    in_air = np.stack([a != goals[0], b != goals[1]])
    near = np.isin((a - b) % n, (0, 1, n - 1)) & in_air.all(0)
    transition = np.einsum("aux,bvy->abuvxy", *fly).reshape(n * n, 9, n * n)
    reward, cost = (np.repeat(f[:, None], 9, axis=1) for f in (-(np.array(urgency) @ in_air), near))
    return TabularCMDP(transition, reward, cost[None], [threshold], np.eye(n * n)[3], discount)


def pareto_front(cmdp, thresholds):
    """The optimum at each row of thresholds, (K,m) or (K,) where m = 1: values (K,), costs (K,m)
    and multipliers (K,m), NaN where no policy is feasible."""
    values = np.full(len(thresholds), np.nan)
    costs, multipliers = np.full((2, len(thresholds), len(cmdp.thresholds)), np.nan)
    for k, budget in enumerate(thresholds):
        with suppress(InfeasibleCMDP):
            _, values[k], costs[k], multipliers[k], _ = solve_lp(cmdp.with_thresholds(budget))
    return values, costs, multipliers


def ring_map(axis, x, drone):
    """Draw where one of the two drones of `grid_world` is, and where it steers.

    x (64, 9) is an occupancy. Shade and number: expected discounted steps that the drone is in
    the air in that cell; arrows: the share of those steps in which it steers to that side.
    """
    moves = x.reshape(8, 8, 3, 3).sum(axis=(1, 3) if drone == 0 else (0, 2))  # (cell, steering)
    steps, (start, goal) = moves.sum(1), ((0, 3), (3, 0))[drone]
    steps[goal], cells = 0, np.array(RING)[:, ::-1] * (1, -1)  # (8, 2): to the right, up
    for cell, (right, up) in enumerate(cells):
        grey = plt.cm.Greys(min(steps[cell] / 3, 1) / 2)
        axis.add_patch(plt.Rectangle((right - 0.5, up - 0.5), 1, 1, facecolor=grey, ec="black"))
        label = f"{steps[cell]:.2f}" + " (start)" * (cell == start)
        label = "lands here" if cell == goal else label
        axis.text(right, up + 0.34, label, ha="center", va="center", fontsize=7)
    for side, ahead in (1, np.roll(cells, -1, axis=0)), (2, np.roll(cells, 1, axis=0)):
        share = moves[:, side] / np.maximum(steps, 0.01)
        share = np.where((steps > 0.01) & (share > 0.02), share, np.nan)
        arrows = cells - (0, 0.18), 0.4 * share[:, None] * (ahead - cells)
        axis.quiver(*arrows[0].T, *arrows[1].T, angles="xy", scale_units="xy", scale=1, width=0.011)
    axis.plot((0.5, 2.5), (-0.5, -0.5), color="black", linewidth=4)  # the wall
    axis.set(xlim=(-0.55, 3.55), ylim=(-1.55, 0.55), aspect="equal", title=f"drone {'ab'[drone]}")
    axis.axis("off")


def budget_panel(cmdp, threshold, sweep):
    """The optimum of `grid_world` at one budget: both maps, the front, the price; a figure.
    sweep: (thresholds (K,), values (K,), multipliers (K,)) of the whole front."""
    fig = plt.figure(figsize=(10, 3.6))
    maps, front, price = fig.add_gridspec(1, 3, width_ratios=(1.3, 1, 1))
    maps = maps.subgridspec(2, 1)
    front, price = fig.add_subplot(front), fig.add_subplot(price)
    best = solve_lp(cmdp.with_thresholds(threshold))
    for drone in (0, 1):
        ring_map(fig.add_subplot(maps[drone]), best.occupancy, drone)
    λ, wide = best.multipliers[0], np.array((-0.45, 0.45))
    front.plot(*sweep[:2], color=REWARD, label="best value")
    tangent = threshold + wide, best.value + λ * wide
    front.plot(*tangent, "--", color=PRICE, label=f"slope λ* = {λ:.2f}")
    front.plot(threshold, best.value, "o", color=REWARD)
    price.plot(sweep[0], sweep[2], color=PRICE, drawstyle="steps-mid")
    price.plot(threshold, λ, "o", color=PRICE)
    front.set(ylim=(-13.5, -8), ylabel="J_r, weighted steps", title="what can be earned")
    price.set(ylim=(-0.4, 10), ylabel="λ*, weighted steps", title="what a near miss is worth")
    for axis in (front, price):
        axis.axvline(threshold, color=THRESHOLD, linestyle=(0, (1, 1)))
        axis.set(xlim=(0, 1.85), xlabel="budget τ, near misses a flight")
    front.legend(loc="lower right", frameon=True, facecolor="white", edgecolor="white")
    return fig


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
    task = grid_world()
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
