"""Lesson 04, the cost advantage and the Lagrangian: its figures, and the checks."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch

from .. import cmdp
from ..lagrangian import Multipliers, clipped_loss, combined_advantage
from . import style
from .exercise import Slip, ask, exercise, expect, random_task
from .style import COST, NEUTRAL, PRICE, REWARD, THRESHOLD, name_at_curve

COLLEAGUE = Path(__file__).parents[2] / "figures/04_colleague.csv"


def distance(history, best, window=20):
    """|J_r − J_r*| + λ*·|J_c − J_c*| of the mixture of the last `window` policies, (K,)."""
    J = np.column_stack([history["J_r"], history["J_c"]]).cumsum(0)
    J[window:] = J[window:] - J[:-window]
    J /= np.minimum(np.arange(len(J)) + 1, window)[:, None]
    return abs(J[:, 0] - best.value) + abs(J[:, 1:] - best.costs) @ best.multipliers


def soft_price(task, bonus, high=10.0):
    """The price at which the optimum with an entropy bonus spends one budget: soft value iteration
    and bisection."""
    low, V = 0.0, np.zeros(len(task.start))
    while high - low > 1e-9:
        price, paid = (low + high) / 2, task.reward - (low + high) / 2 * task.costs[0]
        for _ in range(500):  # 0.95^500 < 1e-11
            Q = paid + task.discount * cmdp.backup(task, V)
            V = bonus * np.logaddexp.reduce(Q / bonus, axis=1)
        excess = cmdp.evaluate(task, np.exp((Q - V[:, None]) / bonus)).J_c[0] - task.thresholds[0]
        low, high = (price, high) if excess > 0 else (low, price)
    return low


def price_axes(axes, best, threshold):
    """Name up to three axes: λ, J_c and the distance from the LP; draw λ* and the budget."""
    names = "multiplier λ", "discounted cost $J_c$", "distance from the LP"
    for axis, name in zip(axes, names, strict=False):
        axis.set(xlabel="iteration", ylabel=name)
    levels = (axes[0], best.multipliers[0], "λ*"), (axes[1], threshold, "τ")
    for axis, level, name in levels:
        axis.axhline(level, color=THRESHOLD, linestyle="--", linewidth=1)
        axis.text(1.01, level, name, va="center", transform=axis.get_yaxis_transform())


def draw_runs(runs, best, threshold, alt, frames, names):
    """Trainings (history, colour, dashes) on the axes of `price_axes`, as many as `frames`, which
    are logarithmic where they begin above 0; `names`: (axis, x, y, name, run)."""
    fig, axes = plt.subplots(1, len(frames), figsize=(10, 3.2))
    for axis, frame in zip(axes, frames, strict=True):
        axis.set(ylim=frame, yscale="log" if frame[0] else "linear")
    for h, color, dashes in runs:
        curves = h["lambda"][:, 0], h["J_c"][:, 0], distance(h, best)
        for axis, curve in zip(axes, curves, strict=False):
            axis.plot(curve, color=color, linestyle=dashes)
    price_axes(axes, best, threshold)
    for axis, x, y, name, k in names:
        name_at_curve(axes[axis], x, y, name, runs[k][1])
    style.figure(fig, alt)


def draw_cold_open(runs, best, threshold):
    """Three trainings: as printed, with the cost's own critic, corrected."""
    looks = (style.PRINTED, "-"), (style.OTHER, ":"), (style.CORRECTED, "-")
    names = [(0, 70, 17, "as printed", 0), (0, 60, 0.7, "own critic", 1)]
    names += [(0, 90, 2.3, "corrected", 2), (1, 55, 1.2, "as printed, either critic", 0)]
    names += [(1, 90, 0.5, "corrected", 2), (2, 40, 4.2, "as printed, either critic", 0)]
    names += [(2, 60, 0.7, "corrected", 2)]
    alt = (
        "As printed λ grows and the cost stays; own critic: λ and cost stay; corrected: both settle"
    )
    runs = [(h, *look) for h, look in zip(runs, looks, strict=True)]
    draw_runs(runs, best, threshold, alt, ((0.5, 40), (0, 1.4), (0.01, 10)), names)


def draw_two_maxima(runs, best, threshold):
    """The corrected update, λ that only rises, the hinge in the objective."""
    looks = (style.CORRECTED, "-"), (style.PRINTED, "-"), (style.OTHER, "-")
    names = [(0, 150, 1.2, "corrected", 0), (0, 90, 2.0, "only rises", 1), (0, 90, 3.5, "hinge", 2)]
    names += [(1, 120, 0.08, "only rises", 1), (1, 60, 0.75, "hinge", 2)]
    alt = (
        "λ that only rises stops above λ*, its cost vanishes; with the hinge λ climbs, cost swings"
    )
    runs = [(h, *look) for h, look in zip(runs, looks, strict=True)]
    draw_runs(runs, best, threshold, alt, ((0, 4.5), (0, 1.3)), names)


