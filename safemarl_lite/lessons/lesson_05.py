"""Lesson 05, training MAPPO-Lagrangian: its figures, and the checks of its exercises."""

import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from .. import runs
from ..evaluate import clopper_pearson, rollout
from ..swarm import SwarmTask
from ..swarm.task import near
from ..swarm.tasks import AWAY
from .exercise import Slip, ask, exercise, expect
from .lesson_02 import flight
from .lesson_06 import tracks
from .style import COST, NEUTRAL, PRICE, REWARD, THRESHOLD, budget_line, figure, read_log, show_bars

RUNS = {  # file → what happens to λ, the run's colour and line
    "unconstrained": ("no price", "#D55E00", "-"),
    "penalty_low": ("λ fixed at 0.1", "#E69F00", "--"),
    "penalty_high": ("λ fixed at 10", "#CC79A7", "-."),
    "as_printed": ("the draft's rule", "#000000", ":"),
    "lagrangian": ("λ follows the cost", "#0072B2", "-"),
}
NAMES = ("success", "cost", "lambda_0")
BOUNDS = "upper99", "upper99_bernstein"
LABELS = ("share of flights that arrive", r"$\hat{J}_c$, discounted cost", "multiplier λ")


def columns(threshold, axes=None, first=LABELS[0]):
    """Three axes over the steps of a training: `first`, Ĵ_c with its budget, λ."""
    axes = plt.subplots(1, 3, figsize=(11, 3.2))[1] if axes is None else axes
    for axis, label in zip(axes, (first, *LABELS[1:]), strict=True):
        axis.set(xlabel="environment steps (millions)", ylabel=label)
    axes[1].set_yscale("symlog", linthresh=threshold)
    axes[1].set_ylim(0, 100)
    budget_line(axes[1], threshold)
    return axes


def training(log, threshold, axes=None, first="success"):
    """`first`, Ĵ_c and λ of one run against environment steps; log: columns of progress.csv."""
    label = LABELS[0] if first == "success" else first.replace("_", ", ")
    axes = columns(threshold, axes, label)
    shades, steps = (REWARD, COST, PRICE), np.array(log["env_steps"]) / 1e6
    for axis, name, shade in zip(axes, (first, *NAMES[1:]), shades, strict=True):
        axis.plot(steps, log[name], color=shade, linewidth=1.2)
    return axes


def smooth(values, window=9):
    """Moving mean over `window` iterations, fewer at both ends."""
    ones = np.ones(window)
    return np.convolve(values, ones, "same") / np.convolve(np.ones(len(values)), ones, "same")


def show_runs(logs, threshold):
    """Display trainings, one colour a run, its name at its curve; logs: name in RUNS → columns."""
    axes = columns(threshold)
    for run_name, log in logs.items():
        label, shade, line = RUNS[run_name]
        for axis, name in zip(axes, NAMES, strict=True):
            axis.plot(log["env_steps"] / 1e6, smooth(log[name]), color=shade, linestyle=line)
        end = log["env_steps"][-1] / 1e6, log["lambda_0"][-1]
        axes[2].annotate(label, end, (2, 0), textcoords="offset points", color=shade, va="center")
    axes[2].set_yscale("symlog", linthresh=0.1)
    axes[2].set_yticks((0, 0.1, 1, 10), ("0", "0.1", "1", "10"))
    figure(axes[0].figure, f"Arrivals, cost and multiplier of {len(logs)} trainings, a colour each")


def show_last(results, threshold):
    """Display what the last policies do on held-out flights."""
    names, shades = zip(*[RUNS[name][:2] for name in results], strict=True)
    every = results.values()
    panels = {
        "success rate": ([r["success_rate"] for r in every], shades),
        "discounted cost": ([r["discounted_cost"]["mean"] for r in every], shades),
        "violation rate": ([r["violation_rate"]["mean"] for r in every], shades),
    }
    budget = "discounted cost", threshold, f"budget τ = {threshold:g}"
    show_bars(names, panels, "Success, discounted cost, violations of five policies", budget)


