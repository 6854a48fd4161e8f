"""Lesson 03, centralized critics: its figures, and the checks of its exercises."""

import matplotlib.pyplot as plt
import numpy as np

from .exercise import Slip, ask, exercise, expect, plain
from .style import COST, NEUTRAL, REWARD, THRESHOLD, figure

CRITICS = {"local": "#E69F00", "centralized": "#CC79A7", "attention": "#56B4E9"}  # one colour each


def last_drone_figure(estimates):
    """estimates: critic → (repeats,) estimates of the gradient, which is 0.5."""
    fig, axes = plt.subplots(1, 3, figsize=(9, 2.4), sharex=True, sharey=True)
    for axis, (name, drawn) in zip(axes, estimates.items(), strict=True):
        axis.hist(drawn, bins=np.arange(-1.625, 2.7, 0.05), color=NEUTRAL)
        axis.axvline(0.5, color="black", linestyle="--")
        axis.set(title=name, xlabel="estimate of the gradient")
    axes[0].set_ylabel("of 2,000 estimates")
    axes[0].text(0.55, 300, "true: 0.5")
    figure(fig, "Three histograms around 0.5, one for each critic")


def left_figure(parts):
    """parts: critic → what it leaves of Var(G), (hidden drone, own coin, gust)."""
    fig, axis = plt.subplots(figsize=(8, 1.9))
    names, left = list(parts), np.zeros(len(parts))
    looks = ("hidden drone", "#E69F00"), ("own coin", "#56B4E9"), ("gust", "0.8")
    for (label, shade), part in zip(looks, np.array(list(parts.values())).T, strict=True):
        axis.barh(names, part, left=left, color=shade, ec="black", label=label)
        left = left + part
    axis.set(xlabel="variance left in the advantage G − V")
    axis.invert_yaxis()
    axis.legend(loc="lower right")
    figure(fig, "Bars: what each critic leaves of the variance 11, by its source")


def scene_figure(positions, obstacles, target, radius):
    """Top view of positions (T, N, 3), obstacles (M, 3): paths; if T = 1, what drone 1 sees."""
    fig, axis = plt.subplots(figsize=(6, 4))
    for centre in obstacles:
        axis.add_patch(plt.Circle(centre[:2], radius, color=NEUTRAL, alpha=0.4, linewidth=0))
    for i, path in enumerate(positions.swapaxes(0, 1)):
        axis.plot(*path[:, :2].T, color="black", linewidth=1)
        axis.plot(*path[0, :2], "o", color="black")
        axis.annotate(f"{i + 1}", path[0, :2], (4, 4), textcoords="offset points")
    axis.plot(*target[:2], "x", color=THRESHOLD)
    axis.annotate("target", target[:2], (5, 5), textcoords="offset points")
    if len(positions) == 1:
        for others in (positions[0, 1:], obstacles):
            near = others[np.linalg.norm(others - positions[0, 0], axis=1).argmin()]
            axis.plot(*np.array([positions[0, 0], near])[:, :2].T, color="#0072B2", linewidth=2)
    axis.set(aspect="equal", xlabel="x (m)", ylabel="y (m)")
    figure(fig, "Top view of five drones (numbered), three obstacles and the target")


def fits_figure(curves, shown):
    """curves: critic → explained variance of the bonus (epochs, 2), training and held out."""
    fig, axes = plt.subplots(1, len(shown), figsize=(9, 2.7), sharey=True)
    for axis, name in zip(axes, shown, strict=True):
        epochs = np.arange(1, len(curves[name]) + 1)
        axis.plot(epochs, curves[name][:, 0], "--", color=REWARD, linewidth=1)
        axis.plot(epochs, curves[name][:, 1], color=REWARD, linewidth=2)
        axis.axhline(curves["local"][-1, 1], color="black", linestyle=":", linewidth=1)
        axis.set(title=name, xlabel="epoch", ylim=(0.75, 1), xticks=(1, 10, 20))
    axes[0].set_ylabel("explained variance")
    figure(fig, "Explained variance of the bonus after each epoch, training and held-out flights")


