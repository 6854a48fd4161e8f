"""Lesson 06, the attention actor-critic: its figures, and the checks of its exercises."""

import csv
import itertools

import matplotlib.pyplot as plt
import numpy as np
from scipy.optimize import linear_sum_assignment

from ..navigation.task import DAMPING, DT, MOVES, RADIUS
from . import style
from .exercise import ask, exercise, expect
from .style import COST, NEUTRAL, PRICE, REWARD, THRESHOLD, budget_line, figure

LEARNERS = {  # key in the files → name, colour, line, mark
    "macaac": ("MACAAC", "#0072B2", "-", "o"),
    "maddpg-c": ("MADDPG-C", "#009E73", "--", "^"),
    "maac": ("MAAC, λ = 0", "#D55E00", "-.", "s"),
    "macaac, long": ("MACAAC, long", "#003D66", "-", "o"),
    "maac, long": ("MAAC, long", "#8C3D00", "-.", "s"),
    "macaac, one scale": ("one scale", "#56B4E9", "--", "o"),
    "maac, one scale": ("one scale", "#E69F00", ":", "s"),
    "mappo-lagrangian": ("MAPPO-Lagrangian", "#CC79A7", ":", "D"),
    "mappo, λ = 0": ("MAPPO, λ = 0", "#E69F00", ":", "v"),
    "script": ("straight script", "#332288", ":", "*"),
    "careless": ("careless script", "#44AA99", ":", "*"),
    "careful": ("careful script", "#882255", ":", "*"),
    "random": ("random", "#7F7F7F", ":", "P"),
    "no-op": ("never moving", "#000000", ":", "X"),
}


def pilot(env, room=2 * RADIUS, ahead=4):
    """Fly a script that knows the task and everybody's plan → cost and penalty of worlds, (E,).

    Landmarks are assigned once. In every step, the farthest first, each agent takes of its 25 next
    pairs of moves the one that leads `ahead` steps on nearest to its landmark, `room` away from
    where the others will be; with `room=0` it does not care.
    """
    far = ((env.positions[:, :, None] - env.landmarks[:, None]) ** 2).sum(-1)
    known = zip(env.landmarks, far, strict=True)
    goals = np.stack([places[linear_sum_assignment(d)[1]] for places, d in known])
    pairs = np.array(list(itertools.product(range(5), repeat=2)))
    pushes = np.zeros((ahead, 25, 2))
    pushes[:2] = DT * env.task.thrust * np.array(MOVES["openai"]).T[:, pairs.T].transpose(1, 2, 0)
    worlds, cost, penalty = np.arange(env.num_envs), 0, 0

    def path(x, v, pushes):
        places = []
        for push in pushes:
            v = (1 - DAMPING) * v + push
            places.append(x := x + DT * v)
        return np.stack([*places, x + DT * v * (1 - DAMPING) / DAMPING])  # at last, at rest

    for t in range(env.task.horizon):
        x, v = env.positions, env.velocities
        plans, moves = path(x, v, np.zeros(ahead)), np.zeros(x.shape[:2], int)
        for i in (-np.linalg.norm(goals - x, axis=-1)).argsort(1).T:
            paths = path(x[worlds, i][:, None], v[worlds, i][:, None], pushes)
            away = np.linalg.norm(paths - goals[worlds, i][:, None], axis=-1)
            gaps = np.linalg.norm(paths[:, :, :, None] - plans[:, :, None], axis=-1)
            gaps[:, worlds, :, i] = np.inf
            short = np.maximum(room - gaps, 0).max((0, -1))
            score = away[:-1].mean(0) + away[-1] / 2 + 3 * (short > 0) + 20 * short
            best = score.argmin(1)
            moves[worlds, i], plans[:, worlds, i] = pairs[best, 0], paths[:, worlds, best]
        step = env.step(moves)
        cost, penalty = cost - step.rewards[:, 0], penalty + 0.99**t * step.costs.sum((1, 2))
    return cost, penalty


def read_training(path):
    """The shipped trainings → function of algo and column that gives (seeds, iterations)."""
    with path.open() as file:
        rows = list(csv.DictReader(file))

    def curves(algo, name):
        seeds = sorted({row["seed"] for row in rows if row["algo"] == algo})
        runs = [[r[name] for r in rows if (r["algo"], r["seed"]) == (algo, s)] for s in seeds]
        return np.array(runs, float)

    return curves