def show_surrogate(log, task):
    """Display the ramp, and what the critic's cost head says beside Ĵ_c in a training."""
    fig, axes = plt.subplots(1, 2, figsize=(10, 3))
    gap = np.linspace(1, 3.2, 441)
    axes[0].plot(gap, gap < task.d_safe, color=COST)
    axes[0].plot(gap, near(gap, task.d_safe, task.margin), "--", color=NEUTRAL)
    axes[0].text(1.05, 1.03, "cost: 1 below d_safe", color=COST)
    axes[0].text(2.42, 0.45, "surrogate", color=NEUTRAL)
    axes[0].set(xlabel="distance of two drones (m)", ylabel="per step and direction", ylim=(0, 1.2))
    steps = log["env_steps"] / 1e6
    axes[1].plot(steps, smooth(log["cost"]), color=COST)
    axes[1].plot(steps, smooth(log["value_cost_0"]), "--", color=NEUTRAL)
    axes[1].text(0.7 * steps[-1], 1.0, "value_cost_0", color=NEUTRAL)
    axes[1].text(0.2 * steps[-1], 4, r"$\hat{J}_c$", color=COST)
    axes[1].set(xlabel="environment steps (millions)", ylabel="discounted, the whole swarm")
    axes[1].set_yscale("symlog", linthresh=task.threshold)
    axes[1].set_ylim(0, 100)
    budget_line(axes[1], task.threshold)
    figure(fig, "A step at 2 m under a ramp that ends at 2.5 m; the critic's value beside the cost")


def show_seeds(log, threshold, colleague=None, seed=None):
    """Display trainings, median and range; or, with a `colleague`'s log, it beside run `seed`."""
    axes, seeds = columns(threshold), [name[5:] for name in log if name.startswith("cost_")]
    steps, look = log["env_steps"] / 1e6, {"color": NEUTRAL, "linestyle": "--"}
    shades = (REWARD, COST, PRICE)
    for axis, name, shade in zip(axes, NAMES, shades, strict=True):
        if colleague is not None:
            axis.plot(steps, log[f"{name}_{seed}"], **look)
            axis.plot(colleague["env_steps"] / 1e6, colleague[name], color=shade)
            continue
        every = np.stack([log[f"{name}_{seed}"] for seed in seeds])
        axis.plot(steps, np.median(every, 0), color=shade)
        axis.fill_between(steps, every.min(0), every.max(0), color=shade, alpha=0.25, linewidth=0)
    what = f"{len(seeds)} trainings, median and range" if colleague is None else "two trainings"
    figure(axes[0].figure, f"Arrivals, cost and multiplier of {what}")


def episodes_needed(bound, rate, cost, threshold):
    """Least n, in hundreds, at which `bound` certifies; beyond 100,000 None.

    Of n episodes a share `rate` costs half of `cost` and one and a half of it in turns."""
    for n in range(100, 100_001, 100):
        violating = cost * (0.5 + np.arange(round(rate * n)) % 2)
        if bound(np.concatenate([violating, np.zeros(n - len(violating))])) <= threshold:
            return n
    return None


def certificates(table):
    """Rows of `05_ten_seeds.json` → name: certificate, as `show_certificates` takes them."""
    shown = {}
    for seed, row in table["seeds"].items():
        share, flights = row["violations"], row.get("flights", 2000)
        share = {"mean": share, "upper99": clopper_pearson(round(flights * share), flights)}
        cost = {"mean": row["cost"]} | {x: row[x] for x in BOUNDS}
        parts = {"success_rate": row["success"], "discounted_cost": cost, "violation_rate": share}
        shown[f"seed {seed}"] = parts
    return shown


