"""Lesson 07, scaling and guarantees: its figures, and the checks of its exercises."""

import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch

from .. import cmdp
from . import style
from .any_swarm import PILOTS, TICKS, stretched
from .exercise import ask, exercise, expect, random_task
from .style import COST, NEUTRAL, PRICE, REWARD, THRESHOLD, name_at_curve

FIGURES = Path(__file__).parents[2] / "figures"
RUNS = {"scalar": ("scalar λ", REWARD), "statewise": ("λ(o)", PRICE)}


def draw_maps(panels, threshold, rows=6):
    """Maps of the passage: title → a number a state (S,) or NaN, the last state left out."""
    fig, axes = plt.subplots(1, len(panels), figsize=(5 * len(panels), 2.9), sharey=True)
    for axis, (title, (values, shade)) in zip(np.atleast_1d(axes), panels.items(), strict=True):
        grid = np.reshape(values[:-1], (-1, rows)).T
        top = 2.5 * threshold if shade == "Oranges" else 10.0
        axis.imshow(grid, origin="lower", cmap=shade, vmin=0, vmax=top)
        for (row, column), value in np.ndenumerate(grid):
            if np.isfinite(value) and value > 0.005:
                bold = "bold" if shade == "Oranges" and value > threshold + 1e-6 else "normal"
                color = "white" if value > 0.65 * top else "black"
                text = f"{value:.2f}" if value < 10 else f"{value:.0f}"
                axis.text(column, row, text, ha="center", va="center", color=color,
                          fontsize=8, fontweight=bold)  # fmt: skip
        axis.set(title=title, xlabel="column (the flight goes this way)")
        axis.grid(False)
    np.atleast_1d(axes)[0].set_ylabel("rows away from the wall")
    style.figure(fig, f"Maps of the passage, a number a cell: {'; '.join(panels)}")


def squares(task, n=201):
    """All policies of a task of two states and actions on a grid: probabilities of action 1 in
    states 0 and 1 (n,), and J_r, V^c(0), V^c(1), each (n, n)."""
    p = np.linspace(0, 1, n)
    risky = np.stack(np.meshgrid(p, p, indexing="ij"), -1)  # (n, n, S)
    policies = np.stack([1 - risky, risky], -1)
    ahead = np.einsum("ijsa,sat->ijst", policies, task.transition)
    signals = np.einsum("ijsa,ksa->ijsk", policies, [task.reward, task.costs[0]])
    values = np.linalg.solve(np.eye(2) - task.discount * ahead, signals)
    return p, values[..., 0] @ task.start, values[..., 0, 1], values[..., 1, 1]


def draw_feasible(task, best, expected):
    """The courier's policies: which keep the budget in every state, which in expectation."""
    p, J, *costs = squares(task)
    τ, fig = task.thresholds[0], plt.figure(figsize=(10, 3.8))
    left, right = fig.subplots(1, 2)
    mean, worst = task.start @ [c.ravel() for c in costs], np.maximum(*costs)
    mean = mean.reshape(J.shape)
    left.contourf(p, p, (worst <= τ).T, [0.5, 1.5], colors=[PRICE], alpha=0.35)
    left.contour(p, p, mean.T, [τ], colors=[COST], linestyles="--")
    left.contour(p, p, J.T, 8, colors=[NEUTRAL], linewidths=0.6)
    name_at_curve(left, 0.02, 0.02, "$V^c(s) ≤ τ$\nin both", "#00563f")
    name_at_curve(left, 0.14, 0.85, "$J_c = τ$", COST)
    left.set(xlabel="flies out: π(1|base)", ylabel="works: π(1|field)", ylim=(0, 1.04))
    kept, bins = worst <= τ, np.linspace(0, 1, 41)
    inside = [J[kept & (abs(mean - b) < 0.0125)] for b in bins]
    low, high = np.transpose([(x.min(), x.max()) if x.size else (np.nan, np.nan) for x in inside])
    right.fill_between(bins, low, high, color=PRICE, alpha=0.35, linewidth=0)
    right.plot(*expected, "s", color=COST)
    right.plot(best.exact.J_c[0], best.exact.J_r, "o", color=PRICE, markeredgecolor="black")
    name_at_curve(right, best.exact.J_c[0] - 0.3, best.exact.J_r + 0.06, "best, every state", "k")
    name_at_curve(right, expected[0] - 0.35, expected[1] + 0.02, "best, in expectation", COST)
    left.plot(*best.policy[:, 1], "o", color=PRICE, markeredgecolor="black")
    right.set(xlabel="discounted cost $J_c$", ylabel="discounted reward $J_r$", ylim=(0, 2.1))
    style.figure(fig, "The policies that keep the budget in both states are a region with a bent "
                      "edge; its best reward is far below that in expectation")  # fmt: skip


