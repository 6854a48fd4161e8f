"""Any swarm, the last part of lesson 05 (and a preview in 02): its figures."""

from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
from scipy import stats

from ..evaluate import rollout
from ..swarm.tasks import AWAY
from . import scenes
from .lesson_02 import sphere
from .lesson_05 import drawn_task
from .style import COST, NEUTRAL, PRICE, REWARD, figure

PILOTS = {  # name in the file → name in the figure, colour, marker, line
    "learned": ("learned", "#0072B2", "o", "-"),
    "by hand": ("same directions, by hand", "#332288", "s", "--"),
    "pilot": ("pilot of lesson 02", "#E69F00", "^", "-."),
    "cbf-qp": ("CBF-QP filter", "#CC79A7", "D", ":"),
    "straight": ("straight", "#7F7F7F", "v", (0, (5, 1))),
}
SHARES = {"clean": "flights without a violation", "success": "flights that arrive"}
TICKS = (0, 0.5, 0.8, 0.9, 0.95, 0.98, 1)


def share(row, part, name):
    """Share of the flights and its 95 % band; part: "all", "moving", or "still", their difference.

    Counts are whole, so that the difference is exact; bands are Clopper and Pearson's.
    """
    counts = {p: round(row[p]["flights"] * row[p][name][0]) for p in ("all", "moving")}
    flights = {p: row[p]["flights"] for p in ("all", "moving")}
    for found in counts, flights:
        found["still"] = found["all"] - found["moving"]
    band = stats.binomtest(counts[part], flights[part]).proportion_ci()
    return counts[part] / flights[part], band.low, band.high


def show_sizes(table, panels, pilots=tuple(PILOTS)):
    """Display shares against the number of drones; panels: (name in SHARES, part, title), …"""
    fig, axes = plt.subplots(1, len(panels), figsize=(2.6 + 3.4 * len(panels), 3.6), sharey=True)
    sizes, (first, *_) = [int(n) for n in table["drawn"]["learned"]], np.atleast_1d(axes)
    for axis, (name, part, title) in zip(np.atleast_1d(axes), panels, strict=True):
        for k, pilot in enumerate(pilots):
            label, shade, marker, line = PILOTS[pilot]
            rows = [share(row, part, name) for row in table["drawn"][pilot].values()]
            middle, low, high = np.array(rows).T
            at = np.array(sizes) * 1.03 ** (k - len(pilots) / 2)  # side by side
            look = {"marker": marker, "linestyle": line, "color": shade, "clip_on": False}
            axis.plot(at, middle, label=label if axis is first else None, **look)
            axis.vlines(at, low, high, color=shade, alpha=0.5, linewidth=3)
        axis.set_xscale("log", base=2)
        axis.set_xticks(sizes, sizes)
        axis.set_yscale("function", functions=(stretched, lambda y: 1.01 - 10.0**-y))
        axis.set_yticks(TICKS, [f"{x:.0%}" for x in TICKS])
        axis.set(xlabel="drones", ylabel=SHARES[name], title=title, ylim=(0, 1))
    fig.legend(loc="outside upper center", ncols=len(pilots))
    what = " and ".join(SHARES[name] for name in dict.fromkeys(panel[0] for panel in panels))
    figure(fig, f"Share of {what} against the number of drones, a curve a pilot, with bands")


def stretched(p):
    """An axis for shares in which 90 %, 99 % and 100 % are told apart."""
    return -np.log10(np.maximum(1.01 - np.asarray(p, float), 1e-6))


def show_moments(policy, seed, moments=(0.15, 0.5, 0.8)):
    """Display a flight of a drawn task at three moments; obstacles move."""
    task = replace(policy.task, moving=1.0)
    with task.vector_env(1, seed, autoreset=False) as env:
        flown = rollout(policy.act, env, record=True)
        drift, goal = env.drift[0], drawn_task(env)
    path, last = flown["positions"][:, 0], int(flown["length"][0])
    there = flown["obstacles"][0, :, 2] < AWAY
    fig = plt.figure(figsize=(11, 3.4), layout="none")
    for k, step in enumerate(int(x * last) for x in moments):
        axis = fig.add_axes((k / 3, 0, 0.33, 0.92), projection="3d")
        balls = flown["obstacles"][0] - (last - step) * task.dt * drift
        for centre, speed in zip(balls[there], drift[there], strict=True):
            sphere(axis, centre, task.obstacle_radius, color=COST, alpha=0.9)
            axis.quiver(*centre, *2 * speed, color=COST, linewidth=1.5)
        sphere(axis, goal.target, goal.goal_radius, color=PRICE, alpha=0.15)
        for drone in path[max(0, step - 10) : step + 1].swapaxes(0, 1):
            axis.plot(*drone.T, color=REWARD, linewidth=0.8, alpha=0.6)
        axis.plot(*path[step].T, "o", color=REWARD, markersize=2.5)
        every = np.concatenate([path[0], path[last]])
        low, high = every.min(0) - 1, every.max(0) + 1
        way = np.subtract(goal.target, goal.start) * (1, 1, 0)
        base = np.multiply(goal.start, (1, 1, 0))
        bar = np.array([base, base + 10 * way / np.linalg.norm(way)])
        axis.plot(*bar.T, color=NEUTRAL)
        axis.text(*bar.mean(0) - [0, 0, 1], "10 m on the ground", fontsize=9, va="top", ha="center")
        axis.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), zlim=(0, high[2]))
        axis.set_box_aspect((*(high - low)[:2], high[2]), zoom=1.1)
        axis.view_init(elev=18, azim=np.degrees(np.arctan2(way[1], way[0])) - 90)
        axis.set_title(f"after {step * task.dt:.0f} s", y=0.97)
        axis.set_axis_off()
    figure(fig, f"{task.n_drones} drones fly past moving orange spheres into a green ball")


def flown(policy, seed, title=""):
    """A flight of a drawn task whose obstacles move → the data of the live picture."""
    task = replace(policy.task, moving=1.0)
    with task.vector_env(1, seed, autoreset=False) as env:
        one = rollout(policy.act, env, record=True) | {"drift": env.drift[0]}
        drawn = {"target": env.targets[0, 0], "goal_radius": float(env.goal_radius[0, 0])}
    return scenes.flight(task, {title: one}) | drawn


def show_rows(before, after):
    """Display other tasks: the specialist (hollow) and the policy for any swarm (filled)."""
    rows = {**before["N"], **before["task"]}
    fig, axes = plt.subplots(1, 2, figsize=(10, 6), sharey=True)
    for axis, name, shade in zip(axes, ("success", "clean"), (REWARD, COST), strict=True):
        for at, (row, old) in enumerate(rows.items()):
            was = old["success"] if name == "success" else 1 - old["violations"]
            now = after[row]["all"][name][0]
            axis.plot([was, now], [at, at], color=NEUTRAL, linewidth=1, zorder=1)
            axis.plot(was, at, "o", color=shade, fillstyle="none")
            axis.plot(now, at, "o", color=shade)
        axis.axhline(len(before["N"]) - 0.5, color=NEUTRAL, linewidth=1)
        axis.set(xlabel=SHARES[name], xlim=(-0.03, 1.03), ylim=(len(rows) - 0.5, -0.5))
    for name, fill in ("the specialist", "none"), ("the policy for any swarm", "full"):
        axes[0].plot([], [], "o", color=NEUTRAL, fillstyle=fill, label=name)
    fig.legend(loc="outside upper center", ncols=2)
    axes[0].set_yticks(range(len(rows)), rows)
    figure(fig, f"Arrivals and clean flights of two policies on {len(rows)} other tasks")
