"""The numbers that lesson 05 quotes, and where each comes from."""

import json
import re
from functools import cache
from pathlib import Path

import numpy as np

from safemarl_lite.evaluate import LEVEL
from safemarl_lite.lessons import any_swarm, style
from safemarl_lite.mappo import MAPPOConfig
from safemarl_lite.runs import CERTIFICATE_SEED
from safemarl_lite.swarm import SwarmTask
from safemarl_lite.swarm.view import NEAR

ROOT = Path(__file__).parents[2]
CELLS = json.loads((ROOT / "notebooks/05_training_mappo_lagrangian.ipynb").read_text())["cells"]
SOURCE = {cell["id"]: "".join(cell["source"]) for cell in CELLS}
TASK, CONFIG = SwarmTask(), MAPPOConfig()


@cache
def read(name):
    return json.loads((ROOT / f"figures/{name}.json").read_text())


def ten(name):
    """A field of the ten seeds' certificates."""
    return [row[name] for row in read("05_ten_seeds")["seeds"].values()]


def fresh(name, certified=None):
    """A field of the ten on fresh flights, or of those of them that are certified, or not."""
    rows = read("05_ten_seeds")["fresh"]["seeds"].values()
    return [row[name] for row in rows if certified in (None, row["certified"])]


def dearest(seed):
    """The largest cost of a flight of the ten on fresh flights."""
    return read("05_ten_seeds")["fresh"]["seeds"][seed]["dearest"]


def shipped(name):
    """A field of the shipped run on fresh flights."""
    return read("05_ten_seeds")["fresh"]["seeds"]["2016"][name]


def needed(name):
    """Flights that a bound needs, by the share that violates."""
    return np.array(list(read("05_ten_seeds")["episodes_needed"][name].values()))


def last(name, field="discounted_cost"):
    """What the last policy of a training does."""
    cell = read("05_results")[name][field]
    return cell["mean"] if isinstance(cell, dict) else cell


def broken(name, field, group="task"):
    return read("05_generalisation")[group][name][field]


def drawn(pilot, n, name, part="moving"):
    """Share of the flights of drawn tasks."""
    return any_swarm.share(read("any_swarm")["drawn"][pilot][str(n)], part, name)[0]


def agent(pilot, n):
    """Share of the drones that arrive without a violation."""
    return read("any_swarm")["drawn"][pilot][str(n)]["all"]["agent"][0]


def other(name, field, group="beyond"):
    """Share of the flights of a task that was not trained on."""
    return read("any_swarm")[group]["learned"][name]["all"][field][0]


def pooled(pool, head):
    """Mean share of the variance that a critic explains; head 0: reward, 1: cost."""
    return np.mean(read("05_pooling")["explained"][pool], 0)[head]


def trained():
    """Task and settings of the policy for any swarm."""
    return json.loads((ROOT / "figures/runs/swarm_any/config.json").read_text())


def solved(cell, call):
    """What the folded solution in a cell answers."""
    names = {"np": np}
    exec(re.search(r"```python\n(.*?)```", SOURCE[cell], re.S)[1], names)
    return eval(call, names)


def flights():
    (count,) = {
        result["episodes"] for name in ("05_results", "05_seeds") for result in read(name).values()
    }
    return count