def show_training(curves, panels, levels=(), budget=None):
    """Display medians and ranges of seeds, a colour a learner; panels: column → learners."""
    fig, axes = plt.subplots(1, len(panels), figsize=(5.5 * len(panels), 3.5), squeeze=False)
    for axis, (name, algos) in zip(axes[0], panels.items(), strict=True):
        for algo in algos:
            label, shade, line, _ = LEARNERS[algo]
            runs, episodes = curves(algo, name), curves(algo, "episodes")[0] / 1000
            axis.plot(episodes, np.median(runs, 0), color=shade, linestyle=line)
            axis.fill_between(
                episodes, runs.min(0), runs.max(0), color=shade, alpha=0.2, linewidth=0
            )
            if name != "penalty" or algo == "maac":  # named beside it
                end = 1.02 * episodes[-1], np.median(runs, 0)[-1]
                beside = {"maac": "top", algos[0]: "bottom"}.get(algo, "center")  # close curves
                axis.text(*end, label, color=shade, va=beside)
        for label, level in levels if name == "cost" else ():
            axis.axhline(level, color=NEUTRAL, linestyle=":")
            axis.text(episodes[-1], level, label, ha="right", va="bottom")
        ylabel = {"lambda": "multiplier λ"}.get(name, name)
        axis.set(xlabel="episodes (thousands)", ylabel=ylabel, ylim=(0, None))
        if name == "penalty":
            budget_line(axis, budget, "budget α")
    figure(fig, "Medians and ranges of trainings of each learner against episodes")


def show_colleague(curves, budget):
    """Display the colleague's training and, dashed, the corrected one from the same seed."""
    fig, axes = plt.subplots(1, 3, figsize=(11, 2.8))
    for axis, name, shade in zip(axes, ("cost", "penalty", "lambda"), (REWARD, COST, PRICE),
                                 strict=True):  # fmt: skip
        runs = ("macaac, one scale, long", 3, "--", NEUTRAL), ("colleague", 0, "-", shade)
        for algo, k, line, color in runs:
            episodes = curves(algo, "episodes")[k] / 1000
            axis.plot(episodes, curves(algo, name)[k], color=color, linestyle=line)
        axis.set(xlabel="episodes (thousands)", ylabel={"lambda": "multiplier λ"}.get(name, name))
    axes[2].set_yscale("log")
    budget_line(axes[1], budget, "budget α")
    figure(fig, "Cost, penalty and multiplier of two trainings against episodes")


def show_plane(points, budget, xlim=(0, 80)):
    """Display (cost, penalty) of policies, their names at the points; key → list of pairs."""
    (fig, axis), gap = plt.subplots(figsize=(8.5, 4.2)), (xlim[1] - xlim[0]) / 75
    for algo, pairs in points.items():
        label, shade, _, mark = LEARNERS[algo]
        x, y = np.transpose(pairs)
        axis.plot(x, y, mark, color=shade, alpha=0.8)
        side, at = ("right", x.min() - gap) if x.min() < 24 else ("left", x.max() + gap)
        below = "top" if algo.endswith("long") else "center"
        axis.annotate(label, (at, y.mean()), color=shade, ha=side, va=below)
    budget_line(axis, budget, "budget α")
    axis.set(xlabel="cost, plain sum", ylabel="penalty, discounted", xlim=xlim, ylim=(0, None))
    figure(fig, "Policies on the plane of cost and penalty, the budget a horizontal line")


def show_bars(values, label, alt, mark=None):
    """Display name → number as bars; `mark`: (name, value) of a dotted line."""
    line = mark and (label, *mark[::-1])
    style.show_bars(list(values), {label: (list(values.values()), REWARD)}, alt, line)


def table(axis, weights, title, ylabel=""):
    """Draw a matrix (N, N) as shades of blue with its numbers, its diagonal left out."""
    axis.imshow(np.where(np.eye(len(weights)) > 0, np.nan, weights), cmap="Blues", vmin=0,
                vmax=np.max(weights))  # fmt: skip
    for (i, j), value in np.ndenumerate(weights):
        dark = value > 0.6 * np.max(weights)
        text = "–" if i == j else f"{value:.2f}"
        axis.text(j, i, text, ha="center", va="center", color="w" if dark else "k", fontsize=9)
    axis.set(title=title, xticks=range(len(weights)), yticks=range(len(weights)), ylabel=ylabel)
    axis.grid(False)


