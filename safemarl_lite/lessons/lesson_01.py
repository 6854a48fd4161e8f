"""Lesson 01, constrained MDPs: its figures, and the checks of its exercises."""

from contextlib import suppress
from dataclasses import replace
from itertools import count

import matplotlib.pyplot as plt
import numpy as np

from .. import cmdp
from ..cmdp import InfeasibleCMDP, solve_lp
from .exercise import Slip, ask, exercise, expect, plain, random_task
from .style import COST, NEUTRAL, PAPER, PRICE, REWARD, THRESHOLD, figure
from .tasks import RING
from .tasks import grid_world as grid_world


def pareto_front(cmdp, thresholds):
    """The optimum at each row of thresholds, (K,m) or (K,) where m = 1: values (K,), costs (K,m)
    and multipliers (K,m), NaN where no policy is feasible."""
    values = np.full(len(thresholds), np.nan)
    costs, multipliers = np.full((2, len(thresholds), len(cmdp.thresholds)), np.nan)
    for k, budget in enumerate(thresholds):
        with suppress(InfeasibleCMDP):
            _, values[k], costs[k], multipliers[k], _ = solve_lp(cmdp.with_thresholds(budget))
    return values, costs, multipliers


def first_moves(policy):
    """How each drone of `grid_world` starts: shares (2, 3) of waiting, corridor, detour."""
    both = policy[3].reshape(3, 3)  # state 3: drone a in cell 0, drone b in cell 3
    return np.stack([both.sum(1), both.sum(0)[[0, 2, 1]]])


def ring_map(axis, best, drone):
    """Draw where one of the two drones of `grid_world` is at the optimum `best`, and how it steers.

    Shade and number: expected discounted steps in the air in that cell; arrows: the share of those
    steps in which it steers to that side; title: how it starts.
    """
    x = best.occupancy.reshape(8, 8, 3, 3)
    moves = x.sum(axis=(1, 3) if drone == 0 else (0, 2))  # (cell, steering)
    steps, (start, goal) = moves.sum(1), ((0, 3), (3, 0))[drone]
    steps[goal], cells = 0, np.array(RING)[:, ::-1] * (1, -1)  # (8, 2): to the right, up
    for cell, (right, up) in enumerate(cells):
        grey = plt.cm.Greys(min(steps[cell] / 3, 1) / 2)
        axis.add_patch(plt.Rectangle((right - 0.5, up - 0.5), 1, 1, facecolor=grey, ec="black"))
        label = f"{steps[cell]:.2f}" + " start" * (cell == start)
        label = "lands here" if cell == goal else label
        axis.text(right, up + 0.33, label, ha="center", va="center", fontsize=8)
    for side, ahead in (1, np.roll(cells, -1, axis=0)), (2, np.roll(cells, 1, axis=0)):
        share = moves[:, side] / np.maximum(steps, 0.01)
        share = np.where((steps > 0.01) & (share > 0.02), share, np.nan)
        arrows = cells - (0, 0.18), 0.4 * share[:, None] * (ahead - cells)
        axis.quiver(*arrows[0].T, *arrows[1].T, angles="xy", scale_units="xy", scale=1, width=0.011)
    axis.plot((0.5, 2.5), (-0.5, -0.5), color="black", linewidth=4)  # the wall
    shares = zip(("waits", "corridor", "detour"), first_moves(best.policy)[drone], strict=True)
    starts = ", ".join(f"{name} {share:.0%}" for name, share in shares if share > 0.005)
    axis.set(xlim=(-0.55, 3.55), ylim=(-1.55, 0.55), aspect="equal")
    axis.set_title(f"drone {'ab'[drone]} starts: {starts}", fontsize=10)
    axis.axis("off")


def maps_figure(best):
    """Both drones' maps of a solution of `grid_world`."""
    fig, axes = plt.subplots(1, 2, figsize=(8, 2.4))
    for drone, axis in enumerate(axes):
        ring_map(axis, best, drone)
    figure(fig, "Maps of both drones: discounted steps in each cell, and arrows of their steering")


