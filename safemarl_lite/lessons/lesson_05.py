"""Lesson 05, training MAPPO-Lagrangian: its figures, and the checks of its exercises."""

import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from .. import runs
from ..evaluate import rollout
from .exercise import compare, run
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
LABELS = ("share of flights that arrive", "Ĵ_c, discounted cost", "multiplier λ")


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


def show_live(rows, threshold):
    """Display the log of a short training."""
    axes = training(
        {name: [row[name] for row in rows] for name in rows[0]}, threshold, None, "return"
    )
    figure(axes[0].figure, "Return, cost and multiplier over a few iterations")


def show_surrogate(log, d_safe, margin, threshold):
    """Display the ramp, and what the critic's cost head says beside Ĵ_c in a training."""
    fig, axes = plt.subplots(1, 2, figsize=(10, 3))
    gap = np.linspace(1, 3.2, 441)
    axes[0].plot(gap, gap < d_safe, color=COST)
    axes[0].plot(gap, np.clip((d_safe + margin - gap) / margin, 0, 1), "--", color=NEUTRAL)
    axes[0].text(1.05, 1.03, "cost: 1 below d_safe", color=COST)
    axes[0].text(2.42, 0.45, "surrogate", color=NEUTRAL)
    axes[0].set(xlabel="distance of two drones (m)", ylabel="per step and direction", ylim=(0, 1.2))
    steps = log["env_steps"] / 1e6
    axes[1].plot(steps, smooth(log["cost"]), color=COST)
    axes[1].plot(steps, smooth(log["value_cost_0"]), "--", color=NEUTRAL)
    axes[1].text(1.15, 1.0, "value_cost_0", color=NEUTRAL)
    axes[1].text(0.3, 4, "Ĵ_c", color=COST)
    axes[1].set(xlabel="environment steps (millions)", ylabel="discounted, the whole swarm")
    axes[1].set_yscale("symlog", linthresh=threshold)
    axes[1].set_ylim(0, 100)
    budget_line(axes[1], threshold)
    figure(fig, "A step at 2 m under a ramp that ends at 2.5 m; the critic's value beside the cost")


def show_seeds(log, threshold, colleague=None):
    """Display five trainings, median and range; or, with a `colleague`'s log, it beside seed 3."""
    axes = columns(threshold)
    steps, look = log["env_steps"] / 1e6, {"color": NEUTRAL, "linestyle": "--"}
    shades = (REWARD, COST, PRICE)
    for axis, name, shade in zip(axes, NAMES, shades, strict=True):
        if colleague is not None:
            axis.plot(steps, log[f"{name}_3"], **look)
            axis.plot(colleague["env_steps"] / 1e6, colleague[name], color=shade)
            continue
        five = np.stack([log[f"{name}_{seed}"] for seed in range(5)])
        axis.plot(steps, np.median(five, 0), color=shade)
        axis.fill_between(steps, five.min(0), five.max(0), color=shade, alpha=0.25, linewidth=0)
    what = "five trainings, median and range" if colleague is None else "two trainings"
    figure(axes[0].figure, f"Arrivals, cost and multiplier of {what}")


def show_certificates(results, threshold):
    """Display success, and mean (dot) to 99 % bound (bar) of cost and violations; name → result."""
    fig, axes = plt.subplots(1, 3, figsize=(11, 1.4 + 0.2 * len(results)), sharey=True)
    for axis, title, shade in zip(axes, ("success_rate", "discounted_cost", "violation_rate"),
                                  (REWARD, COST, NEUTRAL), strict=True):  # fmt: skip
        for row, result in enumerate(results.values()):
            cell = result[title]
            cell = cell if isinstance(cell, dict) else {"mean": cell, "upper99": cell}
            axis.plot([cell["mean"], cell["upper99"]], [row, row], "|-", color=shade)
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