def show_dependence(change):
    """Display how far each agent's values move when another one acts differently, (N, N)."""
    fig, axis = plt.subplots(figsize=(4, 3.6))
    table(axis, change, "largest change of Q", "of agent")
    axis.set_xlabel("when this agent acts differently")
    figure(fig, "A matrix of changes with an empty diagonal")


def show_attention(maps, at, positions, landmarks):
    """Display three critics' attention in one frame: on the scene, and below it as numbers."""
    fig, axes = plt.subplots(2, len(maps), figsize=(10.5, 6.3))
    for (scene, axis), (name, weights) in zip(axes.T, maps.items(), strict=True):
        tracks(scene, positions[None], landmarks, [RADIUS] * len(positions))
        for (i, j), ω in np.ndenumerate(weights[at].numpy()):
            arrow = {"color": NEUTRAL, "linewidth": 5 * ω, "alpha": min(1, 2 * ω), "shrinkB": 9}
            arrow |= {"arrowstyle": "-|>", "connectionstyle": "arc3,rad=0.15"}
            if i == j:
                at_name = {"xytext": (9, 9), "textcoords": "offset points", "weight": "bold"}
                scene.annotate(str(i), positions[i], **at_name)
            else:
                scene.annotate("", positions[j], positions[i], arrowprops=arrow)
        scene.set_title(name)
        table(axis, weights[at].numpy(), "", "agent")
        axis.set_xlabel("attends to agent")
    figure(fig, "Numbered agents, arrows as wide as their attention weights, and the weights")


def show_influence(weights, influence, title):
    """Display attention weights against what silencing the attended agent changes."""
    fig, axis = plt.subplots(figsize=(6, 3.6))
    axis.plot(weights, influence, ".", color=REWARD, alpha=0.25, markersize=4)
    axis.set(xlabel="attention weight", ylabel="change of value when silenced", title=title)
    figure(fig, "A cloud of points: attention weight against influence")


def show_ablation(ablation, budget):
    """Display where trainings with the switches end, a dot a seed; view → switch → runs."""
    fig, axes = plt.subplots(len(ablation), 3, figsize=(11, 5), sharex="col", sharey=True)
    columns = ("cost", REWARD), ("penalty", COST), ("lambda", PRICE)
    for row, (view, switches) in zip(axes, ablation.items(), strict=True):
        for axis, (name, shade) in zip(row, columns, strict=True):
            for y, runs in enumerate(switches.values()):
                axis.plot([x[name] for x in runs], [y] * len(runs), "o", color=shade, alpha=0.5)
            axis.set_xlabel({"lambda": "multiplier λ"}.get(name, name))
        row[0].set(xscale="log", ylabel=f"{view} view", ylim=(len(switches) - 0.5, -0.5))
        row[0].set_xticks([25, 50, 100], ["25", "50", "100"], minor=False)
        row[0].set_yticks(range(len(switches)), [x.replace("_", " ") for x in switches])
        row[1].axvline(budget, color=THRESHOLD, linestyle=":")
    axes[0, 0].minorticks_off()
    figure(fig, "Cost, penalty and λ at the end of trainings: a row a switch, a dot a seed")


def tracks(axis, positions, landmarks, radii):
    """Draw an episode from above: positions (T, N, 2), landmarks (L, 2), radii (N,) of agents."""
    for agent in range(positions.shape[1]):
        axis.plot(*positions[:, agent].T, color=REWARD, linestyle=("-", "--", "-.", ":")[agent % 4])
    axis.plot(*positions[0].T, "o", color="white", markeredgecolor=REWARD, markersize=5)
    for place, radius in zip(positions[-1], radii, strict=True):
        axis.add_patch(plt.Circle(place, radius, color=REWARD, alpha=0.4, linewidth=0))
    axis.plot(*landmarks.T, "x", color=THRESHOLD, markersize=7)
    axis.set(aspect="equal", xlabel="x", ylabel="y", xlim=(-1.4, 1.4), ylim=(-1.4, 1.4))