def show_certificates(results, threshold):
    """Display success, and mean (dot) to 99 % bound (bar) of cost and violations; name → result."""
    fig, axes = plt.subplots(1, 3, figsize=(11, 1.4 + 0.2 * len(results)), sharey=True)
    for axis, title, shade in zip(axes, ("success_rate", "discounted_cost", "violation_rate"),
                                  (REWARD, COST, NEUTRAL), strict=True):  # fmt: skip
        for row, result in enumerate(results.values()):
            cell = result[title]
            cell = cell if isinstance(cell, dict) else {"mean": cell, "upper99": cell}
            axis.plot([cell["mean"], cell["upper99"]], [row, row], "|-", color=shade)
            other = cell.get("upper99_bernstein") or np.nan
            axis.plot(other, row, "x", color=NEUTRAL, markersize=5)
            axis.plot(cell["mean"], row, "o", color=shade)
        axis.set(xlabel=title.replace("_", " "))
    axes[0].set_yticks(range(len(results)), results)
    axes[0].set_ylim(len(results) - 0.5, -0.5)
    axes[0].set_xlim(None, 1.001)
    axes[1].set_xscale("symlog", linthresh=threshold)
    axes[1].set_xlim(-0.005, 100)
    axes[2].set_xscale("symlog", linthresh=0.01)
    axes[2].set_xlim(-0.0005, 1)
    axes[1].axvline(threshold, color=THRESHOLD, linestyle=":")
    axes[1].set_title(f"dotted: budget τ = {threshold:g}", fontsize=9)
    figure(fig, "Means and 99 % bounds of success, cost and violations, a row each")


def drawn_task(env):
    """Start and goal that the first swarm of `env` has drawn, as a task to be shown."""
    start, target = env.centre[0, 0], env.targets[0, 0]
    return SwarmTask(n_drones=env.task.n_drones, n_obstacles=0, start=start, target=target,
                     goal_radius=env.goal_radius[0, 0], horizon=env.task.horizon)  # fmt: skip


def certificate(folder, seed=7):
    """The picture of a run: one held-out flight, and its training curves; a figure."""
    folder = Path(folder)
    policy = runs.load(folder)
    result = json.loads((folder / "result.json").read_text())
    kind = policy.task.kind
    with policy.task.vector_env(1, seed, autoreset=False) as env:
        flown = rollout(policy.act, env, record=True)
        task = drawn_task(env) if kind == "swarm-any" else policy.task
    fig = plt.figure(figsize=(10, 6.2), layout="constrained")
    top, bottom = fig.add_gridspec(2, 1, height_ratios=(1.7, 1))
    axis = fig.add_subplot(top, projection=None if kind == "navigation" else "3d")
    if kind != "navigation":
        there = flown["obstacles"][0][flown["obstacles"][0, :, 2] < AWAY]
        flight(axis, task, flown["positions"][:, 0], there)
    else:
        tracks(axis, flown["positions"][:, 0], flown["landmarks"][0])
    log = read_log(folder / "progress.csv")
    axes = [fig.add_subplot(cell) for cell in bottom.subgridspec(1, 3)]
    first, done = "success", f"success {result['success_rate']:.1%} of {result['episodes']}"
    if kind == "navigation":
        first, done = "return_discounted", f"mean return {result['return_mean']:.2f}"
    training(log, sum(policy.task.thresholds), axes, first)
    cost = result["discounted_cost"]
    verdict = "certified" if result["certified"] else "NOT certified"
    fig.suptitle(
        f"{verdict}: E[discounted cost] ≤ {cost['upper99']:.3f} with 99 % confidence, "
        f"τ = {policy.task.threshold}; {done}"
    )
    return fig


@exercise("5.1")
def check_multiplier_step(rng, step):
    """λ, Ĵ_c, τ, rate → the next λ."""
    λ, τ, rate = rng.uniform(1, 2, 3), rng.uniform(3, 5, 3), rng.uniform(0.2, 0.4, 3)
    e = rng.uniform(1, 2, 3) * (1, -1, -8)  # over the budget, within it, so far that λ ends at 0
    rising, turned = λ + rate * np.maximum(0, e), np.maximum(0, λ - rate * e)
    slips = {
        "λ must be able to fall: keep the sign of Ĵ_c − τ (no max around it).": rising,
        "the sign is reversed: λ rises when the cost is above the budget.": turned,
        "λ became negative: project with max(0, ·).": λ + rate * e,
    }
    given = [ask(step, *case) for case in zip(λ, τ + e, τ, rate, strict=True)]
    expect(given, np.maximum(0, λ + rate * e), slips)


