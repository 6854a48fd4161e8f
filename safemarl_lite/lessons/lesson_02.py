"""Lesson 02, the swarm: flights as figures and as frames, and the checks of its exercises."""

from itertools import combinations

import matplotlib.pyplot as plt
import numpy as np
import PIL.Image

from .. import navigation, swarm
from ..evaluate import rollout
from ..swarm.task import formation, least_goal_radius
from .exercise import Slip, ask, exercise, expect
from .style import COST, NEUTRAL, PRICE, REWARD, figure, show_bars

DRONES = ("#0072B2", "#56B4E9", "#332288", "#CC79A7", "#7F7F7F")  # one colour a drone, and a line
LINES = ("-", "--", "-.", ":", (0, (5, 1)))


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
        line, look = positions[:until, drone].T, {"color": DRONES[drone % 5], "linewidth": 1.4}
        axis.plot(*line, linestyle=LINES[drone % 5], **look)
        axis.plot(*positions[0, drone], "o", color="white", markeredgecolor=DRONES[drone % 5])
        axis.plot(*positions[until - 1, drone], "o", color=DRONES[drone % 5], markersize=5)
    sphere(axis, task.target, task.goal_radius, color=PRICE, alpha=0.2)
    for centre in obstacles:
        sphere(axis, centre, task.obstacle_radius, color=COST, alpha=0.9)
        sphere(axis, centre, task.obstacle_radius + task.d_safe, color=COST, alpha=0.07)
    low, high = np.minimum(task.start, task.target) - 3, np.maximum(task.start, task.target) + 3
    axis.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), zlim=(0, high[2] + 2))
    axis.set(xlabel="x (m)", ylabel="y (m)", zlabel="z (m)")
    axis.locator_params(nbins=4)
    axis.set_box_aspect((high[0] - low[0], high[1] - low[1], high[2] + 2))
    axis.view_init(elev=24, azim=-62)


def fly(policy, seed=0):
    """One episode as the task's camera sees it → list of PIL images, one a step."""
    kinds = {"navigation": navigation.NavigationEnv, "treasure": navigation.TreasureEnv}
    env_type = kinds.get(policy.task.kind) or swarm.SwarmEnv  # only that one needs PyBullet
    env = env_type(policy.task, render_mode="rgb_array")
    observations, _ = env.reset(seed=seed)
    frames = [PIL.Image.fromarray(env.render())]
    while env.agents:
        observations, *_ = env.step(policy(observations))
        frames.append(PIL.Image.fromarray(env.render()))
    env.close()
    return frames


def frame_figure(frame, size=(8, 5.3)):
    """A camera's picture as a figure."""
    fig = plt.figure(figsize=size, layout="none")
    axis = fig.add_axes((0, 0, 1, 1))
    axis.imshow(frame)
    axis.axis("off")
    return fig


def show_scene(env):
    """Display what the camera of an environment sees now."""
    from ..swarm import camera  # lesson 06 uses this file without PyBullet

    fig = frame_figure(camera.picture(env.batch, 800, 530))
    figure(fig, "Five blue drones at the left, three orange spheres, green rings at the right")


def show_drops(drops):
    """Display falls: name → height (m) and spin (rad/s) at every tick, 1/240 s apart."""
    fig, axes = plt.subplots(1, 2, figsize=(9, 2.8))
    for (name, drop), shade, line in zip(drops.items(), (REWARD, COST), ("-", "--"), strict=True):
        for axis, values in zip(axes, drop, strict=True):
            seconds = np.arange(1, len(values) + 1) / 240
            axis.plot(seconds, values, color=shade, linestyle=line, label=name)
    axes[0].set(xlabel="time (s)", ylabel="height (m)")
    axes[1].set(xlabel="time (s)", ylabel="spin (rad/s)")
    axes[1].legend(title="the force acts at")
    figure(fig, "Height and spin of a box in its first second under the strongest upward action")


