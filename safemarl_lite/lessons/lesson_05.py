"""Lesson 05, training MAPPO-Lagrangian: its figures, and the checks of its exercises."""

import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from .. import runs
from ..evaluate import rollout
from .exercise import run
from .lesson_02 import flight
from .lesson_06 import tracks
from .style import COST, PRICE, REWARD, budget_line, read_log


def training(axes, logs, threshold, first="success"):
    """`first`, Ĵ_c and λ against environment steps; logs: label → columns of progress.csv."""
    styles = ("-", "--", "-.", ":", (0, (3, 1, 1, 1, 1, 1)))
    for (label, log), line in zip(logs.items(), styles * 3, strict=False):
        steps = np.array(log["env_steps"]) / 1e6
        for axis, name in zip(axes, (first, "cost", "lambda_0"), strict=True):
            shade = {"cost": COST, "lambda_0": PRICE}.get(name, REWARD)
            axis.plot(steps, log[name], linestyle=line, color=shade, label=label, linewidth=1.2)
    axes[0].set(ylabel=first.replace("_", ", "))
    if first == "success":
        axes[0].set(ylabel="success rate", ylim=(-0.02, 1.02))
    axes[1].set(ylabel="Ĵ_c (discounted cost)", yscale="symlog")
    axes[1].set_yscale("symlog", linthresh=threshold)
    axes[2].set(ylabel="multiplier λ")
    budget_line(axes[1], threshold)
    for axis in axes:
        axis.set_xlabel("environment steps (millions)")


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
    if kind == "navigation":
        first, done = "return_discounted", f"mean return {result['return_mean']:.2f}"
    training(axes, {"this run": log}, sum(policy.task.thresholds), first)
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
