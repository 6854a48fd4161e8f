"""The numbers that lesson 02 quotes, and where each comes from."""

import json
import re
from functools import cache
from pathlib import Path

import numpy as np

from safemarl_lite.evaluate import rollout
from safemarl_lite.lessons import any_swarm, lesson_02
from safemarl_lite.swarm import SwarmTask
from safemarl_lite.swarm.task import drone_costs, least_goal_radius, obstacle_costs

ROOT = Path(__file__).parents[2]
CELLS = json.loads((ROOT / "notebooks/02_swarm_environment.ipynb").read_text())["cells"]
SOURCE = {cell["id"]: "".join(cell["source"]) for cell in CELLS}
TASK = SwarmTask()


def made_in(*cells, **names):
    """The names that cells of the page define."""
    for cell in cells:
        exec(SOURCE[cell].replace("%matplotlib inline", ""), names)
    return names


@cache
def drop(at_centre):
    page = made_in("swarm-01", "swarm-05")
    return page["drop"]([0, 0, 1], None if at_centre else [0, 0, 0])


@cache
def flown(changed):
    """The pilot's flights of the silent bug: mean return, longest distance at the end."""
    pilot = made_in("swarm-29", np=np)["pilot"]
    env = lesson_02.colleague(TASK, 200, 1) if changed else TASK.vector_env(200, 1, autoreset=False)
    with env:
        out = rollout(pilot, env, record=True)
    assert not changed or (out["success"].all() and not out["discounted"].any())
    end = out["positions"][out["length"].astype(int), range(200)]
    return out["reward"].mean(), np.linalg.norm(end - TASK.target, axis=-1).max()


def start():
    return np.array([[i, i, 1.0] for i in range(5)]), np.tile([3.0, 3.0, 1.0], (3, 1))


def cost_at_start(reach):
    positions, obstacles = start()
    return drone_costs(positions, 2.0).sum() + obstacle_costs(positions, obstacles, reach).sum()


def table():
    return json.loads((ROOT / "figures/05_generalisation.json").read_text())


def read(name):
    return json.loads((ROOT / f"figures/{name}.json").read_text())


def drawn(pilot, n):
    """Share of clean flights of drawn tasks with obstacles that move."""
    return any_swarm.share(read("any_swarm")["drawn"][pilot][str(n)], "moving", "clean")[0]


def in_code(cell, pattern):
    """A number that stands in a cell's code."""
    return float(re.search(pattern, SOURCE[cell])[1])


inertia = 0.5 * 0.4**2 / 6  # kg·m² of a cube of 0.5 kg and 0.4 m, as `drop` makes it
torque = float(np.linalg.norm(np.cross([-3, -3, -10], [0, 0, 1])))
QUOTED = {
    "swarm-04": {"0.5": lambda: TASK.mass, "10": lambda: in_code("swarm-05", r"3, 3, (\d+)\]")},
    "swarm-08": {
        "4.905": lambda: 0.5 * 9.81,
        "4.9": lambda: 9.81 / 2,
        "0.2": lambda: drop(True)[0, -1] - (10 - (9.81 - 2) / 2),
        "4.2": lambda: torque,
        "0.013": lambda: inertia,
        "318": lambda: torque / inertia,
        "89": lambda: drop(False)[1, -1],
    },
    "swarm-12": {"11": lambda: cost_at_start(1.0), "20": lambda: cost_at_start(3.0)},
    "swarm-15": {"2.5": lambda: TASK.goal_radius},
    "swarm-exercise-1-help": {"1.5": lambda: 1.5},  # given: the drones of the example
    "swarm-23": {
        "1.7013": lambda: 2 / (2 * np.sin(np.pi / 5)),
        "1.4142": lambda: least_goal_radius(5, 2.0),
    },
    "swarm-28": {
        "100": lambda: TASK.horizon,
        "3.8": lambda: in_code("swarm-29", r"np.clip\(([\d.]+) - np.linalg"),
        "0.4": lambda: in_code("swarm-29", r"\+ ([\d.]+) \* np.minimum\(closing"),
        "250": lambda: in_code("swarm-30", r"episodes=(\d+)"),
        "49": lambda: TASK.view_size,
        "95.5 %": lambda: table()["N"]["8 drones"]["success"],
        "93.5 %": lambda: table()["N"]["8 drones"]["violations"],
        "200": lambda: table()["flights"],
    },
    "swarm-34": {"250": lambda: in_code("swarm-30", r"episodes=(\d+)")},
    "more-ask": {
        "13": lambda: read("runs/swarm_any/config")["task"]["n_drones"],
        "128": lambda: max(map(int, read("any_swarm")["drawn"]["learned"])),
    },
    "more-answer": {
        "100 %": lambda: 1.0,
        "95 %": lambda: 0.95,
        "128": lambda: 128,
        "95.1 %": lambda: drawn("learned", 128),
        "91.1 %": lambda: drawn("pilot", 5),
        "76.5 %": lambda: drawn("pilot", 128),
        "75.0 %": lambda: drawn("cbf-qp", 5),
        "37.5 %": lambda: drawn("cbf-qp", 128),
        "13.3 %": lambda: drawn("straight", 5),
        "0 %": lambda: drawn("straight", 128),
    },
    "swarm-37": {
        "200": lambda: lesson_02.show_colleague.__defaults__[0],
        "17.7": lambda: flown(True)[0],
        "22.0": lambda: flown(False)[0],
    },
    "swarm-39": {
        "13": lambda: flown(True)[1],
        "1.414": lambda: least_goal_radius(5, 2.0),
        "0.1": lambda: TASK.threshold,
        "2,000": lambda: 2000,  # given: what the project asks for
        "0.99": lambda: 0.99,  # given: likewise
    },
}
