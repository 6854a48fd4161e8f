"""The numbers that lesson 06 quotes, and where each comes from."""

import csv
import json
import re
from functools import cache
from pathlib import Path

import numpy as np

from safemarl_lite.evaluate import rollout
from safemarl_lite.lessons.lesson_06 import pilot
from safemarl_lite.macaac import MACAACConfig
from safemarl_lite.navigation import NavigationTask, NavigationVectorEnv, TreasureTask
from safemarl_lite.navigation.task import DAMPING, DT, RADIUS

ROOT = Path(__file__).parents[2]
CELLS = json.loads((ROOT / "notebooks/06_attention_actor_critic.ipynb").read_text())["cells"]
SOURCE = {cell["id"]: "".join(cell["source"]) for cell in CELLS}
TASK, CONFIG = NavigationTask(), MACAACConfig()
RESULTS = json.loads((ROOT / "figures/06_results.json").read_text())
SECOND = json.loads((ROOT / "figures/06_treasure.json").read_text())
ABLATION = json.loads((ROOT / "figures/06_ablation.json").read_text())
KINDS = "one scale", "one scale, long", "long"
SCALES = [f"{algo}, {kind}" for algo in ("macaac", "maac") for kind in KINDS]
COLUMNS = ("cost", "cost_discounted", "penalty", "episode_penalty")


def cost(algo):
    """Mean cost of a row."""
    return lambda: np.mean([run["cost"] for run in RESULTS[algo]])


def penalty(algo):
    """Mean penalty of a row."""
    return lambda: np.mean([run["penalty"] for run in RESULTS[algo]])


@cache
def careless():
    """Penalty of the script that looks ahead and cares for nobody, on the page's worlds."""
    return pilot(NavigationVectorEnv(TASK, 200, 3, autoreset=False), room=0.0)[1].mean()


@cache
def plateau():
    """Median cost of the long trainings between their iterations 40 and 80, both learners."""
    with (ROOT / "figures/06_training.csv").open() as file:
        rows = [
            row for row in csv.DictReader(file) if row["algo"] in ("macaac, long", "maac, long")
        ]
    iterations = [(int(row["episodes"]) / CONFIG.num_envs, float(row["cost"])) for row in rows]
    return np.median([cost for at, cost in iterations if 40 <= at <= 80])


def row_of(algo):
    """The table's row of a policy: mean (least to largest) of every column, two digits."""
    runs = RESULTS[algo]
    row = [algo, str(len(runs)) if algo not in ("random", "no-op") else "–"]
    for name in COLUMNS:
        x = [run[name] for run in runs]
        row.append(f"{np.mean(x):.2f}" + (f" ({min(x):.2f} to {max(x):.2f})" * (len(x) > 1)))
    return "| " + " | ".join(row) + " |"


def numbers_of_table():
    """Every number of the table → the mean, least or largest value that it prints."""
    found = {}
    for runs in RESULTS.values():
        for name in COLUMNS:
            x = [run[name] for run in runs]
            for value in (np.mean(x), min(x), max(x)):
                found[f"{value:.2f}"] = lambda value=value: value
    return {number: value for number, value in found.items() if len(number) > 1}


def printed_in_table():
    rows = [line for line in SOURCE["attention-39"].splitlines() if line.startswith("| ")]
    return set(re.findall(r"\d+\.\d\d", " ".join(rows)))


def steps_of_an_episode():
    """Discounted length of an episode."""
    return (1 - TASK.discount**TASK.horizon) / (1 - TASK.discount)


def ablated():
    """Least and largest values of the ablation's rows that the page prints."""
    printed = {
        ("relational", "no_episode_end", "cost"): 0,
        ("relational", "replayed_constraint", "lambda"): 1,
        ("relational", "corrected", "lambda"): 1,
        ("relational", "stale_multiplier", "lambda"): 1,
        ("relational", "wrong_entropy_sign", "entropy"): 2,
        ("relational", "corrected", "entropy"): 2,
        ("paper", "faithful", "lambda"): 1,
        ("paper", "faithful", "q_penalty"): 0,
        ("paper", "faithful", "penalty"): 1,
        ("paper", "stale_multiplier", "penalty"): 1,
        ("paper", "corrected", "penalty"): 1,
        ("paper", "no_episode_end", "penalty"): 1,
        ("paper", "corrected", "cost"): 0,
        ("paper", "no_episode_end", "cost"): 0,
    }
    found = {}
    for (view, switch, name), digits in printed.items():
        values = [run[name] for run in ABLATION[view][switch]]
        for value in (min(values), max(values)):
            found[f"{value:.{digits}f}"] = lambda value=value: value
    ends = ABLATION["paper"]["no_episode_end"]
    ratio = np.mean([run["q_penalty"] / run["penalty"] for run in ends])
    found = {number: value for number, value in found.items() if len(number) > 1}
    return found | {f"{ratio:.1f}": lambda: ratio}