def critics_figure(ratio, signals):
    """ratio: critic → (2, signals, 1 + resamples), as multiples of the local critic's."""
    fig, axes = plt.subplots(2, len(signals), figsize=(10, 4.8), sharex=True, sharey=True)
    rows = [name for name in ratio if name != "local"][::-1]
    for (m, k), axis in np.ndenumerate(axes):
        for y, name in enumerate(rows):
            value, shade = ratio[name][m, k], CRITICS.get(name, NEUTRAL)
            low, high = np.percentile(value[1:], (2.5, 97.5))
            axis.barh(y, high - low, 0.3, left=low, color=shade)
            axis.plot(min(value[0], 3.6), y, "k>" if value[0] > 3.6 else "k|", markersize=9)
        axis.axvline(1, color="black", linestyle=":")
    for axis, signal in zip(axes[0], signals, strict=True):
        axis.set_title(signal)
    axes[0, 0].set(yticks=range(len(rows)), yticklabels=rows, ylabel="advantage, mean square")
    axes[0, 0].set(xlim=(0.1, 4), xscale="log", xticks=(0.2, 0.5, 1, 2))
    axes[0, 0].set_xticklabels(("⅕", "½", "1", "2"))
    axes[0, 0].minorticks_off()
    axes[1, 0].set_ylabel("gradient noise")
    fig.supxlabel(
        "multiple of the local critic's, with 95 % interval (▶: off the scale)", fontsize=10
    )
    figure(fig, "Values with intervals for five critics and four signals, against the local critic")


def waiting_figure(target, values, since):
    """target (T,): the return of one waiting drone; values: critic → (T,); since: its arrival."""
    fig, axis = plt.subplots(figsize=(8, 3))
    axis.axvspan(since, len(target) - 1, color="0.93")
    axis.text(since + 1, 0.15, "waits at its place")
    axis.plot(target, color="black", linewidth=2)
    axis.text(0.4 * len(target), target.max() - 0.4, "the return itself (black)")
    for (name, curve), line in zip(values.items(), (":", "--", "-"), strict=True):
        axis.plot(curve, line, color=CRITICS[name], linewidth=2, label=name)
    axis.set(xlabel="control step (0.1 s)", ylabel="bonus to come, discounted", ylim=(0, None))
    axis.legend(loc="lower left")
    figure(fig, "The return of one drone's bonus over a flight, and three critics' values")


def heads_figure(learned):
    """learned: title → values (steps, heads) of critics that learn the targets −10 and 2."""
    fig, axes = plt.subplots(1, 2, figsize=(9, 2.6), sharey=True)
    for axis, (title, curve) in zip(axes, learned.items(), strict=True):
        axis.axhline(-10, color=REWARD, linestyle=":")
        axis.axhline(2, color=COST, linestyle=":")
        axis.plot(curve, color="black", linewidth=2)
        axis.set(title=title, xlabel="epoch")
    axes[0].set(ylabel="value learned", yticks=(-10, -8, -4, 0, 2))
    axes[1].text(100, -9, "target of the reward", color=REWARD)
    axes[1].text(100, 0.4, "target of the cost", color=COST)
    figure(fig, "What one critic for two targets learns, and what two heads learn")


def own_or_team_figure(points, budget):
    """points: rule → (u, v, λ, J_r) where gap and gate are flown with probabilities u and v."""
    fig, axis = plt.subplots(figsize=(7, 3.6))
    u = np.linspace(0, (budget / 2) ** 0.5, 200)
    axis.fill_between(u, np.sqrt(budget / 2 - u**2), color="0.93", ec=COST, linewidth=2)
    axis.text(0.05, 0.3, f"within the budget {budget}", color=COST)
    for (name, (u, v, λ, J_r)), color in zip(points.items(), ("black", "#0072B2"), strict=True):
        axis.plot((u + v - 0.62, u + v), (0.62, 0), "--", color=color, linewidth=1)
        axis.plot(u, v, "o", color=color)
        axis.text(u + 0.02, v + 0.02, f"{name}: λ {λ:.3f}, reward {J_r:.3f}", color=color)
    axis.text(0.8, 0.03, "dashed: equal reward")
    axis.set(xlim=(0, 1.05), ylim=(0, 0.62), xlabel="u, probability of entering the gap")
    axis.set_ylabel("v, of passing a gate close")
    figure(fig, "Budget curve in the plane of u and v; own shares end on it at a lower reward")


def credit_panel(estimates, n):
    """estimates: n → (E,), one a flight; means of 5 flights for own costs and for sums of n."""
    rng, (fig, axis) = np.random.default_rng(0), plt.subplots(figsize=(8, 2.8))
    for k, shade, line in ((1, COST, "-"), (int(n), NEUTRAL, "--")):
        batches = rng.choice(estimates(k), (4000, 5)).mean(1)
        label = "own cost" if k == 1 else f"sum of {k} drones' costs"
        label += f", wrong sign: {np.mean(batches > 0):.0%}"
        kind = {"histtype": "step", "color": shade, "linestyle": line, "linewidth": 1.6}
        axis.hist(batches, np.linspace(-10, 8, 73), label=label, **kind)
    axis.axvline(0, color="black", linewidth=0.8)
    axis.set(xlabel="estimate of d(cost)/d(gain) from 5 flights", ylabel="of 4,000 resamples")
    axis.legend(loc="upper right")
    return fig