def show_packings(d):
    """Display the tightest places of two to five drones `d` apart, each in its ball."""
    fig = plt.figure(figsize=(10, 3), layout="none")
    for at, k in enumerate((2, 3, 4, 5)):
        axis = fig.add_axes((at / 4, 0, 0.25, 0.9), projection="3d")
        points, radius = formation(k, d), least_goal_radius(k, d)
        sphere(axis, (0, 0, 0), radius, color=PRICE, alpha=0.15)
        for pair in combinations(points, 2):
            if np.linalg.norm(pair[0] - pair[1]) < d + 1e-6:
                axis.plot(*np.array(pair).T, color=REWARD, linewidth=1)
        axis.plot(*points.T, "o", color=REWARD)
        axis.set(xlim=(-d, d), ylim=(-d, d), zlim=(-d, d), title=f"{k} drones: {radius:.3f} m")
        axis.set_box_aspect((1, 1, 1), zoom=1.9)
        axis.axis("off")
    figure(fig, "A pair, a triangle, a tetrahedron and a pyramid, each in the smallest ball")


def show_baselines(results, threshold):
    """Display success, discounted cost and violations of scripted pilots."""
    labels = ("share of flights that arrive", "discounted cost", "share with a violation")
    columns = zip(labels, zip(*results.values(), strict=True), (REWARD, COST, NEUTRAL), strict=True)
    panels = {label: (values, shade) for label, values, shade in columns}
    budget = labels[1], threshold, f"budget τ = {threshold:g}"
    show_bars(list(results), panels, "Success, cost, violations of four scripted pilots", budget)


def colleague(task, swarms, seed):
    """The colleague's environment: one line of it is changed."""
    from ..swarm.world import SwarmVectorEnv

    class Changed(SwarmVectorEnv):
        def _look(self):
            super()._look()
            self.seen = self.seen._replace(to_target=self.seen.to_target.min(-1, keepdims=True))

    return Changed(task, swarms, seed, autoreset=False)


def show_colleague(task, pilot, flights=200, seed=1):
    """Display the same pilot in the colleague's environment and in ours (dashed)."""
    fig, axes = plt.subplots(1, 2, figsize=(9, 3))
    worlds = colleague(task, flights, seed), task.vector_env(flights, seed, autoreset=False)
    for env, shade, line in zip(worlds, (COST, NEUTRAL), ("-", "--"), strict=True):
        with env:
            flown = rollout(pilot, env, record=True)
        end = flown["length"].astype(int)
        away = np.linalg.norm(flown["positions"] - task.target, axis=-1)[end, range(flights)]
        look = {"color": shade, "histtype": "step", "linestyle": line}
        axes[0].hist(task.dt * end, np.arange(4, 10.5, 0.25), **look)
        axes[1].hist(away.ravel(), np.arange(0, 13.5, 0.25), **look)
        name = "theirs" if shade == COST else "ours"
        axes[0].annotate(name, (np.median(task.dt * end) + 0.5, 62), color=shade)
    axes[0].set(xlabel="duration of a flight (s)", ylabel="flights")
    axes[1].set(xlabel="distance to the target at the end (m)", ylabel="drones")
    axes[1].axvline(task.goal_radius, color=PRICE, linewidth=1)
    axes[1].annotate("goal radius", (task.goal_radius + 0.1, 200), color=PRICE, fontsize=9)
    figure(fig, "Durations, and distances at the end, of a pilot's flights in two environments")