def draw_no_cost(printed, corrected):
    """λ of two trainings on a task without any cost."""
    curves = [(printed["lambda"][:, 0], style.PRINTED, "as printed", (30, 4.4))]
    curves += [(corrected["lambda"][:, 0], style.CORRECTED, "corrected", (22, 0.4))]
    alt = "As printed λ rises in a straight line to 6; corrected it falls to 0"
    style.lines(curves, alt, xlabel="iteration", ylabel="multiplier λ")


def draw_clock(flown, value, limit):
    """Discounted cost of the steps flown so far, and what the critic adds at the limit."""
    end, rest = flown[limit], ((limit, limit), (flown[limit], value))
    curves = [(flown, COST, rf"$\hat{{J}}_c$ of {limit} steps: {end:.3f}", (limit + 2, end - 0.8))]
    curves += [(rest, NEUTRAL, "bootstrap", (limit - 11, end - 0.05))]
    level = value, f"$V^c(s_0)$, the flight goes on: {value:.3f}"
    alt = "The sum rises towards 4.37; at 32 steps it is 3.83, the rest is the bootstrap"
    style.lines(curves, alt, level, xlabel="steps flown", ylabel="discounted cost", ylim=(0, 5))


def draw_slopes(prices, corrected, printed):
    """The slope of the policy's loss along the costly action's logit, at every price."""
    curves = [((prices, corrected), style.CORRECTED, "corrected", (2.6, 0.2))]
    curves += [((prices, printed), style.PRINTED, "as printed", (2.6, printed[0]))]
    alt = "Corrected, the slope changes its sign as λ grows; as printed it is constant"
    style.lines(curves, alt, (0, ""), xlabel="multiplier λ", ylabel="slope of the loss")


def draw_shares(steps, chain, random):
    """Share of the bound's penalty that is used: the chain, and the most of any random CMDP."""
    curves = [((steps, 100 * np.array(chain)), style.OTHER, "the chain", (0.02, 86))]
    curves += [((steps, 100 * np.array(random)), NEUTRAL, "most of 20 random CMDPs", (0.02, 3))]
    names = {"xlabel": "size of the step (share of π′ in the mixture)", "ylabel": "bound used, %"}
    alt = "The chain uses nearly all of the bound at small steps, random problems a percent"
    style.lines(curves, alt, xscale="log", ylim=(-3, 108), **names)


