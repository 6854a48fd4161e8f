"""Lesson 02, the swarm: flights as figures and as frames, and the checks of its exercises."""

import numpy as np
import PIL.Image

from ..navigation import NavigationEnv
from ..swarm import SwarmEnv
from .exercise import run
from .style import COST, PRICE, REWARD


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


def fly(policy, seed=0):
    """One episode as the task's camera sees it → list of PIL images, one a step."""
    env_type = SwarmEnv if policy.task.kind == "swarm" else NavigationEnv
    env = env_type(policy.task, render_mode="rgb_array")
    observations, _ = env.reset(seed=seed)
    frames = [PIL.Image.fromarray(env.render())]
    while env.agents:
        observations, *_ = env.step(policy(observations))
        frames.append(PIL.Image.fromarray(env.render()))
    env.close()
    return frames


def check_drone_costs(drone_costs):
    """Exercise 2.1: positions (N, 3), d_safe → c_drones, one number for the swarm."""

    def check():
        line = np.array([[0.0, 0, 0], [1.5, 0, 0], [3.0, 0, 0], [9.0, 0, 0]])
        given = drone_costs(line, 2.0)
        if np.shape(given) != ():
            return f"c_drones is one number for the whole swarm, yours has shape {np.shape(given)}."
        slips = {2: "half of what is expected: the formula counts (i, j) and (j, i).",
                 8: "every drone is counted as its own neighbour: j ≠ i.",
                 0: "nothing is counted: is the inequality the right way round?"}  # fmt: skip
        if given != 4:
            return slips.get(given, f"two pairs are 1.5 m apart, so 4 is expected; got {given}.")
        edge = drone_costs(np.array([[0.0, 0, 0], [2.0, 0, 0]]), 2.0)
        return None if edge == 0 else "exactly d_safe apart is safe: the inequality is strict."

    run("Exercise 2.1", check)


def check_goal_radius(goal_radius):
    """Exercise 2.2: the least goal radius for four drones, as a function of d."""

    def check():
        given = goal_radius(2.0)
        if np.isclose(given, 2.0 * (3 / 8) ** 0.5):
            return None if np.isclose(goal_radius(1.0), (3 / 8) ** 0.5) else "it must scale with d."
        if np.isclose(given, 2**0.5):
            return "that is a flat square of side d: the tetrahedron is smaller."
        if np.isclose(given, (3 / 8) ** 0.5):
            return "that is for edge 1: multiply by d."
        return f"expected about 1.2247 for d = 2, got {given}."

    run("Exercise 2.2", check)


def check_is_feasible(is_feasible):
    """Exercise 2.3: task fields → True or False, never an exception."""

    def check():
        cases = [({}, True), ({"goal_radius": 1.0}, False), ({"max_thrust": 4.0}, False),
                 ({"n_drones": 2, "goal_radius": 1.0}, True), ({"horizon": 5}, False)]  # fmt: skip
        for fields, right in cases:
            try:
                given = is_feasible(**fields)
            except ValueError as error:
                return f"is_feasible({fields}) raised {type(error).__name__}: catch it."
            if given is not right:
                return f"is_feasible({fields}) should be {right}, got {given!r}."

    run("Exercise 2.3", check)