def draw_prices(rows, best, threshold):
    """Trainings (name, colour, path of (J_r, largest V^c) (K, 2)) of the courier."""
    fig, axes = plt.subplots(1, 2, figsize=(10, 3))
    for k, (name, color, path) in enumerate(rows):
        for axis, curve in zip(axes, np.transpose(path), strict=True):
            axis.plot(curve, color=color, linewidth=1.2)
        name_at_curve(axes[0], 0.5 * len(path), best + 0.03 - 0.17 * k, name, color)
    axes[0].axhline(best, color=THRESHOLD, linestyle="--", linewidth=1)
    name_at_curve(axes[0], 0.85 * len(path), best, "optimum", THRESHOLD)
    style.budget_line(axes[1], threshold)
    axes[0].set(xlabel="step", ylabel="discounted reward $J_r$", ylim=(0.3, 1.6))
    axes[1].set(xlabel="step", ylabel="largest $V^c(s)$", ylim=(0.7, 2.5))
    style.figure(fig, "Reward and largest cost to come of trainings, a colour each")


def read(name):
    """What `figures/{name}.json` holds."""
    return json.loads((FIGURES / f"{name}.json").read_text())


def draw_states(table):
    """Bars, one a training: visited states above τ, the worst start, success and return."""
    runs = [(f"{label}, seed {seed}", color, row) for key, (label, color) in RUNS.items()
            for seed, row in zip(table["seeds"], table[key], strict=True)]  # fmt: skip
    names, colors, rows = zip(*runs, strict=True)
    panels = {"visited states above τ, %": [100 * row["above"] for row in rows]}
    panels["$V^c$ of the worst start"] = [row["worst start"] for row in rows]
    panels["flights with a violation, %"] = [100 * row["violating flights"] for row in rows]
    panels["return"] = [row["return"] for row in rows]
    about = "Visited states above the budget, worst start, violating flights and return, run by run"
    style.show_bars(names, {name: (x, colors) for name, x in panels.items()}, about)


def draw_scene(found, reach):
    """Maps over a level of the scene: V^c as one drone is moved there, and its λ(o)."""
    panels = {"$V^c(s)$, scalar λ": ("scalar", "Oranges", 4.0)}
    panels["$V^c(s)$, λ(o)"] = "statewise", "Oranges", 4.0
    panels["λ(o) of that drone"] = "price", "Greens", None
    fig, axes = plt.subplots(1, 3, figsize=(11, 3.8), sharey=True)
    x, y, others = found["x"], found["y"], [*found["positions"]]
    own = others.pop(found["moved"])
    for axis, (title, (key, shade, top)) in zip(axes, panels.items(), strict=True):
        extent = (x[0], x[-1], y[0], y[-1])
        image = axis.imshow(found[key], origin="lower", cmap=shade, vmin=0, vmax=top, extent=extent)
        bounds = "max" if top else "neither"
        fig.colorbar(image, ax=axis, orientation="horizontal", shrink=0.8, extend=bounds)
        for place, radius in [(at, reach[0]) for at in others] + [
            (at, reach[1]) for at in found["obstacles"]
        ]:
            if (inside := radius**2 - (place[2] - found["height"]) ** 2) > 0:
                circle = plt.Circle(place[:2], inside**0.5, fill=False, color=NEUTRAL)
                axis.add_patch(circle)
        axis.plot(*np.transpose(others)[:2], "o", color=NEUTRAL, markersize=4)
        axis.plot(*own[:2], "*", color="black", markersize=9)
        axis.set(title=title, xlabel="x, m", xlim=extent[:2], ylim=extent[2:])
        axis.grid(False)
    axes[0].set_ylabel("y, m")
    style.figure(fig, "Maps of a level of the scene: cost to come after moving one drone there, "
                      "under two policies, and the price that one of them puts on it")  # fmt: skip


