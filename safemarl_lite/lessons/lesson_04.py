"""Lesson 04, the cost advantage and the Lagrangian: its figures, and the checks."""

from functools import partial

import numpy as np

from .. import cmdp
from ..cmdp import TabularCMDP
from .exercise import compare, random_task, run
from .style import COST, PRICE, REWARD, THRESHOLD


def delivery(threshold=0.25, discount=0.95):
    """A drone's delivery, S = 6, A = 2. States: 0 pad, 1 corridor, 2 to 4 detour, 5 landed.
    On the pad it takes corridor or detour; elsewhere it flies on (gusts stop it in one of five
    tries) or hovers. Reward −1 a step in the air; a step in the corridor costs 1."""
    P, r, c = np.zeros((6, 2, 6)), np.full((6, 2), -1.0), np.zeros((6, 2))
    P[0, 0, 1] = P[0, 1, 2] = P[5, :, 5] = 1
    for here, ahead in (1, 5), (2, 3), (3, 4), (4, 5):
        P[here, 0, [ahead, here]], P[here, 1, here] = (0.8, 0.2), 1
    c[1], r[5] = 1, 0
    return TabularCMDP(P, r, c[None], [threshold], np.eye(6)[0], discount)


def distance(history, best, window=20):
    """|J_r − J_r*| + λ*·|J_c − J_c*| of the mixture of the last `window` policies, (K,)."""
    J = np.column_stack([history["J_r"], history["J_c"]]).cumsum(0)
    J[window:] = J[window:] - J[:-window]
    J /= np.minimum(np.arange(len(J)) + 1, window)[:, None]
    return abs(J[:, 0] - best.value) + abs(J[:, 1:] - best.costs) @ best.multipliers


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


def price_curves(axes, history, best, threshold, **line):
    """λ, exact J_c and the distance from the LP's optimum against the iteration, on three axes."""
    curves = history["lambda"][:, 0], history["J_c"][:, 0], distance(history, best)
    for axis, curve, color in zip(axes, curves, (PRICE, COST, REWARD), strict=True):
        axis.plot(curve, **{"color": color, **line})
    names = "multiplier λ", "J_c, discounted cost", "distance from the LP"
    for axis, name in zip(axes, names, strict=True):
        axis.set(xlabel="iteration", ylabel=name)
    axes[0].axhline(best.multipliers[0], color="black", linestyle="--", linewidth=1)
    axes[1].axhline(threshold, color=THRESHOLD, linestyle=(0, (1, 1)), linewidth=1.5)
    axes[2].set_yscale("log")


def check_mean_advantage(mean_advantage):
    """Exercise 4.1: E over a ∼ π of c + γV(s′) − V(s), (S,), for *any* critic V (S,)."""
    task, policy, v = (
        random_task(41),
        np.random.default_rng(1).dirichlet(np.ones(3), 5),
        np.arange(5.0),
    )
    c, ahead, here = task.costs[0], 0.9 * cmdp.backup(task, v), v[:, None]
    slips = {
        "A plain mean over the actions; weight each by π(a|s).": (c + ahead - here).mean(1),
        "V(s) is not subtracted.": (policy * (c + ahead)).sum(1),
        "The discount γ is missing.": (policy * (c + ahead / 0.9 - here)).sum(1),
    }
    answer, right = partial(mean_advantage, policy, task.transition, c, v, 0.9), c + ahead - here
    run("Exercise 4.1", lambda: compare(answer(), (policy * right).sum(1), slips))


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
    run("Exercise 4.2", lambda: compare(answer(), gae(), slips))


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
    run("Exercise 4.3", lambda: compare(answer(), pair(e), slips))


def check_diagnosis(diagnosis):
    """Exercise 4.4: () → the name of the one switch behind three curves."""
    slips = {
        "hinge": "With `hinge` the cost returns to the budget again and again, and λ rises on.",
        "constant_penalty": "Then the cost would not fall at all; here it does.",
        "adam_multiplier": "Then λ would creep at one pace; here it stops dead.",
        "no_terminals": "Then the drone would never land: look at J_r.",
    }
    right, other = "only_rises", "Look at λ while the cost is below the budget: what should it do?"
    run("Exercise 4.4", lambda: None if (x := diagnosis()) == right else slips.get(x, other))