def baseline_figure(points, threshold):
    """points: policy name → (J_c, J_r)."""
    fig, axis = plt.subplots(figsize=(7, 2.8))
    for name, point in points.items():
        axis.plot(*point, "o", color=NEUTRAL)
        axis.annotate(name, point, (6, 6), textcoords="offset points")
    axis.axvspan(0, threshold, color=REWARD, alpha=0.1)
    axis.text(threshold + 0.02, -19, f"← within the budget τ = {threshold}")
    axis.text(threshold / 2, -10, "wanted:\nhere", color=REWARD, ha="center")
    axis.set(xlim=(0, 2.1), ylim=(-30, -5), xlabel="cost $J_c$, near misses a flight")
    axis.set_ylabel("reward $J_r$, weighted steps")
    figure(fig, "Reward against cost of three policies; the wanted corner, high and left, is empty")


def coin_figure(budgets, moves):
    """moves (K, 2, 3): how drones a and b start (wait, corridor, detour) at each budget."""
    fig, axes = plt.subplots(1, 2, figsize=(9, 2.6), sharey=True)
    look = {"colors": ("#E69F00", "#56B4E9", "0.85"), "ec": "black", "linewidth": 0.5}
    for drone, axis in enumerate(axes):
        axis.stackplot(budgets, moves[:, drone].T, labels=("waits", "corridor", "detour"), **look)
        axis.set(xlim=(budgets[0], budgets[-1]), ylim=(0, 1), title=f"drone {'ab'[drone]}")
        axis.set_xlabel("budget τ, near misses a flight")
    axes[0].set_ylabel("how it starts, probability")
    axes[0].legend(loc="center right", reverse=True, frameon=True)
    figure(fig, "Shares of waiting, corridor and detour at the start, against the budget")


def cloud_figure(dots, grid, front, threshold, coinless, value):
    """Deterministic policies (K, 2) as (J_c, J_r) under the front, and two optima at one budget."""
    fig, axis = plt.subplots(figsize=(8, 3.6))
    axis.plot(*dots.T, ".", color=NEUTRAL, markersize=3)
    axis.plot(grid, front, color=REWARD)
    axis.axvline(threshold, color=THRESHOLD, linestyle=":")
    axis.plot(*coinless, "s", color=COST)
    axis.plot(threshold, value, "o", color=REWARD)
    axis.text(threshold, 7.3, f" budget τ = {threshold:g}")
    axis.text(2.1, 6.9, "front, by the LP", color=REWARD)
    axis.text(1.93, value + 0.1, "optimum: one coin", color=REWARD, ha="right")
    axis.text(2.1, 5.2, "best without a coin", color=COST, backgroundcolor=PAPER)
    axis.set(xlim=(0.5, 7.2), xlabel="discounted cost $J_c$", ylabel="discounted reward $J_r$")
    figure(fig, "729 deterministic policies under the front; the optimum at the budget is higher")


def touching_figure(sweep, at, kink, slopes):
    """The front; at (τ, v, λ) the line that touches it and a steeper one; the fan at a kink."""
    fig, axis = plt.subplots(figsize=(8, 3.6))
    far, (τ, v, λ) = np.array((0.0, 1.8)), at
    steep, flat = (kink[1] + slope * (far - kink[0]) for slope in slopes)
    axis.fill_between(far, steep, flat, color=PRICE, alpha=0.25, linewidth=0)
    axis.plot(*sweep[:2], color=REWARD, linewidth=2.5)
    for slope, line in (λ, "--"), (λ + 2, ":"):
        axis.plot(far, v + slope * (far - τ), line, color=PRICE)
    axis.plot((τ, kink[0]), (v, kink[1]), "o", color=REWARD)
    axis.text(0.27, -12.3, "slope λ* + 2: cuts the front", color=PRICE)
    axis.text(0.6, -10.6, f"slope λ* = {λ:.2f}: touches", color=PRICE)
    axis.text(0.1, -9.6, "at a kink a whole fan touches", color=PRICE)
    axis.set(xlim=(0, 1.8), ylim=(-13, -8), xlabel="budget τ, near misses a flight")
    axis.set_ylabel("best reward v(τ), weighted steps")
    figure(fig, "The front under a line of slope 1.41; a steeper line cuts it; a fan at a kink")