def draw_schedules(paths, limit):
    """`paths`: name → λ (steps, seeds); one seed's paths, and every seed's largest late error."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(10, 3.2), width_ratios=(3, 2))
    colors = style.CORRECTED, style.OTHER, style.PRINTED, NEUTRAL
    for row, (path, color) in enumerate(zip(paths.values(), colors, strict=True)):
        left.plot(path[:, 0], color=color, linewidth=1, zorder=4 - row)
        errors = abs(path[-1000:] - limit).max(0)
        right.semilogx(errors, 0 * errors - row, "o", color=color, alpha=0.7)
    right.set_yticks(range(0, -len(paths), -1), list(paths))
    left.axhline(limit, color=THRESHOLD, linestyle="-.", linewidth=1)
    left.set(xlabel="iteration k", ylabel="multiplier λ, seed 0", ylim=(0.8, 4.2))
    right.set(xlabel="largest error, last 1,000 steps, five seeds", ylim=(-3.5, 0.5))
    style.figure(fig, "Policy fast: errors near 0.02; equal rates 0.06; swapped 0.6; both slow 0.3")


def draw_portrait(exact, sampled, best, threshold):
    """λ against J_c, exact and from samples: each two paths (steps, 2), without and with the
    proportional part."""
    fig, axes = plt.subplots(1, 2, figsize=(10, 3.8), sharey=True)
    for axis, paths, title in zip(axes, (exact, sampled), ("exact", "from samples"), strict=True):
        for path, color in zip(paths, (style.OTHER, style.CORRECTED), strict=True):
            axis.plot(path[:, 1], path[:, 0], color=color, linewidth=1.2)
        axis.axvline(threshold, color=THRESHOLD, linestyle=(0, (1, 1)), linewidth=1.5)
        axis.plot(threshold, best.multipliers[0], "o", color=THRESHOLD, zorder=3)
        axis.set(xlabel="discounted cost $J_c$", title=title, ylim=(0, 4.5))
        name_at_curve(axis, threshold + 0.02, 0.1, "budget τ", THRESHOLD)
    axes[0].set_ylabel("multiplier λ")
    name_at_curve(axes[0], 0.6, 2.95, "integral alone", style.OTHER)
    name_at_curve(axes[0], 0.45, 2.15, "with a proportional part", style.CORRECTED)
    style.figure(
        fig, "The integral alone circles the optimum; with a proportional part it spirals in"
    )


def draw_colleague(best, threshold):
    """λ, Ĵ_c and J_r of `train(delivery(), Faults(only_rises=True), seed=5)`, from a CSV."""
    fig, axes = plt.subplots(1, 3, figsize=(10, 2.8))
    names = "multiplier λ", r"$\hat{J}_c$, from the batch", "discounted reward $J_r$"
    table = np.loadtxt(COLLEAGUE, delimiter=",", skiprows=1)
    for axis, curve, name, color in zip(axes, table.T, names, (PRICE, COST, REWARD), strict=True):
        axis.plot(curve, color=color)
        axis.set(xlabel="iteration", ylabel=name)
    style.budget_line(axes[1], threshold)
    axes[2].axhline(best.value, color=THRESHOLD, linestyle="--", linewidth=1)
    name_at_curve(axes[2], 140, best.value, "optimum", THRESHOLD)
    style.figure(fig, "Three curves over 200 iterations: multiplier, cost with its budget, reward")


@exercise("4.1")
def check_cost_change(rng, cost_change):
    """(task, old, new) → each state's part of J_c(new) − J_c(old), (S,)."""
    task = random_task(rng)
    S, A = task.reward.shape
    old, new = rng.dirichlet(np.ones(A), (2, S))
    at, to = cmdp.evaluate(task, old), cmdp.evaluate(task, new)
    x, mixed = to.occupancy, at.occupancy.sum(1, keepdims=True) * new
    right, first = (x * at.a_c[0]).sum(1), (mixed * at.a_c[0]).sum(1)
    slips = {
        "These visits are the old policy's; the new one's are wanted.": first,
        "Zero: the actions must come from the new policy (Lemma 1).": 0 * right,
        "Old and new are exchanged.": (at.occupancy * to.a_c[0]).sum(1),
        "Occupancies sum to 1/(1 − γ) here: no factor 1 − γ.": (1 - task.discount) * right,
        "Subtract V: an advantage is wanted, not Q.": (x * at.q_c[0]).sum(1),
    }
    expect(ask(cost_change, task, old, new), right, slips)


@exercise("4.2")
def check_cost_advantage(rng, cost_advantage):
    """GAE of the cost from values (T, 2) = [V^r, V^c]; ends by landing or by time."""
    T, γ, ℓ = rng.integers(7, 11), *rng.uniform(0.7, 0.95, 2)
    (c, _), v, after = rng.random((2, T)), rng.random((T, 2)), rng.random((T, 2))
    landing, late = rng.choice(np.arange(1, T - 1), 2, replace=False)
    landed, ended = np.arange(T) == landing, np.isin(np.arange(T), (landing, late, T - 1))

    def gae(k=1, stop=landed, cut=ended, trace=ℓ):
        delta, out = c + γ * (1 - stop) * after[:, k] - v[:, k], np.zeros(T + 1)
        for t in reversed(range(T)):
            out[t] = delta[t] + γ * trace * (1 - cut[t]) * out[t + 1]
        return out[:T]

    slips = {
        "That is the reward's critic: use column 1.": gae(k=0),
        "A landed drone has no future: no bootstrap where `terminated`.": gae(stop=0 * ended),
        "An episode cut by time goes on: bootstrap where it is not `terminated`.": gae(stop=ended),
        "The sum runs on into the next episode: stop it where `ended`.": gae(cut=0 * ended),
        "`terminated` in both places: the end of time ends the sum too.": gae(cut=landed),
        "The two masks are exchanged.": gae(stop=ended, cut=landed),
        "The trace is missing in the sum.": gae(trace=1.0),
    }
    expect(ask(cost_advantage, c, v, after, landed, ended, γ, ℓ), gae(), slips)


