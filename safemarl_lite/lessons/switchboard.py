"""Lesson 04's switchboard: which check catches which of the draft's faults, in words and pictures.

A history is what `as_printed.train` returns.
"""

import matplotlib.pyplot as plt
import numpy as np

from ..as_printed import NAMES
from .style import COST, NEUTRAL, PRICE, THRESHOLD, figure

WORDS = (  # what a switch does, in the order of `NAMES`
    "the reward's critic for the cost",
    "a mean advantage against τ",
    "a hinge in the objective",
    "a penalty without gradient",
    "the loss ascended",
    "λ can only rise",
    "Adam moves λ",
    "no terminal states",
    "shapes that broadcast",
)


def passes(history, thresholds):
    """Fault → whether the history passes the check that is made for it (True: passes)."""
    h, late = history, slice(len(history["J_r"]) // 2, None)
    over, priced, felt = h["estimate"] > thresholds, h["lambda"] > 0.1, h["felt"] > 1e-9
    step, violation = np.diff(h["integral"], axis=0), (h["estimate"] - thresholds)[:-1]
    ratio = step[violation > 0.02] / violation[violation > 0.02]  # over by more than rounding
    off = abs((h["used"] - h["J_c"]).mean(0))
    return {
        "wrong_critic": bool((abs(h["td_mean"][late].mean(0)) < 0.05).all()),
        "advantage_mean": bool((off < 0.1 * thresholds + 0.02).all()),
        "hinge": bool(felt[(priced & ~over).all(1)].all()),
        "constant_penalty": bool(felt[(priced & over).any(1)].all()),
        "ascent": bool((h["loss_change"] < 0).mean() > 0.9),
        "only_rises": bool((step[(violation < 0) & (h["integral"][:-1] > 0)] < 0).all()),
        "adam_multiplier": bool((abs(ratio - ratio[:1]) <= 1e-6 * abs(ratio).max(initial=1)).all()),
        "no_terminals": bool(h["after_end"].max() < 1e-9),
        "broadcast": bool(h["shape"].all()),
    }


def verdict(history, best, threshold):
    """What the second half of a training shows, in a few words."""
    late = slice(len(history["J_r"]) // 2, None)
    cost = history["J_c"][late].mean() / threshold
    price = history["lambda"][late].mean() / best.multipliers[0]
    spent = "at the budget" if 0.8 < cost < 1.2 else f"{cost:.1f} × the budget"
    paid = "near λ*" if 0.9 < price < 1.1 else f"{price:.1f} × λ*" if price > 0.01 else "at 0"
    return f"cost {spent if cost > 0.1 else 'near 0'}, λ {paid}"


def draw_board(runs, corrected, best, threshold):
    """A row for each of `runs` (switch → history) over the corrected run → figure."""
    size = (10, 0.5 + max(1.8, 0.82 * len(runs)))
    fig, axes = plt.subplots(len(runs), 2, figsize=size, sharex=True, squeeze=False)
    levels, frames = (best.multipliers[0], threshold), ((0, 5), (0, 1.5))
    for row, (name, history) in zip(axes, runs.items(), strict=True):
        for axis, key, level, frame in zip(row, ("lambda", "J_c"), levels, frames, strict=True):
            axis.plot(corrected[key][:, 0], color=NEUTRAL, linewidth=1)
            axis.plot(history[key][:, 0], color=PRICE if key == "lambda" else COST)
            axis.axhline(level, color=THRESHOLD, linestyle="--", linewidth=0.8)
            axis.set_ylim(frame)
            axis.set_yticks((level, frame[1]), ("λ*" if key == "lambda" else "τ", f"{frame[1]:g}"))
        row[0].set_title(WORDS[NAMES.index(name)], fontsize=9, loc="left", pad=2)
        row[1].set_title(verdict(history, best, threshold), fontsize=9, loc="left", pad=2)
    for axis, name in zip(axes[-1], ("λ", "discounted cost $J_c$"), strict=True):
        axis.set_xlabel(f"iteration · {name} (grey: corrected)")
    return fig


def draw_matrix(runs, threshold):
    """Which check (columns) fires on which switch (rows)."""
    matrix = ~np.array([list(passes(run, np.array([threshold])).values()) for run in runs])
    fig, axis = plt.subplots(figsize=(8, 4.6))
    axis.imshow(matrix, cmap="Greys", vmax=1.5, aspect="auto")
    for row, column in zip(*np.nonzero(matrix), strict=True):
        axis.text(column, row, "✗", ha="center", va="center", color="white")
    axis.set_xticks(range(9), WORDS, rotation=30, ha="right")
    axis.set_yticks(range(10), ["corrected", *WORDS])
    axis.set(xlabel="check made for", ylabel="switched on")
    axis.grid(False)
    figure(fig, "Faults against checks: the first row is empty, the diagonal full, few others")