def solved(*arguments):
    """What the folded solution of exercise 6.4 answers."""
    names = {"np": np}
    exec(re.search(r"```python\n(def my_steps.*?)```", SOURCE["attention-79"], re.S)[1], names)
    return names["my_steps_allowed"](*arguments)


@cache
def still():
    """200 worlds of treasure collection in which nobody moves."""
    with TreasureTask().vector_env(200, 4, autoreset=False) as env:
        return rollout(lambda view: np.zeros(view.shape[:2], int), env)


def treasures():
    """Every number of the second task's table → the mean, least or largest value it prints."""
    found = {}
    for runs in SECOND.values():
        columns = [run["cost"] for run in runs], *zip(*(x["penalty"] for x in runs), strict=True)
        for digits, x in zip((1, 1, 2), columns, strict=True):
            for value in (np.mean(x), min(x), max(x)):
                found[f"{value:.{digits}f}".replace("-", "−")] = lambda value=value: value
    worst = max(run["cost"] for run in SECOND["macaac"])
    return found | {f"{worst:.0f}": lambda: worst}


def pushed():
    """How far one push brings a collector in the end."""
    return TreasureTask.thrust * DT**2 / DAMPING


def given(*numbers):
    """Plain givens: line numbers of the source's Algorithm 1, settings of the authors' program."""
    return {number: lambda number=number: float(number) for number in numbers}


QUOTED = {
    "attention-06": {"25": lambda: TASK.horizon},
    "attention-12": {"25": lambda: TASK.horizon},
    "attention-19": {
        **given("12", "13", "19", "20", "21", "24", "25", "26", "27", "28", "29", "30"),
        "0.2": lambda: 0.2,  # given: the example of the next cell
    },
    "attention-21": given("26", "27"),
    "attention-23": given("28"),
    "attention-25": given("25", "28"),
    "attention-32": given("29", "30"),
    "attention-34": {"1,000": lambda: RESULTS["macaac"][0]["episodes"]},
    "pilots-text": {"25": lambda: TASK.action_size**2},
    "attention-39": {
        **{k: v for k, v in numbers_of_table().items() if k in printed_in_table()},
        "1,000": lambda: RESULTS["macaac"][0]["episodes"],
        f"{cost('maac')():.1f}": cost("maac"),
        f"{cost('macaac')():.1f}": cost("macaac"),
    },
    "scale": {
        **{f"{cost(x)():.1f}": cost(x) for x in SCALES},
        **{f"{penalty(x)():.1f}": penalty(x) for x in ("maac", "maac, long")},
        "5.8": careless,
        "28": plateau,
        "95 %": lambda: 0.95,
        # settings: `LONG` and `LONGEST` in tests/benchmarks/lesson_06_runs.py
        **given("200", "312"),
    },
    "views-text": {
        "59.3": cost("paper view, one scale, long"),
        f"{cost('paper view')():.1f}": cost("paper view"),
    },
    "attention-44": {"0.15": lambda: RADIUS},
    "switches": {
        "25": lambda: TASK.horizon,
        **given("20", "40", "0.01", "1e-5"),  # 40 iterations: tests/benchmarks/ablation.py
    },
    "attention-64": {
        "25": lambda: TASK.horizon,
        "4.5": lambda: (1 - TASK.discount) ** -1 / steps_of_an_episode(),
        **ablated(),
    },
    "treasure-table": {
        **treasures(),
        "95 %": lambda: 0.95,
        "12": lambda: TreasureTask().thresholds[0],
        "0.2": lambda: TreasureTask().thresholds[1],
        "43": lambda: -float(still()["reward"].mean()),
        "0.09": pushed,
        "0.009": lambda: 0.1 * pushed(),
        "12.7": lambda: (1 - 0.99 ** TreasureTask().horizon) / 0.01 / 5,
    },
    "treasure": {"100": lambda: TreasureTask().horizon},
    "attention-67": given("26", "27"),
    "attention-73": given("28"),
    "attention-79": {
        "0.75": lambda: solved(3.0, 0.99, 25, 0.0, 5),
        "0.35": lambda: solved(3.0, 0.99, 25, 0.01, 5),
        "0.99": lambda: TASK.discount,
        "25": lambda: TASK.horizon,
        **given("0.01"),
    },
}