QUOTED = {
    "train-00": {
        "0.1": lambda: TASK.threshold,
        "128": lambda: max(map(int, read("any_swarm")["drawn"]["learned"])),
    },
    "train-03": {
        "100": lambda: TASK.horizon,
        "80 %": lambda: CONFIG.skill,
        "60": lambda: CONFIG.hold,
        "0.1": lambda: TASK.threshold if CONFIG.multiplier_start == 0.1 else None,
        "0.5": lambda: CONFIG.multiplier_rate if NEAR == 0.5 else None,
        "48": lambda: CONFIG.num_envs,
        "0.08": lambda: 4 / CONFIG.num_envs,
        "0.098": lambda: CONFIG.tighten,
        "0.002": lambda: TASK.threshold - CONFIG.tighten,
        "0.2": lambda: CONFIG.std_end,
        "20": lambda: CONFIG.multiplier_most,
        "32": lambda: CONFIG.rehearsed,
        "15": lambda: 100 * TASK.obstacle_buffer,
    },
    "train-08": {
        "0.1": lambda: 0.1,  # given
        "10": lambda: 10,  # given
        "0.9": lambda: 0.9,  # given
        "130": lambda: len(style.read_log(ROOT / "figures/05_lagrangian.csv")["env_steps"]),
        "128": lambda: (
            style.read_log(ROOT / "figures/05_lagrangian.csv")["env_steps"][0] / TASK.horizon
        ),
        "30": lambda: 30,  # given
        "0.08": lambda: 0.08,  # given
    },
    "train-14": {
        "2,000": flights,
        "0.1": lambda: 0.1,  # given
        "99 %": lambda: LEVEL,
        "10": lambda: TASK.cost_cap,
        "2,219": lambda: TASK.cost_most,
    },
    "train-17": {
        "99 %": lambda: LEVEL,
        "0.1": lambda: TASK.threshold,
        "10": lambda: TASK.cost_cap,
        "500": lambda: float(re.search(r"episodes=(\d+)", SOURCE["train-16"])[1]),
        "0.105": lambda: TASK.cost_cap * (1 - 0.005 ** (1 / 500)),
        "0.25": lambda: 7 * 10 * np.log(200) / (3 * 499),
        "0.078": lambda: json.loads((ROOT / "figures/runs/swarm/result.json").read_text())[
            "discounted_cost"
        ]["upper99"],
        "2,000": lambda: json.loads((ROOT / "figures/runs/swarm/result.json").read_text())[
            "episodes"
        ],
        "53": lambda: style.read_log(ROOT / "figures/05_lagrangian.csv")["cost"][0],
    },
    "train-ten": {
        "0.5 %": lambda: 0.005,  # given
        "1.0 %": lambda: 0.01,  # given
        "2,000": flights,
        "12345": lambda: CERTIFICATE_SEED,
        "99 %": lambda: LEVEL,
        "10,000": lambda: shipped("flights"),
    },
    "train-21": {
        "0.019": lambda: min(fresh("upper99")),
        "0.097": lambda: max(fresh("upper99", certified=True)),
        "0.138": lambda: min(fresh("upper99", certified=False)),
        "10.5": lambda: dearest("2020"),
        "0.0074": lambda: shipped("cost"),
        "10": lambda: TASK.cost_cap,
        "22": lambda: shipped("violations") * shipped("flights"),
        "10,000": lambda: shipped("flights"),
        "51": lambda: min(ten("contacts")),
        "8,150": lambda: max(ten("contacts")),
        "99 %": lambda: LEVEL,
        "2,000": lambda: flights(),
        "100": lambda: float(re.search(r"2000 if TRAIN else (\d+)", SOURCE["train-live"])[1]),
        "32": lambda: float(re.search(r"num_envs=(\d+)", SOURCE["train-live"])[1]),
        "98.9 %": lambda: min(fresh("success")),
        "99.2 %": lambda: read("05_seeds")["scripted pilot"]["success_rate"],
    },
    "train-breaks-answer": {
        "200": lambda: read("05_generalisation")["flights"],
        "1.6": lambda: 1.6,  # given
        "0.6": lambda: 0.6,  # given
        "99.0 %": lambda: other("8 obstacles", "clean", "rows"),
        "0 %": lambda: other("goal radius 1.6 m", "success", "rows"),
        "22": lambda: len(read("any_swarm")["rows"]["learned"]),
        "15": lambda: sum(
            row["all"]["success"][0] == row["all"]["clean"][0] == 1
            for row in read("any_swarm")["rows"]["learned"].values()
        ),
        "46.5 %": lambda: broken("goal radius 1.6 m", "success"),
        "71.5 %": lambda: broken("drones of 0.6 kg", "success"),
        "95.5 %": lambda: broken("8 drones", "success", "N"),
        "93.5 %": lambda: broken("8 drones", "violations", "N"),
        "62.0 %": lambda: broken("8 drones, goal grown", "violations", "N"),
        "80.5 %": lambda: broken("start and target exchanged", "violations", "task"),
        "1.0 %": lambda: broken("8 obstacles", "violations", "task"),
        "8.5 %": lambda: broken("obstacles on both sides", "violations", "task"),
        "54.0 %": lambda: broken("target (10, 10, 12)", "violations", "task"),
    },
    "any-ask": {
        "13": lambda: trained()["task"]["n_drones"],
        "128": lambda: max(map(int, read("any_swarm")["drawn"]["learned"])),
        "110": lambda: trained()["config"]["iterations"],
        "22": lambda: trained()["config"]["num_envs"],
        "150": lambda: trained()["task"]["practice"],
        "6.5": lambda: trained()["task"]["apart"][1],
    },
    "any-answer": {
        "128": lambda: max(map(int, read("any_swarm")["drawn"]["learned"])),
        "95 %": lambda: 0.95,  # given
        "100 %": lambda: 1.0,  # given
        "32": lambda: 32,  # given
        "64": lambda: 64,  # given
        "16": lambda: 16,  # given
        "99 %": lambda: 0.99,  # given
        "91 %": lambda: 0.91,  # given
        "57 %": lambda: 0.57,  # given
        "0.1": lambda: TASK.threshold,
        "1,000": lambda: read("any_swarm")["drawn"]["learned"]["5"]["all"]["flights"],
        "200": lambda: read("any_swarm")["drawn"]["learned"]["64"]["all"]["flights"],
        "40": lambda: read("any_swarm")["drawn"]["by hand"]["64"]["all"]["flights"],
        "45 %": lambda: (
            sum(
                read("any_swarm")["drawn"]["learned"][n]["moving"]["flights"]
                for n in ("5", "8", "16", "32")
            )
            / 4000
        ),
        "99.8 %": lambda: drawn("learned", 16, "clean", "moving"),
        "98.4 %": lambda: drawn("learned", 32, "clean", "moving"),
        "95.1 %": lambda: drawn("learned", 128, "clean", "moving"),
        "98.9 %": lambda: drawn("by hand", 5, "clean", "moving"),
        "96.5 %": lambda: drawn("by hand", 8, "clean", "moving"),
        "98.8 %": lambda: drawn("learned, beside these", 8, "clean", "moving"),
        "98.7 %": lambda: drawn("by hand", 16, "clean", "moving"),
        "95.9 %": lambda: drawn("by hand", 32, "clean", "moving"),
        "99.0 %": lambda: drawn("learned, beside these", 32, "clean", "moving"),
        "13.3 %": lambda: drawn("straight", 5, "clean", "moving"),
        "0 %": lambda: drawn("straight", 128, "clean", "moving"),
        "91.1 %": lambda: drawn("pilot", 5, "clean", "moving"),
        "76.5 %": lambda: drawn("pilot", 128, "clean", "moving"),
        "75.0 %": lambda: drawn("cbf-qp", 5, "clean", "moving"),
        "37.5 %": lambda: drawn("cbf-qp", 128, "clean", "moving"),
        "0.037": lambda: json.loads((ROOT / "figures/runs/swarm_any/result.json").read_text())[
            "discounted_cost"
        ]["upper99"],
        "0.053": lambda: read("any_swarm")["drawn"]["learned"]["5"]["all"]["upper99"],
        "0.074": lambda: read("any_swarm")["drawn"]["learned"]["16"]["all"]["upper99"],
        "2,000": lambda: json.loads((ROOT / "figures/runs/swarm_any/result.json").read_text())[
            "episodes"
        ],
        "10": lambda: TASK.cost_cap,
        "92.5 %": lambda: drawn("learned, beside these", 128, "clean", "all"),
        "97.5 %": lambda: drawn("by hand", 128, "clean", "all"),
        "99.75 %": lambda: agent("learned", 128),
        "93.5 %": lambda: agent("cbf-qp", 8),
        "92.3 %": lambda: agent("cbf-qp", 128),
    },
    "any-beyond-text": {
        "1.5": lambda: 1.5,  # given
        "0.6": lambda: 0.6,  # given
        "0.66": lambda: 0.66,  # given
        "0.5": lambda: 0.5,  # given
        "2.9": lambda: 2.9,  # given
        "3.2": lambda: 3.2,  # given
        "99.5 %": lambda: other("obstacles at 1.5 to 3 m/s", "clean"),
        "100 %": lambda: other("drones of 0.6 to 0.66 kg", "clean"),
        "98.0 %": lambda: other("obstacles closer to each other", "clean"),
        "90.5 %": lambda: other("drones of 0.6 to 0.66 kg", "success"),
        "13": lambda: trained()["task"]["n_drones"],
        "64": lambda: float(re.search(r"n_drones=(\d+)", SOURCE["any-flight"])[1]),
        "0.02": lambda: pooled("nothing", 1),
        "0.32": lambda: pooled("mean", 1),
        "0.26": lambda: pooled("attention", 1),
        "0.51": lambda: pooled("sum", 1),
        "0.72": lambda: pooled("nothing", 0),
        "0.79": lambda: pooled("mean", 0),
        "0.62": lambda: pooled("sum", 0),
    },
    "train-26": {
        "80": lambda: CONFIG.eval_episodes / 10,
        "800": lambda: CONFIG.eval_episodes,
        "95 %": lambda: 0.95,  # given
        "98": lambda: CONFIG.iterations - CONFIG.eval_every,
        "112": lambda: CONFIG.iterations,
    },
    "train-last": {
        "20": lambda: CONFIG.multiplier_most,
    },
    "train-28": {
        "130": lambda: len(style.read_log(ROOT / "figures/05_lagrangian.csv")["env_steps"]),
    },
    "train-33": {
        "0.5": lambda: 0.5,  # given
    },
    "train-36": {
        "0.5": lambda: 0.5,  # given
        "20": lambda: 20,  # given
        "0.05": lambda: 0.05,  # given
        "11": lambda: 11,  # given
        "0.09": lambda: 0.09,  # given
        "14": lambda: 14,  # given
        "0.3": lambda: 0.3,  # given
        "0.1": lambda: TASK.threshold,
    },
    "train-39": {
        "152": lambda: solved("train-39", "my_episodes_needed(0.03, 0.99)"),
        "0.03": lambda: 0.03,  # given
        "99 %": lambda: LEVEL,
    },
    "train-end": {
        "0.9": lambda: 0.9,  # given
        "1.9": lambda: solved(
            "train-end", "my_episode_cost(np.ones((3, 1)), np.array([[0], [1], [0]]) > 0, 0.9)"
        ),
    },
}