def ascent_figure(prices, costs, running, best, threshold):
    """Prices (K,) and costs (K,) of the dual steps, and the running average of the costs."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2))
    left.plot(prices, color=PRICE)
    left.axhline(best.multipliers[0], color="black", linestyle="--", linewidth=1)
    left.text(1.1, best.multipliers[0] - 0.2, "λ* of the LP")
    left.set(ylabel="price λ, weighted steps per near miss", ylim=(0, 2.3))
    right.plot(costs, ".", color=NEUTRAL, markersize=3)
    right.plot(running, color=COST, linewidth=2)
    right.axhline(threshold, color=THRESHOLD, linestyle=(0, (1, 1)))
    right.text(1.1, threshold + 0.03, f"budget τ = {threshold}")
    right.text(9, 1.0, "averaged occupancy", color=COST)
    right.text(9, 0.2, "policy of step k", color="0.35")
    right.set(ylim=(0, 2), ylabel="cost $J_c$, near misses a flight")
    for axis in (left, right):
        axis.set(xscale="log", xlim=(1, len(prices)), xlabel="step k")
    figure(fig, "Price and cost of 400 dual steps, and the running average of the cost")


def colleague_figure(table):
    """table (K, 4): budget, value, reported cost, price of the colleague's sweep."""
    fig, axes = plt.subplots(1, 3, figsize=(9, 2.8))
    names = "best value $J_r$", "reported cost $J_c$", "price λ"
    for axis, curve, name, color in zip(
        axes, table.T[1:], names, (REWARD, COST, PRICE), strict=True
    ):
        axis.plot(table[:, 0], curve, color=color)
        axis.set(xlabel="budget τ, near misses a flight", ylabel=name)
    axes[0].set_ylim(-13.5, -8)
    axes[1].plot(table[:, 0], table[:, 0], ":", color=THRESHOLD)
    axes[1].text(0.35, 1.2, "cost = budget")
    figure(fig, "Three curves against the budget: value, reported cost, price")


@exercise("1.1")
def check_occupancy(rng, occupancy):
    """occupancy(transition, policy, start, discount) is the x (S,A) of the policy."""
    task = random_task(rng)
    S, A = task.reward.shape
    policy, γ = rng.dirichlet(np.ones(A), S), task.discount
    x, ahead = cmdp.occupancy(task, policy), γ * cmdp.policy_matrix(task, policy)
    backwards = np.linalg.solve(np.eye(S) - ahead, task.start)[:, None] * policy
    slips = {
        "This x sums to 1, ours to 1/(1 − γ).": (1 - γ) * x,
        "P_π is not transposed: the flow sums over the states it comes from.": backwards,
    }
    expect(ask(occupancy, task.transition, policy, task.start, γ), x, slips)


@exercise("1.2")
def check_lp(rng, occupancy_lp):
    """occupancy_lp(transition, reward, cost, threshold, start, discount) → x, λ*."""
    task = random_task(rng)
    best, free = solve_lp(task), cmdp.best_response(task, task.reward)
    worst = solve_lp(replace(task, reward=-task.reward)).occupancy
    slips = {
        "That minimises the reward: linprog minimises, so hand it −r.": worst,
        "The budget is ignored: that x is the unconstrained optimum.": cmdp.occupancy(task, free),
    }
    sign = {"The sign: marginals are ≤ 0, the price is their negative.": -best.multipliers[0]}
    given = task.transition, task.reward, task.costs[0], task.thresholds[0], task.start
    try:
        x, price = map(plain, ask(occupancy_lp, *given, task.discount))
        if x.size < price.size:
            raise Slip("The two results are swapped: x comes first, then the price.")
        x = x.reshape(best.occupancy.shape)  # a flat x is as good
    except (AttributeError, TypeError, ValueError) as error:
        hint = "where linprog finds no x, `.x` is None: is γ in the flow?"
        raise Slip(f"No x and price: it stopped with “{error}”; {hint}") from None
    if np.isclose(x.sum(), 1):
        raise Slip("This x sums to 1, ours to 1/(1 − γ): ρ stands in the flow as it is.")
    if not np.allclose(cmdp.flow_matrix(task) @ x.ravel(), task.start, atol=1e-5):
        raise Slip("This x breaks (flow): row s' must collect what arrives at s'.")
    expect(x, best.occupancy, slips)
    expect(price, best.multipliers[0], sign)


