"""The trainings that lesson 05 shows: its curves and its certificates.

    python tests/benchmarks/lesson_05_runs.py [--runs runs/lesson_05] [--only lagrangian seed_1 …]

Each is `train swarm --seed …` with the one change that its name says, about a minute and a quarter
on two idle cores, and goes to a folder of its own, so that a stopped series goes on. What is there
is then gathered: `figures/05_*.csv`, `05_results.json` (last policies), `05_seeds.json` (best ones;
the scripted pilot's row stays as lesson 02 measured it).
"""

import argparse
import csv
import json
from pathlib import Path

import torch

from safemarl_lite import load, runs
from safemarl_lite.as_printed import PrintedConfig
from safemarl_lite.mappo import MAPPO, MAPPOConfig
from safemarl_lite.swarm import SwarmTask

FIGURES = Path(__file__).parents[2] / "figures"
SEEDS = range(5)
TRAININGS = {  # name → task, config, seed
    "lagrangian": (SwarmTask(), MAPPOConfig(), 0),
    **{f"seed_{seed}": (SwarmTask(), MAPPOConfig(), seed) for seed in SEEDS[1:]},
    "colleague": (SwarmTask(), MAPPOConfig(), 3),
    "unconstrained": (SwarmTask(), MAPPOConfig(algo="mappo"), 0),
    "penalty_low": (
        SwarmTask(), MAPPOConfig(algo="mappo-fixed-penalty", multiplier_start=0.1), 0
    ),
    "penalty_high": (
        SwarmTask(), MAPPOConfig(algo="mappo-fixed-penalty", multiplier_start=10), 0
    ),
    "as_printed": (SwarmTask(), PrintedConfig(), 0),
    "attitude": (SwarmTask(control="attitude"), MAPPOConfig(), 0),
}  # fmt: skip
FIVE = ("unconstrained", "penalty_low", "penalty_high", "as_printed", "lagrangian")
COLUMNS = ("iteration", "env_steps", "return", "return_discounted", "success", "cost", "lambda_0",
           "value_cost_0", "violation_rate", "kl")  # fmt: skip
KEPT = ("success_rate", "return_mean", "discounted_cost", "violation_rate", "contacts", "episodes",
        "seed", "certified")  # fmt: skip


def colleagues_price(learner, data, log, values, after):
    """`MAPPO.price` with one line changed: the mean cost of a step meets the τ of an episode."""
    if learner.skilled(log):
        costs = data["costs"].mean((0, 1, 2))
        learner.half.mean_([costs])
        learner.multipliers.update(costs.numpy())
    return learner.multipliers.values


def train(name, folder, workers):
    """Train, or go on with, one of TRAININGS."""
    task, config, seed = TRAININGS[name]
    right = MAPPO.price
    if name == "colleague":
        MAPPO.price, workers = colleagues_price, 1  # a process of its own would not see it
    try:
        options = {"resume": (folder / "config.json").exists(), "quiet": True, "workers": workers}
        runs.train(task, config, seed, folder=folder, certificate=2000, **options)
    finally:
        MAPPO.price = right


def rows(folder):
    """The log of a run, a list of dicts of text."""
    with (folder / "progress.csv").open() as file:
        return list(csv.DictReader(file))


def write_csv(name, columns):
    """Columns, name → numbers, into a file of `figures/`, six digits each."""
    with (FIGURES / name).open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        for row in zip(*columns.values(), strict=True):
            writer.writerow([f"{float(x):.6g}" for x in row])


def kept(result):
    """The part of a certificate that lesson 05 shows."""
    short = {name: result[name] for name in KEPT}
    cost = result["discounted_cost"]
    return short | {"discounted_cost": {name: cost[name] for name in ("mean", "upper99")}}


def gather(folder):
    """Write every file whose runs are all there."""
    done = {name: folder / name for name in TRAININGS if (folder / name / "result.json").exists()}
    logs = {name: rows(path) for name, path in done.items()}
    best = {name: json.loads((path / "result.json").read_text()) for name, path in done.items()}
    for name in done.keys() & set(FIVE):
        write_csv(f"05_{name}.csv", {x: [row[x] for row in logs[name]] for x in COLUMNS})
    if "colleague" in done:
        names = "env_steps", "success", "cost", "lambda_0"
        write_csv("05_colleague.csv", {x: [row[x] for row in logs["colleague"]] for x in names})
    if set(FIVE) <= done.keys():
        last = {name: runs.certify(load(done[name], name="last.pt")) for name in FIVE}
        write_json("05_results.json", {name: kept(result) for name, result in last.items()})
    seeds = ["lagrangian", *(f"seed_{seed}" for seed in SEEDS[1:])]
    if set(seeds) <= done.keys():
        columns = {"env_steps": [row["env_steps"] for row in logs[seeds[0]]]}
        for x in ("success", "cost", "lambda_0"):
            for seed, name in enumerate(seeds):
                columns[f"{x}_{seed}"] = [row[x] for row in logs[name]]
        write_csv("05_seeds.csv", columns)
    if {*seeds, "attitude", "unconstrained"} <= done.keys():
        pilot = json.loads((FIGURES / "05_seeds.json").read_text())["scripted pilot"]
        table = {f"seed {seed}": kept(best[name]) for seed, name in enumerate(seeds)}
        table |= {"attitude": kept(best["attitude"]), "scripted pilot": pilot}
        write_json("05_seeds.json", table | {"unconstrained": kept(best["unconstrained"])})


def write_json(name, table):
    (FIGURES / name).write_text(json.dumps(table, indent=1) + "\n")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=Path, default=Path("runs/lesson_05"))
    parser.add_argument("--only", nargs="*", choices=list(TRAININGS), default=list(TRAININGS))
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(1)
    for name in given.only:
        train(name, given.runs / name, given.workers)
        result = json.loads((given.runs / name / "result.json").read_text())
        print(name, json.dumps(kept(result)), flush=True)
    gather(given.runs)


if __name__ == "__main__":
    main()