def draw_numbers(table, part="all"):
    """Share of clean flights, and of drones that arrive clean, against the number of drones."""
    fig, axes = plt.subplots(1, 2, figsize=(10, 3.8), sharey=True)
    sizes = [int(n) for n in table["drawn"]["learned"]]
    titles = {"clean": "flights without a violation", "agent": "drones home and clean"}
    for axis, (field, title) in zip(axes, titles.items(), strict=True):
        axis.axvspan(12.4, 13.6, color=NEUTRAL, alpha=0.3, linewidth=0)
        for k, (pilot, (label, shade, marker, line)) in enumerate(PILOTS.items()):
            found = [row[part][field] for row in table["drawn"][pilot].values()]
            middle, low, high = np.transpose(found)
            at = np.array(sizes) * 1.03 ** (k - len(PILOTS) / 2)  # side by side
            look = {"marker": marker, "linestyle": line, "color": shade, "clip_on": False}
            axis.plot(at, middle, label=label if axis is axes[0] else None, **look)
            axis.vlines(at, low, high, color=shade, alpha=0.5, linewidth=3)
        axis.set_xscale("log", base=2)
        axis.set_xticks(sizes, sizes)
        axis.set_yscale("function", functions=(stretched, lambda y: 1.01 - 10.0**-y))
        axis.set_yticks(TICKS, [f"{x:.0%}" for x in TICKS])
        axis.set(title=title, xlabel="drones N", ylim=(0, 1))
    fig.legend(loc="outside upper center", ncols=len(PILOTS))
    style.figure(fig, "Shares against the number of drones, for the policy and four pilots")


def draw_crowd(table):
    """Cost of a drone's step against the drones of a swarm, and the number of swarms."""
    fig, axes = plt.subplots(1, 2, figsize=(10, 2.8), sharey=True)
    rows = [(name, row["ratio"]) for name, row in table.items()]
    labels = {"drones in": "drones in a swarm", "swarms of": "swarms of 5 drones"}
    for axis, (word, label) in zip(axes, labels.items(), strict=True):
        found = [(int(name.split()[0]), ratio) for name, ratio in rows if word in name]
        axis.plot(*np.transpose(found), "o-", color=REWARD)
        axis.axhspan(0.75, 1.25, color=NEUTRAL, alpha=0.2, linewidth=0)
        axis.set(xscale="log", yscale="log", xlabel=label)
        axis.set_xticks([n for n, _ in found], [n for n, _ in found])
        axis.set_yticks([1, 2, 5], [1, 2, 5])
        axis.minorticks_off()
    axes[0].set_ylabel("cost of a drone-step,\n64 swarms of 5 = 1")
    style.figure(fig, "Relative cost of a drone-step, with a band of a quarter around 1")