def signal_figure(g, again):
    """g (E, n): estimates of one flight each; again (resamples, E, n): bootstrapped flights."""
    fig, axes = plt.subplots(1, 2, figsize=(9, 2.8))
    ns, signal, noise = np.arange(1, g.shape[1] + 1), g.mean(0), g.std(0)
    bands = again.mean(1), again.mean(1) / again.std(1)
    for axis, curve, band in zip(axes, (signal, signal / noise), bands, strict=True):
        axis.plot(ns, curve, "o-", color=COST)
        axis.fill_between(ns, *np.percentile(band, (5, 95), axis=0), color=COST, alpha=0.2)
        axis.set(xlabel="drones whose costs are summed, n", xticks=ns, ylim=(0, None))
    axes[0].axhline(signal[0], linestyle="--", color="black", label="own cost")
    axes[1].plot(ns, signal[0] / noise[0] / ns**0.5, "--", color="black", label="falling as 1/√n")
    axes[0].set_ylabel("signal (cost per unit of gain)")
    axes[1].set_ylabel("signal-to-noise, one flight")
    for axis in axes:
        axis.legend(loc="upper right")
    figure(fig, "Signal and signal-to-noise ratio against the number of costs that are summed")


def race_figure(runs, rates, sizes):
    """runs: rule → (P(enter) (rates, seeds), P(enter) (sizes, seeds)) at the end of the race."""
    fig, axes = plt.subplots(1, 2, figsize=(9, 2.8), sharey=True)
    looks = ("#0072B2", "-", 3.5), ("#E69F00", "--", 1.5), ("black", ":", 1.5)
    for (label, ends), (shade, line, width) in zip(runs.items(), looks, strict=True):
        for axis, x, end in zip(axes, (rates, sizes), ends, strict=True):
            look = {"marker": "o", "ms": 4, "linewidth": width, "label": label}
            axis.plot(x, np.median(end, 1), line, color=shade, **look)
            axis.fill_between(x, end.min(1), end.max(1), color=shade, alpha=0.2)
    axes[0].set(
        xscale="log", xlabel="rate of the price λ (10 drones)", ylabel="P(enter) at the end"
    )
    axes[1].set(xlabel="number of drones (rate 0.1)")
    axes[0].legend()
    figure(fig, "P(enter) after the race against the rate of the price and the number of drones")


def renumbered_figure(pairs):
    """pairs: critic → (values, values after renumbering the drones), (K,) each."""
    fig, axes = plt.subplots(1, 2, figsize=(7, 3.1))
    for axis, (name, (before, after)) in zip(axes, pairs.items(), strict=True):
        axis.plot(before, after, ".", color=CRITICS[name], markersize=3)
        axis.axline((before.mean(), before.mean()), slope=1, color="black", linewidth=0.8)
        axis.set(title=name, xlabel="value", ylabel="value, drones renumbered", aspect="equal")
    figure(fig, "Values before and after renumbering the drones, for two critics")


def weights_figure(mean_weight):
    """mean_weight (heads, others): attention on the others, nearest to its place first."""
    fig, axes = plt.subplots(1, len(mean_weight), figsize=(9, 2.4), sharey=True)
    for head, (axis, weight) in enumerate(zip(axes, np.asarray(mean_weight), strict=True)):
        axis.bar(range(1, len(weight) + 1), weight, color=CRITICS["attention"], ec="black")
        axis.axhline(1 / len(weight), color="black", linestyle=":")
        axis.set(title=f"head {head + 1}", xticks=range(1, len(weight) + 1))
    axes[0].set_ylabel("mean weight")
    fig.supxlabel("the others, from the nearest to its place to the furthest", fontsize=10)
    figure(fig, "Mean weights of four heads against the rank of the others' remaining way")


@exercise("3.1")
def check_explained_variance(rng, explained):
    """explained(returns (B,), values (B,)) is 1 − E[(G − V)²] / Var(G)."""
    G = rng.normal(3, 2, 8)
    V = 0.7 * G + rng.normal(1.5, 0.5, 8)
    left = ((G - V) ** 2).mean() / G.var()
    slips = {
        "Var(G − V) forgives a constant offset; use the mean square.": 1 - (G - V).var() / G.var(),
        "That is the share left over; take it from 1.": left,
        "Divide by the variance of the returns, not of the values.": 1 - left * G.var() / V.var(),
    }
    expect(ask(explained, G, V), 1 - left, slips)