@exercise("2.1")
def check_drone_costs(rng, drone_costs):
    """Positions (N, 3), d_safe → c_drones, one number for the swarm."""
    cases = [(rng.uniform(0, 5, (n, 3)), rng.uniform(1, 4)) for n in rng.integers(4, 10, 20)]
    given = [ask(drone_costs, *case) for case in cases]
    if any(np.shape(number) != () for number in given):
        shape = np.shape(given[0])
        raise Slip(f"c_drones is one number for the swarm, yours has shape {shape}.")
    n = np.array([len(x) for x, _ in cases])

    def counted(close):  # close(x, d_safe) → (N, N) bool
        return np.array([close(*case).sum() for case in cases]) - n

    def close(x, d_safe):
        return np.linalg.norm(x[:, None] - x, axis=-1) < d_safe

    right, near = counted(close), [2 * close(*case).diagonal(1).sum() for case in cases]
    fixed, flat = counted(lambda x, _: close(x, 2.0)), counted(lambda x, d: close(x[:, :1], d))
    slips = {
        "half of what is expected: the formula counts (i, j) and (j, i).": right / 2,
        "every drone is counted as its own neighbour: j ≠ i.": right + n,
        "2.0 is written into the code: d_safe is an argument.": fixed,
        "only consecutive drones are compared: take every pair.": near,
        "x alone is compared: a distance has three coordinates.": flat,
    }
    expect(given, right, slips)
    edge = ask(drone_costs, np.array([[0.0, 0, 0], [2.0, 0, 0]]), 2.0)
    expect(edge, 0, {"exactly d_safe apart is safe: the inequality is strict.": 2})


@exercise("2.2")
def check_goal_radius(rng, goal_radius):
    """The least radius of a disc for k ≤ 5 robots on the ground, d apart."""
    k, d = np.array([2, 3, 4, 5, 5]), rng.uniform(1, 4, 5)
    right = d / (2 * np.sin(np.pi / k))
    ball = [least_goal_radius(*case) for case in zip(k, d, strict=True)]
    whole = d / 2 / np.sin(2 * np.pi / k)
    slips = {
        "It must grow with d: multiply by d.": right / d,
        "That is the diameter.": 2 * right,
        "That is the ball of the table: on the ground there is no height.": ball,
        "Neighbours are 2π/k apart, and half of that angle spans d/2.": whole,
    }
    expect([ask(goal_radius, *case) for case in zip(k.tolist(), d, strict=True)], right, slips)


@exercise("2.3")
def check_is_feasible(rng, is_feasible):
    """Task fields → True or False, never an exception."""
    n = int(rng.integers(2, 6))
    least = least_goal_radius(n, swarm.SwarmTask.d_safe)
    cases = [({}, True), ({"max_thrust": rng.uniform(3, 4)}, False),
             ({"n_drones": n, "goal_radius": least * rng.uniform(0.3, 0.9)}, False),
             ({"n_drones": n, "goal_radius": least * rng.uniform(1.1, 1.3)}, True),
             ({"horizon": int(rng.integers(2, 9))}, False)]  # fmt: skip
    for at in rng.permutation(len(cases)):
        fields, right = cases[at]
        try:
            given = is_feasible(**fields)
        except ValueError as error:
            raise Slip(f"is_feasible({fields}) raised {type(error).__name__}: catch it.") from None
        if given is not right:
            raise Slip(f"is_feasible({fields}) should be {right}, got {given!r}.")


@exercise("2.4")
def check_least_time(rng, least_time):
    """least_time(distance, acceleration, drag) → s, from rest at full thrust against drag."""
    D, a, k = rng.uniform(2, 9, 4), rng.uniform(4, 9, 4), rng.uniform(0.5, 1.5, 4)

    def when(way):  # the t at which way(t, a, k), which grows, equals D
        low, high = np.zeros(4), np.full(4, 1e3)
        for _ in range(80):
            middle = (low + high) / 2
            far = way(middle, a, k) >= D
            low, high = np.where(far, low, middle), np.where(far, middle, high)
        return high

    def way(t, a, k, sign=-1):
        return a / k * t + sign * a / k**2 * (1 - np.exp(-k * t))

    slips = {
        "That is without drag: D = a t²/2.": (2 * D / a) ** 0.5,
        "Top speed from the start: that is the bound of `SwarmTask`, from below.": D * k / a,
        "e^{−kt} is missing: it has not died out yet on so short a way.": D * k / a + 1 / k,
        "The time to get up to speed is lost, not gained: its sign in x(t).": when(
            lambda *x: way(*x, sign=1)
        ),
        "That is the speed's own time scale, 1/k, alone.": 1 / k,
    }
    cases = zip(D.tolist(), a.tolist(), k.tolist(), strict=True)
    expect([ask(least_time, *case) for case in cases], when(way), slips)