@exercise("5.2")
def check_choose(rng, choose):
    """[(cost, return), …], τ → index of the checkpoint to keep."""
    τ, high = rng.uniform(0.1, 0.5), rng.uniform(5, 10)
    slips = {
        (3 * τ, 2 * high): "that one has the highest return and breaks the budget.",
        (τ / 4, high / 3): "that one is the safest; among the feasible ones the return decides.",
        (τ / 2, high / 2): "a checkpoint of higher return keeps the budget too.",
        (2 * τ, high / 4): "that one breaks the budget.",
    }
    rows = [(τ, high), *slips]
    rows = [rows[k] for k in rng.permutation(5)]
    expect(ask(choose, rows, τ), rows.index((τ, high)), {slips[x]: rows.index(x) for x in slips})
    if ask(choose, rows, τ / 5) != rows.index((τ / 4, high / 3)):
        raise Slip("where none is feasible, keep the least cost.")


@exercise("5.3")
def check_episodes(rng, episodes_needed):
    """p, level → clean episodes needed to bound P(violation) by p."""
    p, level = rng.uniform(0.01, 0.05, 3), rng.choice((0.9, 0.95, 0.99), 3)
    exact, high = np.log(1 - level) / np.log(1 - p), np.log(level) / np.log(1 - p)
    slips = {
        "the probability of seeing no violation must be at most 1 − level.": np.ceil(high),
        "Rounded down it is one too few.": np.floor(exact),
        "It counts episodes: a whole number, rounded up.": exact,
        "That is right on average: 1/p episodes bring one violation.": np.ceil(1 / p),
    }
    given = [ask(episodes_needed, *case) for case in zip(p.tolist(), level.tolist(), strict=True)]
    expect(given, np.ceil(exact), slips)


@exercise("5.4")
def check_episode_cost(rng, episode_cost):
    """Costs and ended (T, E), γ → Ĵ_c of the first episodes, a number."""
    T, E, γ = *rng.integers(9, 14, 2), rng.uniform(0.8, 0.95)
    costs, ended = rng.uniform(0, 2, (T, E)), rng.random((T, E)) < 0.15
    ended[-1], weight = True, γ ** np.arange(T)[:, None]
    ended[3, 0] = True
    first, before = ended.cumsum(0) - ended == 0, ended.cumsum(0) == 0
    slips = {
        "Steps after the first end count too: they belong to the next episode.": costs * weight,
        "The last step of the episode is left out: its cost belongs to it.": costs
        * weight
        * before,
        "The discount is missing.": costs * first,
        "The first step already has weight γ: start with γ⁰ = 1.": γ * costs * weight * first,
    }
    right = costs * weight * first
    slips = {slip: value.sum(0).mean() for slip, value in slips.items()}
    slips["That is a mean over steps: sum over time, then take the mean."] = right.mean()
    slips["That is the sum over the environments: take their mean."] = right.sum()
    expect(ask(episode_cost, costs, ended, γ), right.sum(0).mean(), slips)


@exercise("5.5")
def check_flights(rng, flights):
    """(cap B, J_c, τ, level) → n at which Hoeffding's bound of a mean of J_c reaches τ."""
    B, J, level = rng.uniform(3, 10, 3), rng.uniform(0.1, 0.5, 3), rng.choice((0.9, 0.95, 0.99), 3)
    room = rng.uniform(0.2, 0.6, 3)
    doubt = np.log(1 / (1 - level))
    exact = B**2 * doubt / (2 * room**2)
    slips = {
        "Two-sided: here only one side can hurt, so no 2 in the logarithm.": np.ceil(
            exact * np.log(2 / (1 - level)) / doubt
        ),
        "B enters with its square: twice the cap, four times the flights.": np.ceil(exact / B),
        "The room τ − J_c enters with its square.": np.ceil(exact * room),
        "The factor 2 of Hoeffding's lemma is missing: (b − a)²/8.": np.ceil(2 * exact),
        "The doubt is ln 1/(1 − level), not ln 1/level.": np.ceil(
            exact * np.log(1 / level) / doubt
        ),
        "Flights are whole, rounded up.": exact,
    }
    cases = zip(B.tolist(), J.tolist(), (J + room).tolist(), level.tolist(), strict=True)
    expect([ask(flights, *case) for case in cases], np.ceil(exact), slips)