@exercise("3.2")
def check_split_variance(rng, split):
    """split(returns (B,), state (B,)) → (E[Var(G|s)], Var(E[G|s]))."""
    labels, B = rng.choice(9, 3, replace=False), np.array([2, 3, 5])
    groups = [rng.normal(rng.uniform(0, 9), 1, n) for n in B]
    within, between = (np.array([f(g) for g in groups]) for f in (np.var, np.mean))
    G, order = np.concatenate(groups), rng.permutation(10)
    right = B @ within / 10, G.var() - B @ within / 10
    slips = {
        "Weight each state by how often it occurs.": (within.mean(), between.var()),
        "The two parts are swapped.": right[::-1],
        "With ddof=1 the parts do not add up.": (B @ (within * B / (B - 1)) / 10, right[1]),
    }
    expect(ask(split, G[order], labels.repeat(B)[order]), right, slips)


@exercise("3.3")
def check_two_targets(rng, targets):
    """(reward (B,), cost (B,), V(s′) (B,2), terminated (B,), γ) → targets (B,2)."""
    x, v, γ = rng.normal(size=(5, 2)), rng.normal(5, 2, (5, 2)), rng.uniform(0.8, 0.95)
    end = rng.permutation([False, True, False, True, False])
    on = 1 - end[:, None]
    slips = {
        "It bootstraps over termination: no future is left there.": x + γ * v,
        "The cost's target is built on the reward's value.": x + γ * on * v[:, :1],
        "The discount γ is missing.": x + on * v,
        "The signals are swapped against the values.": x[:, ::-1] + γ * on * v,
        "The columns are swapped: the reward's target comes first.": (x + γ * on * v)[:, ::-1],
        "It stops at the wrong step: none is left where terminated.": x + γ * (1 - on) * v,
    }
    expect(ask(targets, *x.T, v, end, γ), x + γ * on * v, slips)


@exercise("3.4")
def check_attend(rng, attend):
    """attend(query (N,d), key (N,d), value (N,e)) → (N,e), over the others only."""
    N, d = rng.integers(3, 7, 2)
    query, key, value = (rng.normal(size=(N, size)) for size in (d, d, 4))
    score, others = query @ key.T / d**0.5, 1 - np.eye(N)

    def mix(weights, total=None):
        return weights / (weights if total is None else total).sum(1, keepdims=True) @ value

    whole = np.exp(score)
    zeroed, late = mix(np.exp(score * others)), mix(whole * others, whole)
    slips = {
        "An agent attends to itself too: leave out j = i.": mix(whole),
        "A score of 0 is not a weight of 0 (e⁰ = 1): put −∞ on the diagonal.": zeroed,
        "Masked after the softmax: the others' weights must add up to 1.": late,
        "The scores are not divided by √d.": mix(np.exp(score * d**0.5) * others),
    }
    weights = plain(ask(attend, query, key, np.eye(N)))  # x is then the weights themselves
    if weights.shape == (N, N) and np.allclose(weights.sum(0), 1) and not weights.diagonal().any():
        raise Slip("The softmax runs over the wrong axis: row i, over the others j, adds up to 1.")
    expect(ask(attend, query, key, value), mix(whole * others), slips)


@exercise("3.5")
def check_team_gradient(rng, team_gradient):
    """team_gradient(scores (B,N,P), costs (B,N)) → the gradient (P,), with the best baseline."""
    B, N, P = rng.choice(np.arange(3, 8), 3, replace=False)
    scores, costs = rng.normal(size=(B, N, P)), rng.random((B, N))
    total, s = costs.sum(1), scores.sum(1)

    def mean(weight):
        return s.T @ (total - (weight * total).sum() / (weight.sum() or 1)) / B

    shares = np.einsum("bip,bi->p", scores, costs - costs.mean(0)) / B
    right, summed = mean((s**2).sum(1)), mean((scores**2).sum((1, 2)))
    slips = {
        "Those are own shares: each score must meet the cost of the team.": shares,
        "That baseline is the mean: right on average; ‖s‖² weights the best.": mean(total**0),
        "s is the sum over the drones, and ‖s‖² its square: not the sum of squares.": summed,
        "The baseline is missing: right on average, but noisier.": mean(0 * total),
        "The sign: this is the gradient of the cost, to be descended.": -right,
    }
    expect(ask(team_gradient, scores, costs), right, slips)