@exercise("6.1")
def check_attention(rng, attention):
    """Weights (N, N) of scaled dot-product attention over the others."""
    N, d = rng.integers(4, 9, 2)
    queries, keys = rng.normal(size=(2, N, d))
    scores, hidden = queries @ keys.T, np.where(np.eye(N) > 0, -np.inf, 0)

    def softmax(x):
        e = np.exp(x - x.max(1, keepdims=True))
        return e / e.sum(1, keepdims=True)

    itself, right = softmax(scores / d**0.5), softmax(scores / d**0.5 + hidden)
    asked, late = softmax(scores.T / d**0.5 + hidden), itself * (1 - np.eye(N))
    slips = {
        "The diagonal is zeroed after the softmax, so rows do not sum to one; mask scores.": late,
        "An agent attends to itself; mask the diagonal of the scores.": itself,
        "The scores are not divided by √d.": softmax(scores + hidden),
        "The scores are divided by d, not by √d.": softmax(scores / d + hidden),
        "Keys ask and queries answer; the rows belong to the one who asks.": asked,
    }
    expect(ask(attention, queries, keys), right, slips)


@exercise("6.2")
def check_q_target(rng, target):
    """c + γ E_{a′ ∼ π}[Q(o′, a′)], and c alone after the last step, (B,)."""
    q, policy, γ = rng.uniform(1, 9, (5, 3)), rng.dirichlet(np.ones(3), 5), rng.uniform(0.8, 0.95)
    c, last = rng.random(5), rng.permutation([False, True, False, False, True])
    mean, on = γ * (policy * q).sum(1), 1.0 - last
    least, most = c + γ * q.min(1) * on, c + γ * q.max(1) * on
    slips = {
        "The last step of an episode has no future: its target is c.": c + mean,
        "The sign of `last` is turned: the future counts where it goes on.": c + mean * last,
        "A minimum over a′ is Q-learning; take the expectation under the policy.": least,
        "A maximum over a′ is Q-learning; take the expectation under the policy.": most,
        "A plain mean over a′; weight by the policy.": c + γ * q.mean(1) * on,
        "The discount γ is missing.": c + mean / γ * on,
    }
    expect(ask(target, c, q, policy, last, γ), c + mean * on, slips)


@exercise("6.3")
def check_counterfactual(rng, advantage):
    """Q^k + λ Q^c less its mean under the policy, (N, A)."""
    N, A = rng.integers(3, 6, 2)
    k, c, policy = rng.normal(size=(N, A)), rng.normal(size=(N, A)), rng.dirichlet(np.ones(A), N)
    λ = rng.uniform(1.5, 3)

    def less_mean(q, weights=policy):
        return q - (weights * q).sum(1, keepdims=True)

    alike, right = less_mean(k + λ * c, np.full((N, A), 1 / A)), less_mean(k + λ * c)
    slips = {
        "Both are costs: the price is added, Q^k + λ Q^c.": less_mean(k - λ * c),
        "The baseline is missing.": k + λ * c,
        "The baseline weights all actions alike; weight by the policy.": alike,
        "The sign is turned: this is the advantage of a reward.": -right,
        "The price λ is missing.": less_mean(k + c),
    }
    expect(ask(advantage, k, c, policy, λ), right, slips)


@exercise("6.4")
def check_steps_allowed(rng, steps_allowed):
    """Collision steps an episode that a bootstrapped, inflated Q lets pass."""
    α, γ, w, n = rng.uniform(1, 5, 4), rng.uniform(0.97, 0.99, 4), *rng.integers(9, size=(2, 4))
    L, w, n = rng.integers(20, 40, 4), np.array([0, 0.001, 0.002, 0.1]), n + 3
    base, inflation = α * (1 - γ), γ * w * np.log(n)
    slips = {
        "That is α itself: the reading as a plain sum.": α,
        "It may not be below zero.": L * (base - inflation),
        "The entropy is added as a cost: it leaves less room, not more.": L * (base + inflation),
        "The entropy term is missing.": L * base,
        "Entropy comes with the next step's value: γ stands before it.": L
        * np.maximum(0, base - inflation / γ),
        "This is p, the probability in a step; multiply by L.": np.maximum(0, base - inflation),
    }
    cases = zip(α.tolist(), γ.tolist(), L.tolist(), w.tolist(), n.tolist(), strict=True)
    answers = [ask(steps_allowed, *case) for case in cases]
    expect(answers, L * np.maximum(0, base - inflation), slips)