def show_generalisation(table):
    """Display where a policy breaks: share that arrives, share without a violation."""
    rows = {**table["N"], **table["task"]}
    fig, axis = plt.subplots(figsize=(8.5, 6.2))
    for at, row in enumerate(rows.values()):
        success, clean = row["success"], 1 - row["violations"]
        axis.plot([success, clean], [at, at], color=NEUTRAL, linewidth=1, zorder=1)
        axis.plot(success, at, "o", color=REWARD, markersize=9, fillstyle="left")
        axis.plot(clean, at, "D", color=COST, markersize=5)
    axis.axhline(len(table["N"]) - 0.5, color=NEUTRAL, linewidth=1)
    axis.plot([], [], "o", color=REWARD, markersize=9, fillstyle="left", label="arrive")
    axis.plot([], [], "D", color=COST, markersize=5, label="without a violation")
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, 1.09), ncols=2)
    axis.set_yticks(range(len(rows)), rows)
    axis.set(xlabel="share of 200 flights", xlim=(-0.03, 1.03), ylim=(len(rows) - 0.4, -0.6))
    figure(fig, "Share of flights that arrive, and that stay clean, for 22 other tasks")


def certificate(folder, seed=7):
    """The picture of a run: one held-out flight, and its training curves; a figure."""
    folder = Path(folder)
    policy = runs.load(folder)
    result = json.loads((folder / "result.json").read_text())
    kind = policy.task.kind
    with policy.task.vector_env(1, seed, autoreset=False) as env:
        flown = rollout(policy.act, env, record=True)
    fig = plt.figure(figsize=(10, 6.2), layout="constrained")
    top, bottom = fig.add_gridspec(2, 1, height_ratios=(1.7, 1))
    axis = fig.add_subplot(top, projection="3d" if kind == "swarm" else None)
    if kind == "swarm":
        flight(axis, policy.task, flown["positions"][:, 0], flown["obstacles"][0])
    else:
        tracks(axis, flown["positions"][:, 0], flown["landmarks"][0])
    log = read_log(folder / "progress.csv")
    axes = [fig.add_subplot(cell) for cell in bottom.subgridspec(1, 3)]
    first, done = "success", f"success {result['success_rate']:.1%} of {result['episodes']}"
    if kind != "swarm":
        first, done = "return_discounted", f"mean return {result['return_mean']:.2f}"
    training(log, sum(policy.task.thresholds), axes, first)
    cost = result["discounted_cost"]
    verdict = "certified" if result["certified"] else "NOT certified"
    fig.suptitle(
        f"{verdict}: E[discounted cost] ≤ {cost['upper99']:.3f} with 99 % confidence, "
        f"τ = {policy.task.threshold}; {done}"
    )
    return fig


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

    run("Exercise 5.1", check)


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

    run("Exercise 5.2", check)


def check_episodes(episodes_needed):
    """Exercise 5.3: p, level → clean episodes needed to bound P(violation) by p."""

    def check():
        given, right = episodes_needed(0.03, 0.99), int(np.ceil(np.log(0.01) / np.log(0.97)))
        if given == int(np.ceil(np.log(0.99) / np.log(0.97))):
            return "the probability of seeing no violation must be at most 1 − level."
        return None if given == right else f"episodes_needed(0.03, 0.99) is {right}, got {given}."

    run("Exercise 5.3", check)


def check_episode_cost(episode_cost):
    """Exercise 5.4: costs and ended (T, E), γ → Ĵ_c of the first episodes, a number."""

    def check():
        rng = np.random.default_rng(5)
        costs, ended = rng.integers(0, 3, (12, 7)).astype(float), rng.random((12, 7)) < 0.15
        ended[-1], weight = True, 0.9 ** np.arange(12)[:, None]
        first = ended.cumsum(0) - ended == 0
        slips = {
            "Steps after the first end count too: they belong to the next episode.": costs * weight,
            "The last step of the episode is left out: its cost belongs to it.": (
                costs * weight * (ended.cumsum(0) == 0)
            ),
            "The discount is missing.": costs * first,
            "The first step already has weight γ: start with γ⁰ = 1.": 0.9 * costs * weight * first,
        }
        right = costs * weight * first
        slips = {slip: value.sum(0).mean() for slip, value in slips.items()}
        slips["That is a mean over steps: sum over time, then take the mean."] = right.mean()
        slips["That is the sum over the environments: take their mean."] = right.sum()
        return compare(episode_cost(costs.copy(), ended.copy(), 0.9), right.sum(0).mean(), slips)

    run("Exercise 5.4", check)
