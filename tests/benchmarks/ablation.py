"""Lesson 06's ablation: each switch of the authors' program, on both views, from five seeds.

    python tests/benchmarks/ablation.py [--runs runs/ablation] [--only corrected …] [--seeds 0 1]

Short trainings of MACAAC whose buffer holds all of their episodes, as the authors' does. The
source's own view has no clock, for actors and critics alike, and is read as lists. Of every
training the means over its last tenth go to `figures/06_ablation.json`, view → switch → a line a
seed.
"""

import argparse
import csv
import itertools
import json
from pathlib import Path

import numpy as np
import torch

from safemarl_lite import runs
from safemarl_lite.macaac import SWITCHES, MACAACConfig
from safemarl_lite.navigation import NavigationTask

FILE = Path(__file__).parents[2] / "figures/06_ablation.json"
SHORT = {"iterations": 40, "batch": 256, "buffer_episodes": 40 * 128, "multiplier_rate": 0.04,
         "temperature_end": 0.002, "eval_every": 40, "eval_episodes": 100}  # fmt: skip
VIEWS = {
    "relational": (NavigationTask(), SHORT),
    "paper": (NavigationTask(view="paper"), SHORT | {"network": "entities"}),
}
NAMES = "corrected", *SWITCHES, "faithful"
COLUMNS = {"penalty": "cost_0", "lambda": "lambda_0", "entropy": "entropy", "q_penalty": "q_cost_0"}


def line(folder):
    """Means over the last tenth of a training."""
    with (folder / "progress.csv").open() as file:
        rows = list(csv.DictReader(file))
    end = rows[-(len(rows) // 10) :]
    means = {name: np.mean([float(row[key]) for row in end]) for name, key in COLUMNS.items()}
    return {"cost": -np.mean([float(row["return"]) for row in end])} | means


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=Path, default=Path("runs/ablation"))
    parser.add_argument("--only", nargs="*", choices=NAMES, default=NAMES)
    parser.add_argument("--seeds", nargs="*", type=int, choices=range(5), default=range(5))
    given = parser.parse_args()
    torch.set_num_threads(1)
    for seed, view, name in itertools.product(given.seeds, VIEWS, given.only):
        task, settings = VIEWS[view]
        config = MACAACConfig(**settings, **dict.fromkeys({name} - {"corrected"}, True))
        folder = given.runs / f"{view}-{name}-{seed}"
        if not (folder / "result.json").exists():
            resume = (folder / "config.json").exists()
            options = {"quiet": True, "certificate": 100, "resume": resume}
            runs.train(task, config, seed, folder=folder, **options)
    table = {}
    for view, name in itertools.product(VIEWS, NAMES):
        done = sorted(given.runs.glob(f"{view}-{name}-*/result.json"))
        table.setdefault(view, {})[name] = [line(path.parent) for path in done]
    FILE.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
