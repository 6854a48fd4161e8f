"""Figures, animations and widgets of the notebooks: one palette, one meaning a colour.

Colours are Okabe and Ito's (readable with every colour vision), and every curve has a line
style of its own, so that the figures survive printing in grey.
"""

import json
from io import BytesIO
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import PIL.Image
from IPython.display import display
from ipywidgets import Dropdown, FloatSlider, Image, VBox

from . import as_printed, runs
from .cmdp import RING, solve_lp
from .evaluate import rollout
from .navigation_task import RADIUS

REWARD, COST, PRICE, THRESHOLD = "#0072B2", "#D55E00", "#009E73", "#000000"
CONSTRAINTS = ("#D55E00", "#CC79A7", "#E69F00")  # one for each constraint
NEUTRAL = "#7F7F7F"


def style():
    """Set the figure style that every notebook uses."""
    plt.rcParams.update(
        {
            "figure.figsize": (8, 3.2),
            "figure.dpi": 100,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "grid.alpha": 0.25,
            "font.size": 10,
            "legend.frameon": False,
            "figure.constrained_layout.use": True,
        }
    )


def figure(fig, alt):
    """Display `fig` as PNG with the alternative text `alt`, and close it."""
    display(fig, metadata={"image/png": {"alt": alt}})
    plt.close(fig)


def budget_line(axis, threshold, label="budget τ"):
    """Draw the budget as a labelled horizontal line."""
    axis.axhline(threshold, color=THRESHOLD, linestyle=(0, (1, 1)), linewidth=1.5)
    axis.annotate(
        f"{label} = {threshold:g}",
        (1, threshold),
        xycoords=("axes fraction", "data"),
        xytext=(-2, 3),
        textcoords="offset points",
        ha="right",
        fontsize=9,
    )


# ---- 01: constrained MDPs


def ring_map(axis, x, drone):
    """Draw where one of the two drones of `cmdp.grid_world` is, and where it steers.

    x (64, 9) is an occupancy. Shade and number: expected discounted steps that the drone is in
    the air in that cell; arrows: the share of those steps in which it steers to that side.
    """
    moves = x.reshape(8, 8, 3, 3).sum(axis=(1, 3) if drone == 0 else (0, 2))  # (cell, steering)
    steps, (start, goal) = moves.sum(1), ((0, 3), (3, 0))[drone]
    steps[goal], cells = 0, np.array(RING)[:, ::-1] * (1, -1)  # (8, 2): to the right, up
    for cell, (right, up) in enumerate(cells):
        grey = plt.cm.Greys(min(steps[cell] / 3, 1) / 2)
        axis.add_patch(plt.Rectangle((right - 0.5, up - 0.5), 1, 1, facecolor=grey, ec="black"))
        label = f"{steps[cell]:.2f}" + " (start)" * (cell == start)
        label = "lands here" if cell == goal else label
        axis.text(right, up + 0.34, label, ha="center", va="center", fontsize=7)
    for side, ahead in (1, np.roll(cells, -1, axis=0)), (2, np.roll(cells, 1, axis=0)):
        share = moves[:, side] / np.maximum(steps, 0.01)
        share = np.where((steps > 0.01) & (share > 0.02), share, np.nan)
        arrows = cells - (0, 0.18), 0.4 * share[:, None] * (ahead - cells)
        axis.quiver(*arrows[0].T, *arrows[1].T, angles="xy", scale_units="xy", scale=1, width=0.011)
    axis.plot((0.5, 2.5), (-0.5, -0.5), color="black", linewidth=4)  # the wall
    axis.set(xlim=(-0.55, 3.55), ylim=(-1.55, 0.55), aspect="equal", title=f"drone {'ab'[drone]}")
    axis.axis("off")


def budget_panel(cmdp, threshold, sweep):
    """The optimum of `cmdp.grid_world` at one budget: both maps, the front, the price; a figure.
    sweep: (thresholds (K,), values (K,), multipliers (K,)) of the whole front."""
    fig = plt.figure(figsize=(10, 3.6))
    maps, front, price = fig.add_gridspec(1, 3, width_ratios=(1.3, 1, 1))
    maps = maps.subgridspec(2, 1)
    front, price = fig.add_subplot(front), fig.add_subplot(price)
    best = solve_lp(cmdp.with_thresholds(threshold))
    for drone in (0, 1):
        ring_map(fig.add_subplot(maps[drone]), best.occupancy, drone)
    λ, wide = best.multipliers[0], np.array((-0.45, 0.45))
    front.plot(*sweep[:2], color=REWARD, label="best value")
    tangent = threshold + wide, best.value + λ * wide
    front.plot(*tangent, "--", color=PRICE, label=f"slope λ* = {λ:.2f}")
    front.plot(threshold, best.value, "o", color=REWARD)
    price.plot(sweep[0], sweep[2], color=PRICE, drawstyle="steps-mid")
    price.plot(threshold, λ, "o", color=PRICE)
    front.set(ylim=(-13.5, -8), ylabel="J_r, weighted steps", title="what can be earned")
    price.set(ylim=(-0.4, 10), ylabel="λ*, weighted steps", title="what a near miss is worth")
    for axis in (front, price):
        axis.axvline(threshold, color=THRESHOLD, linestyle=(0, (1, 1)))
        axis.set(xlim=(0, 1.85), xlabel="budget τ, near misses a flight")
    front.legend(loc="lower right", frameon=True, facecolor="white", edgecolor="white")
    return fig