@exercise("4.3")
def check_multiplier_rule(rng, rule):
    """(integral, Ĵ_c, τ, rate, proportional) → integral, λ, each (m,)."""
    start, τ = np.array([1.0, 0.2, 2.0]), rng.uniform(1, 3, 3)
    e, (α, κ) = np.array([0.5, -4.0, -1.0]) * rng.uniform(0.8, 1.2, 3), rng.uniform(0.1, 0.5, 2)

    def pair(e, add=0.0, low=0.0):
        integral = np.maximum(low, start + α * e + add)
        return np.stack([integral, np.maximum(low, integral + κ * e)])

    late, plain = (np.stack([pair(e)[0], np.maximum(0, start + k * e)]) for k in (κ, α))
    slips = {
        "λ cannot fall: keep the sign of Ĵ_c − τ.": pair(np.maximum(0, e)),
        "The sign is reversed: λ rises where the cost is above the budget.": pair(-e),
        "A price is never negative: project both on ≥ 0.": pair(e, low=-np.inf),
        "The proportional part must not pile up in the integral.": pair(e, add=κ * e),
        "λ is made from the old integral: use the new one.": late,
        "The proportional part is missing in λ.": plain,
    }
    expect(ask(rule, start, τ + e, τ, α, κ), pair(e), slips)


@exercise("4.4")
def check_policy_loss(rng, combine, loss):
    """(A^r (B,), A^c (B, m), λ (m,)) → A (B,), and (log ratio, A, clip) → loss."""
    B, clip = rng.integers(20, 30), rng.uniform(0.1, 0.3)
    given = rng.normal(1, 1, B), rng.normal(2, 3, (B, 2)), rng.uniform(0.3, 2, 2)
    r, c, λ = (torch.tensor(x, dtype=torch.float32) for x in given)
    A, log_ratio = r.flip(0) - 1, torch.linspace(-1, 1, B)
    gain, centred, whole = (r - r.mean()) / r.std(), c - c.mean(0), 1 + λ.sum()
    paid, own, w = centred @ λ / r.std(), centred / c.std(0) @ λ, log_ratio.exp()
    inside = w.clamp(1 - clip, 1 + clip) * A
    log_low = torch.min(log_ratio * A, log_ratio.clamp(1 - clip, 1 + clip) * A)
    combined = {
        "The sign of the cost: what costs more is worse.": (gain + paid) / whole,
        "Divide by 1 + Σ λ.": gain - paid,
        "Divide costs by the reward's deviation: λ is a price.": (gain - own) / whole,
        "Centre the costs as well.": (gain - c @ λ / r.std()) / whole,
        "Divide both by the reward's deviation.": (gain - paid) * r.std() / whole,
        "Use torch's `std`, which divides by n − 1.": (gain - paid) * (B / (B - 1)) ** 0.5 / whole,
    }
    losses = {
        "That is the objective: the loss is its negative.": torch.min(w * A, inside).mean(),
        "`min`, not `max`: the worse of the two.": -torch.max(w * A, inside).mean(),
        "Without `min` a wrong step is never undone.": -inside.mean(),
        "Nothing is clipped.": -(w * A).mean(),
        "The ratio is exp(log_ratio).": -log_low.mean(),
        "The mean over the batch, not the sum.": -torch.min(w * A, inside).sum(),
    }
    expect(ask(combine, r, c, λ), combined_advantage(r, c, λ), combined)
    answer = ask(loss, log_ratio.requires_grad_(), A, clip)
    expect(answer, clipped_loss(log_ratio, A, clip), losses)
    if not getattr(answer, "requires_grad", False):
        raise Slip("Its gradient is lost: stay in torch, without `.item()` or `.detach()`.")


@exercise("4.5")
def check_fault_shows(rng, fault_shows):
    """(λ (K,), Ĵ_c (K,), τ) → whether the log shows a λ that cannot fall."""
    wave, τ = np.cos(np.arange(rng.integers(60, 99)) / 5 + rng.uniform(0, 6)), 0.25
    falls, theirs = (
        2 * 0.8 ** np.arange(len(wave)),
        np.loadtxt(COLLEAGUE, delimiter=",", skiprows=1),
    )

    def log(costs, start=1.0, floor=0.0, **rule):  # λ is that of before its own cost is known
        λ = Multipliers([τ], 0.1, start, **rule)
        return np.array([start] + [λ.update(max(c, floor))[0] for c in costs[:-1]]), costs

    cases = (
        (theirs[:, :2].T, True, "The colleague's log passes your check."),
        (log(0.25 + 0.2 * wave), False, "It fires on an integral that falls."),
        (log(0.25 + 0.2 * wave, proportional=1.0), False, "It fires on a sound PI rule."),
        (log(0 * wave, start=0.0), False, "It fires on a λ of 0, which cannot fall further."),
        (log(0.75 + 0.2 * wave), False, "It fires on a cost that never was within the budget."),
        (log(falls, floor=τ, proportional=1.0), True, "It misses a λ that cannot fall."),
    )
    said = {k: bool(ask(fault_shows, *cases[k][0], τ)) for k in rng.permutation(len(cases))}
    for k, (_, fires, slip) in enumerate(cases):
        expect(said[k], fires, {slip: not fires})
