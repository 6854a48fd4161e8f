"""The trainings that lesson 06 shows: its table, its curves, and the second task.

    python tests/benchmarks/lesson_06_runs.py [--runs runs/lesson_06] [--only maac …] [--seeds 0 1]

Each is `train navigation` or `train treasure` with the settings that its name says, from the seeds
that stand beside it; it goes to a folder of its own, so that a stopped series goes on. The
certificate is of 1,000 episodes. What is there is then gathered: of every name whose runs are
there, `figures/06_results.json` (its row of the table), `06_training.csv` (its curve) and
`06_treasure.json`.
"""

import argparse
import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from safemarl_lite import runs
from safemarl_lite.macaac import ON_TREASURE, MACAACConfig
from safemarl_lite.mappo import ON_NAVIGATION
from safemarl_lite.navigation import NavigationTask, TreasureTask

FIGURES = Path(__file__).parents[2] / "figures"
LEARNERS = "macaac", "maddpg-c", "maac"
RELATIONAL, PAPER = NavigationTask(), NavigationTask(view="paper")
FORCES, FIVE = NavigationTask(actions="continuous"), range(5)
RAW = {"critic_clock": True, "iterations": 64, "multiplier_rate": 0.04}
LONG = {"iterations": 200, "batch": 512, "buffer_episodes": 12_800, "temperature_end": 0.01}
LONGEST = LONG | {"zoom": False, "iterations": 312}
TRAININGS = {  # name → task, config, seeds
    **{algo: (RELATIONAL, MACAACConfig(algo=algo), FIVE) for algo in LEARNERS},
    "macaac, long": (RELATIONAL, MACAACConfig(**LONG), FIVE),
    "maac, long": (RELATIONAL, MACAACConfig(algo="maac", **LONG), FIVE),
    "macaac, one scale": (RELATIONAL, MACAACConfig(zoom=False), range(2)),
    "maac, one scale": (RELATIONAL, MACAACConfig(algo="maac", zoom=False), range(2)),
    **{
        f"{x}, one scale, long": (RELATIONAL, MACAACConfig(algo=x, **LONGEST), FIVE)
        for x in LEARNERS
    },
    "mappo-lagrangian": (FORCES, ON_NAVIGATION, FIVE),
    "mappo, λ = 0": (FORCES, replace(ON_NAVIGATION, algo="mappo"), range(1)),
    "paper view, entities": (PAPER, MACAACConfig(network="entities", **RAW), FIVE),
    "paper view": (PAPER, MACAACConfig(**RAW), range(2)),
    "paper view, one scale, long": (PAPER, MACAACConfig(**LONGEST), range(2)),
    "colleague": (RELATIONAL, MACAACConfig(multiplier_rate=1e-5, **LONGEST), range(3, 4)),
    **{f"treasure, {x}": (TreasureTask(), replace(ON_TREASURE, algo=x), FIVE) for x in LEARNERS},
}


def line(result):
    """A run's line of the table; of several constraints, lists."""
    found = {"cost": -result["return_mean"], "cost_discounted": -result["return_discounted"]}
    bounds = {"penalty": "mean", "upper95": "upper95", "upper99": "upper99"}
    for name, key in bounds.items():
        found[name] = [c[key] for c in result["constraints"]]
    if len(result["constraints"]) == 1:
        found |= {name: found[name][0] for name in bounds}
        found["episode_penalty"] = result["episode_cost"]["mean"]
    return found | {"episodes": result["episodes"]}


def curve(folder, envs, every=4):
    """Episodes, cost and penalty of a run, means over `every` iterations, and λ after them."""
    with (folder / "progress.csv").open() as file:
        log = list(csv.DictReader(file))
    for at in range(0, len(log) - every + 1, every):
        part = log[at : at + every]
        gain, penalty = (np.mean([float(row[x]) for row in part]) for x in ("return", "cost"))
        means = -gain, penalty, float(part[-1]["lambda_0"])
        yield [(at + every) * envs, *(f"{x:.4g}" for x in means)]


def prices(folder):
    """λ_1 … λ_m after each iteration of a run."""
    with (folder / "progress.csv").open() as file:
        rows = list(csv.DictReader(file))
    names = sorted(name for name in rows[0] if name.startswith("lambda_"))
    return {name: [round(float(row[name]), 3) for row in rows] for name in names}


def gather(folder):
    """Write what is there into the files of `figures/`, beside what they hold of other names."""
    table = json.loads((FIGURES / "06_results.json").read_text())
    treasure = FIGURES / "06_treasure.json"
    second = json.loads(treasure.read_text()) if treasure.exists() else {}
    with (FIGURES / "06_training.csv").open() as file:
        head, *rows = csv.reader(file)
    for name, (_, config, _) in TRAININGS.items():
        done = sorted(folder.glob(f"{name}-*/result.json"), key=lambda p: int(p.parent.name[-1]))
        if not done:
            continue
        results = [line(json.loads(path.read_text())) for path in done]
        if name.startswith("treasure"):
            both = zip(results, (prices(path.parent) for path in done), strict=True)
            second[name.removeprefix("treasure, ")] = [result | λ for result, λ in both]
        elif name != "colleague":
            table[name] = results
        if not name.startswith(("paper", "treasure", "mappo,")):
            rows = [row for row in rows if row[0] != name]
            for path in done:
                seed = path.parent.name[-1]
                rows += [[name, seed, *x] for x in curve(path.parent, config.num_envs)]
    table = {name: table[name] for name in {**TRAININGS, **table} if name in table}
    (FIGURES / "06_results.json").write_text(json.dumps(table, indent=1, ensure_ascii=False) + "\n")
    if second:
        treasure.write_text(json.dumps(second) + "\n")
    with (FIGURES / "06_training.csv").open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([head, *rows])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=Path, default=Path("runs/lesson_06"))
    parser.add_argument("--only", nargs="*", choices=list(TRAININGS), default=list(TRAININGS))
    parser.add_argument("--seeds", nargs="*", type=int, choices=FIVE, default=FIVE)
    given = parser.parse_args()
    torch.set_num_threads(1)
    for name in given.only:
        task, config, seeds = TRAININGS[name]
        for seed in sorted({*seeds} & {*given.seeds}):
            folder = given.runs / f"{name}-{seed}"
            resume = (folder / "config.json").exists()
            options = {"resume": resume, "quiet": True, "certificate": 1000}
            runs.train(task, config, seed, folder=folder, **options)
            print(name, seed, json.dumps(line(json.loads((folder / "result.json").read_text()))))
    gather(given.runs)


if __name__ == "__main__":
    main()