@exercise("1.3")
def check_price(rng, price):
    """price(cost_of, threshold, high), where the cost falls to the budget."""
    task, λ = random_task(rng), 20.0
    at_zero = cmdp.dual_function(task, [0.0])[1].J_c[0]

    def cost_of(λ):
        if next(calls) == 400:
            raise StopIteration
        return cmdp.dual_function(task, np.ravel(λ))[1].J_c[0]

    calls = count()
    while cost_of(λ) > task.thresholds[0]:
        λ *= 2
    slips = {
        "It ran to the upper end: cost within the budget must move `high` down.": λ,
        "It ran to 0: cost above the budget must move `low` up.": 0.0,
    }
    for loose in (True, False):
        calls, budget = count(), at_zero + 0.1 if loose else task.thresholds[0]
        try:
            found = plain(ask(price, cost_of, budget, λ))
        except StopIteration:
            why = "the cost jumps over the budget and never equals it"
            say = f"It asked for 400 costs and did not end: {why}; stop when the gap is short."
            raise Slip(say) from None
        if loose and (abs(found) > 1e-6).any():
            raise Slip("With a loose budget the price is 0: the fastest policy keeps it.")
    expect(found, solve_lp(task).multipliers[0], slips)


@exercise("1.4")
def check_mixture(rng, mixture):
    """mixture(x_fast, x_safe, cost, threshold), the policy that just keeps τ."""
    task = random_task(rng)
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
    expect(ask(mixture, x, y, cost, τ), mixed / mixed.sum(1, keepdims=True), slips)


@exercise("1.5")
def check_front(rng, front):
    """front(points (K, 2) = (J_c, J_r), τ) → value and price of the best mixture."""

    def pairs(points, τ):  # the best mixture of two, and its slope; then of one
        (c, r), one = points.T, max(points[points[:, 0] <= τ, 1])
        a, b = np.nonzero((c[:, None] <= τ) & (c > τ) & (r[:, None] < r))
        slopes = (r[b] - r[a]) / (c[b] - c[a])
        ends = [*(r[a] + slopes * (τ - c[a])), one]
        return max(ends), [*slopes, 0.0][np.argmax(ends)], one

    while True:
        points = rng.uniform(0, 1, (7, 2)) * (3, 5) + (0, -9)
        τ = rng.uniform(*np.sort(points[:, 0])[[1, 5]])
        value, price, one = pairs(points, τ)
        (c, r), long = points.T, (points[points[:, 0].argmin()], points[points[:, 1].argmax()])
        ends = long[0][1] + (long[1][1] - long[0][1]) / np.ptp(c) * (τ - long[0][0])
        if price > 0 and abs(np.array([one, ends, r.max()]) - value).min() > 0.05:
            break
    try:
        found, λ = map(plain, ask(front, points, τ))
    except (TypeError, ValueError):
        raise Slip("Two numbers were expected: the value, then the price.") from None
    slips = {
        "That is the best single policy within the budget; a mixture of two earns more.": one,
        "The budget is ignored: that policy costs more than τ.": r.max(),
        "The value and the price are swapped.": price,
    }
    expect(found, value, slips)
    slips = {
        "The price is the slope ΔJ_r / ΔJ_c; yours is upside down.": 1 / price,
        "The sign: more budget never earns less, a price is ≥ 0.": -price,
        "The price is the slope between the two; the value is its own number.": value,
    }
    expect(λ, price, slips)
    if abs(plain(ask(front, points, 9.0))[1]) > 1e-9:
        raise Slip("With a loose budget the best policy stands alone, and the price is 0.")
