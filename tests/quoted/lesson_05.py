"""The numbers that lesson 05 quotes, and where each comes from."""

import json
import re
from functools import cache
from pathlib import Path

import numpy as np

from safemarl_lite.evaluate import LEVEL
from safemarl_lite.mappo import MAPPOConfig
from safemarl_lite.swarm import SwarmTask

ROOT = Path(__file__).parents[2]
CELLS = json.loads((ROOT / "notebooks/05_training_mappo_lagrangian.ipynb").read_text())["cells"]
SOURCE = {cell["id"]: "".join(cell["source"]) for cell in CELLS}
TASK, CONFIG = SwarmTask(), MAPPOConfig()


@cache
def read(name):
    return json.loads((ROOT / f"figures/05_{name}.json").read_text())


def five(name):
    """A field of the five seeds' certificates."""
    rows = [read("seeds")[f"seed {seed}"][name] for seed in range(5)]
    return [row["upper99"] if isinstance(row, dict) else row for row in rows]


def broken(name, field, group="task"):
    return read("generalisation")[group][name][field]


def solved(cell, call):
    """What the folded solution in a cell answers."""
    names = {"np": np}
    exec(re.search(r"```python\n(.*?)```", SOURCE[cell], re.S)[1], names)
    return eval(call, names)


def flights():
    (count,) = {
        result["episodes"] for name in ("results", "seeds") for result in read(name).values()
    }
    return count


QUOTED = {
    "train-00": {"0.1": lambda: TASK.threshold},
    "train-03": {
        "0.1": lambda: TASK.threshold,  # also the cap of the violation
        "100": lambda: TASK.horizon,
        "30": lambda: CONFIG.hold,
        "0.3": lambda: CONFIG.multiplier_start,  # also the growth and the exploration's end
        "0.5": lambda: CONFIG.multiplier_rate,
        "0.08": lambda: CONFIG.tighten,
    },
    "train-08": {
        "0.1": lambda: 0.1,  # given: the fixed penalty of figures/05_penalty_low.csv
        "10": lambda: 10,  # given: that of figures/05_penalty_high.csv
        "0.9": lambda: 0.9,  # given: the question's bar
        "130": lambda: CONFIG.iterations,
        "128": lambda: CONFIG.num_envs,
    },
    "train-11": {"130": lambda: CONFIG.iterations},
    "train-14": {
        "2,000": flights,
        "0.1": lambda: 0.1,  # given: as in train-08
        "10": lambda: 10,  # given: as in train-08
        "99 %": lambda: LEVEL,
    },
    "train-17": {
        "99 %": lambda: LEVEL,
        "2,000": flights,
        "500": lambda: float(re.search(r"episodes=(\d+)", SOURCE["train-16"])[1]),
    },
    "train-21": {
        "99 %": lambda: LEVEL,
        "2,000": flights,
        "0.024": lambda: min(five("discounted_cost")),
        "0.060": lambda: max(five("discounted_cost")),
        "99.2 %": lambda: read("seeds")["scripted pilot"]["success_rate"],
        "111": lambda: five("contacts")[2],
        "368": lambda: five("contacts")[3],
        "19": lambda: five("contacts")[4],
    },
    "train-breaks-answer": {
        "200": lambda: read("generalisation")["flights"],
        "44 %": lambda: broken("6 drones", "success", "N"),
        "4.5 %": lambda: broken("8 drones", "success", "N"),
        "27.5 %": lambda: broken("8 drones, goal grown", "success", "N"),
        "96.5 %": lambda: np.mean(
            [broken(x, "violations", "N") for x in ("8 drones", "8 drones, goal grown")]
        ),
        "8 %": lambda: broken("obstacles on both sides", "violations"),
        "0.5 %": lambda: broken("6 obstacles", "violations"),
        "56 %": lambda: broken("target (10, 10, 12)", "violations"),
    },
    "train-28": {"130": lambda: CONFIG.iterations},
    "train-33": {"0.5": lambda: 0.5},  # given: the example's rate
    "train-36": {  # given: the example's checkpoints and budget
        "0.5": lambda: 0.5, "20": lambda: 20, "0.05": lambda: 0.05, "11": lambda: 11,
        "0.09": lambda: 0.09, "14": lambda: 14, "0.3": lambda: 0.3, "0.1": lambda: TASK.threshold,
    },
    "train-39": {
        "152": lambda: solved("train-39", "my_episodes_needed(0.03, 0.99)"),
        "0.03": lambda: 0.03,  # given: the example's p
        "99 %": lambda: LEVEL,
    },
    "train-end": {
        "0.9": lambda: 0.9,  # given: the example's discount
        "1.9": lambda: solved(
            "train-end", "my_episode_cost(np.ones((3, 1)), np.array([[0], [1], [0]]) > 0, 0.9)"
        ),
    },
}  # fmt: skip