@exercise("7.1")
def check_worst(rng, worst_states):
    """(task, policy (S,A)) → largest V^c(s), and the share of discounted visits with V^c(s) > τ."""
    task = random_task(rng)
    policy = cmdp.best_response(task, task.reward)
    exact = cmdp.evaluate(task, policy)
    order = np.sort(exact.v_c[0])
    task = task.with_thresholds(order[len(order) // 2 - 1 : len(order) // 2 + 1].mean())
    over = exact.v_c[0] > task.thresholds[0]
    visits = exact.occupancy.sum(1)
    share = visits[over].sum() / visits.sum()
    right = exact.v_c[0].max(), share
    slips = {
        "That share counts states alike; weigh them by the visits.": (right[0], over.mean()),
        "That share is of the start; weigh all discounted visits.": (
            right[0], task.start[over].sum()),
        "Visits sum to 1/(1 − γ): divide by their sum.": (right[0], visits[over].sum()),
        "V^c under the start's weights is J_c; the largest is wanted.": (exact.J_c[0], share),
        "That is the reward's value: V^c is `v_c`.": (exact.v_r.max(), share),
        "The two are swapped.": right[::-1],
    }  # fmt: skip
    expect(ask(worst_states, task, policy), right, slips)


@exercise("7.2")
def check_carried(rng, carried_price):
    """λ(o) (T, E) of the steps, ended (T, E) → Λ (T, E)."""
    T, E = rng.integers(8, 14, 2)
    prices, ended = rng.uniform(0.1, 1, (T, E)), rng.random((T, E)) < 0.2
    ended[-1] = True

    def sums(late=False, early=False):
        out, sofar = np.zeros((T, E)), np.zeros(E)
        for t in range(T):
            sofar = sofar * ~ended[t] if early else sofar
            out[t] = sofar + (0 if late else prices[t])
            sofar = (sofar + prices[t]) * ~ended[t]
        return out

    slips = {
        "That is λ(s) at the state alone: sum over the steps so far.": prices,
        "The sum runs on into the next episode: start anew after `ended`.": prices.cumsum(0),
        "The step's own λ is missing: k ≤ t.": sums(late=True),
        "The step that ends an episode still belongs to it.": sums(early=True),
        "The sum runs backwards: a price is charged for what came before.": (
            prices[::-1].cumsum(0)[::-1]),
        "The sum is over time, the first axis.": prices.cumsum(1),
    }  # fmt: skip
    expect(ask(carried_price, prices, ended), sums(), slips)


@exercise("7.3")
def check_dual_target(rng, dual_target):
    """(λ_old (B,), G (B,), τ, α) → what λ(o) is regressed on, (B,)."""
    B, τ, α = int(rng.integers(30, 60)), rng.uniform(0.1, 0.3), rng.uniform(0.2, 0.5)
    λ = torch.tensor(rng.uniform(0, 0.1, B))
    G = torch.tensor(rng.uniform(1, 5, B) * (rng.random(B) < 0.2))
    right = λ + α * (G - τ)
    slips = {
        "Keep what is below zero: λ ≥ 0 is the network's own, and this maximum has a bias.": (
            right.clamp(min=0)),
        "The sign is reversed: λ rises where the cost to come is above τ.": λ - α * (G - τ),
        "λ must be able to fall: keep the sign of G − τ.": λ + α * (G - τ).clamp(min=0),
        "Start from the old λ: one small step, not a new price.": α * (G - τ),
        "One target a row: no mean over the batch.": λ + α * (G.mean() - τ),
        "The rate is missing.": λ + G - τ,
    }  # fmt: skip
    expect(ask(dual_target, λ, G, τ, α), right, slips)


@exercise("7.4")
def check_each_drone(rng, each_drone):
    """(share of clean flights wanted, N) → the share of clean drones that it takes."""
    wanted, N = rng.uniform(0.8, 0.99), int(rng.integers(8, 200))
    slips = {
        "That is the share of flights that such drones would give: turn it round.": wanted**N,
        "Divide the *clean* share among the drones, by a root, not by N.": 1 - (1 - wanted) / N,
        "The N-th root of the clean share, not of the other.": 1 - (1 - wanted) ** (1 / N),
    }
    expect(ask(each_drone, wanted, N), wanted ** (1 / N), slips)


@exercise("7.5")
def check_mean_carried(rng, mean_carried):
    """P_π (S,S), ρ (S,), λ (S,), γ → the mean over the visits to s of Σ_{k≤t} λ(s_k), (S,)."""
    S, γ = int(rng.integers(4, 8)), rng.uniform(0.6, 0.9)
    step, start = rng.dirichlet(np.ones(S), S), rng.dirichlet(np.ones(S))
    λ, I = rng.uniform(0.5, 2, S), np.eye(S)
    M = np.linalg.inv(I - γ * step)
    twice, visits = np.linalg.inv(I - γ**2 * step), start @ M
    paid = visits * λ
    slips = {
        "A state is charged as often as it is visited: weigh λ(s') by μ(s').": λ @ M / visits,
        "That is λ(s) at the state alone: add what came before.": λ,
        "The step's own λ is missing: k ≤ t.": paid @ (M - I) / visits,
        "The discount counts twice: γ^k γ^{t−k} is γ^t, and none is left.": paid @ twice / visits,
        "A mean over the visits to s: divide by μ(s).": paid @ M,
        "That charges the first step only: sum over all k ≤ t.": (start * λ) @ M / visits,
        "M is turned round: M(s', s) are the visits to s of a flight from s'.": M @ paid / visits,
        "That is what is still to come; a price is for what came before.": M @ λ,
    }
    expect(ask(mean_carried, step, start, λ, γ), paid @ M / visits, slips)