class SliderPanel(VBox):
    """A slider above the picture `draw(value)`, a figure; moving it needs a running kernel."""

    def __init__(self, draw, label, value, low, high, step):
        self.picture = Image(format="png")
        self.slider = FloatSlider(value, min=low, max=high, step=step, description=label)
        self.slider.continuous_update = False
        self.slider.observe(lambda change: self.redraw(draw, change["new"]), "value")
        self.redraw(draw, value)
        super().__init__([self.slider, self.picture])

    def redraw(self, draw, value):
        fig, png = draw(value), BytesIO()
        fig.savefig(png, format="png")
        plt.close(fig)
        self.picture.value = png.getvalue()

    def __repr__(self):  # the same on every machine, for nbval
        return "SliderPanel(slider, picture)"


# ---- 04: the draft's faults


class ChoicePanel(SliderPanel):
    """A list of choices above the picture `draw(choice)`; choosing needs a running kernel."""

    def __init__(self, draw, label, choices):
        self.picture, self.menu = Image(format="png"), Dropdown(options=choices, description=label)
        self.menu.observe(lambda change: self.redraw(draw, change["new"]), "value")
        self.redraw(draw, self.menu.value)
        VBox.__init__(self, [self.menu, self.picture])

    def __repr__(self):
        return "ChoicePanel(menu, picture)"


def price_curves(axes, history, best, threshold, **line):
    """λ, exact J_c and the distance from the LP's optimum against the iteration, on three axes."""
    curves = history["lambda"][:, 0], history["J_c"][:, 0], as_printed.distance(history, best)
    for axis, curve, color in zip(axes, curves, (PRICE, COST, REWARD), strict=True):
        axis.plot(curve, **{"color": color, **line})
    names = "multiplier λ", "J_c, discounted cost", "distance from the LP"
    for axis, name in zip(axes, names, strict=True):
        axis.set(xlabel="iteration", ylabel=name)
    axes[0].axhline(best.multipliers[0], color="black", linestyle="--", linewidth=1)
    axes[1].axhline(threshold, color=THRESHOLD, linestyle=(0, (1, 1)), linewidth=1.5)
    axes[2].set_yscale("log")


# ---- 00, 02, 05: flights and trainings


def sphere(axis, centre, radius, **style):
    """Draw a sphere on 3D axes."""
    u, v = np.mgrid[0 : 2 * np.pi : 24j, 0 : np.pi : 13j]
    ball = np.array([np.cos(u) * np.sin(v), np.sin(u) * np.sin(v), np.cos(v)])
    axis.plot_surface(*(radius * ball + np.reshape(centre, (3, 1, 1))), linewidth=0, **style)


def flight(axis, task, positions, obstacles, until=None):
    """Draw a flight on 3D axes: positions (T, N, 3) and obstacles (M, 3) in m, up to step `until`.

    Green ball: the goal; orange: obstacles, the pale shell is their safe distance.
    """
    until = len(positions) if until is None else until + 1
    for drone in range(positions.shape[1]):
        line = positions[:until, drone].T
        axis.plot(*line, color=REWARD, linewidth=1, linestyle=("-", "--", "-.", ":")[drone % 4])
    axis.plot(*positions[0].T, "o", color="white", markeredgecolor=REWARD, markersize=4)
    axis.plot(*positions[until - 1].T, "o", color=REWARD, markersize=5)
    sphere(axis, task.target, task.goal_radius, color=PRICE, alpha=0.2)
    for centre in obstacles:
        sphere(axis, centre, task.obstacle_radius, color=COST, alpha=0.9)
        sphere(axis, centre, task.obstacle_radius + task.d_safe, color=COST, alpha=0.07)
    low, high = np.minimum(task.start, task.target) - 3, np.maximum(task.start, task.target) + 3
    axis.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), zlim=(0, high[2] + 2))
    axis.set(xlabel="x (m)", ylabel="y (m)", zlabel="z (m)")
    axis.set_box_aspect((high[0] - low[0], high[1] - low[1], high[2] + 2))
    axis.view_init(elev=24, azim=-62)


def tracks(axis, positions, landmarks):
    """Draw an episode of navigation from above: positions (T, N, 2), landmarks (L, 2)."""
    for agent in range(positions.shape[1]):
        axis.plot(*positions[:, agent].T, color=REWARD, linestyle=("-", "--", "-.", ":")[agent % 4])
    axis.plot(*positions[0].T, "o", color="white", markeredgecolor=REWARD, markersize=5)
    for place in positions[-1]:
        axis.add_patch(plt.Circle(place, RADIUS, color=REWARD, alpha=0.4, linewidth=0))
    axis.plot(*landmarks.T, "x", color=THRESHOLD, markersize=7)
    axis.set(aspect="equal", xlabel="x", ylabel="y", xlim=(-1.4, 1.4), ylim=(-1.4, 1.4))


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


def read_log(path):
    """A CSV with a header → dict of float arrays (empty cells are NaN)."""
    table = np.genfromtxt(path, delimiter=",", names=True)
    return {name: np.atleast_1d(table[name]) for name in table.dtype.names}


def certificate(folder, seed=7):
    """The picture of a run: one held-out flight, and its training curves; a figure."""
    folder = Path(folder)
    policy = runs.load(folder)
    result = json.loads((folder / "result.json").read_text())
    kind = runs.kind_of(policy.task)
    env = runs.KINDS[kind][1](policy.task, 1, seed, autoreset=False)
    flown = rollout(policy.act, env, record=True)
    env.close()
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


def fly(policy, seed=0):
    """One episode as the task's camera sees it → list of PIL images, one a step."""
    env = runs.KINDS[runs.kind_of(policy.task)][2](policy.task, render_mode="rgb_array")
    observations, _ = env.reset(seed=seed)
    frames = [PIL.Image.fromarray(env.render())]
    while env.agents:
        observations, *_ = env.step(policy(observations))
        frames.append(PIL.Image.fromarray(env.render()))
    env.close()
    return frames
