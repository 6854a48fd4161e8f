"""Ten trainings of the swarm with the default settings that differ in nothing but the seed.

    python tests/benchmarks/ten_seeds.py [--workers 2] [--first 2011] [--count 10]

The seeds 2011 to 2020 were flown once, after the settings were final: none was tuned on them.
Each run is `train swarm --seed …` with its certificate of 2,000 held-out flights, and goes to a
folder of its own, so that a stopped series goes on. The settings were tuned, with other seeds, on
those same flights; so the best policies fly once more, on flights that nobody had looked at, and
the one that ships, chosen among the ten, on 10,000. Prints a row a seed and writes those that are
done into `figures/05_ten_seeds.json` and `.csv`, and one of them into `figures/runs/swarm`; about
150 s of CPU time each.
"""

import argparse
import json
import shutil
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch

from safemarl_lite import runs
from safemarl_lite.evaluate import bernstein_bound, fly, summary, upper_bound
from safemarl_lite.lessons.lesson_05 import episodes_needed
from safemarl_lite.lessons.style import read_log
from safemarl_lite.mappo import MAPPOConfig
from safemarl_lite.swarm import SwarmTask

FIGURES = Path(__file__).parents[2] / "figures"
SHIPPED = "2016"  # the run of the ten that `figures/runs/swarm` holds
FRESH = 20261122  # seed of flights that no tuning and no choice has seen


def row_of(result):
    """What the table holds of a certificate."""
    cost = result["discounted_cost"]
    return {
        "success": result["success_rate"],
        "cost": cost["mean"],
        "upper99": cost["upper99"],
        "upper99_bernstein": cost["upper99_bernstein"],
        "violations": result["violation_rate"]["mean"],
        "certified": result["certified"],
    }


def again(seed, folder):
    """The best policy on fresh flights → its row, kept in `fresh.json` of its folder."""
    if not (folder / "fresh.json").exists():
        flights, policy = 10_000 if str(seed) == SHIPPED else 2000, runs.load(folder)
        flown = fly(policy.act, policy.task, flights, FRESH)
        dearest = max(wave["discounted"].max() for wave in flown.values())
        row = {"flights": flights} | row_of(summary(flown, policy.task)) | {"dearest": dearest}
        runs.write(folder / "fresh.json", json.dumps(row))
    return json.loads((folder / "fresh.json").read_text())


def train(seed, folder, workers):
    """One training with its certificate → its row, kept in `row.json` of its folder."""
    if (folder / "row.json").exists():
        return json.loads((folder / "row.json").read_text())
    began = time.perf_counter(), time.process_time()
    options = {"folder": folder, "workers": workers, "certificate": 2000, "quiet": True}
    resume = (folder / "config.json").exists()
    runs.train(SwarmTask(), MAPPOConfig(), seed, resume=resume, **options)
    result = json.loads((folder / "result.json").read_text())
    row = row_of(result) | {
        "contacts": result["contacts"],
        "wall_seconds": round(time.perf_counter() - began[0], 1),
        "cpu_seconds": round(time.process_time() - began[1], 1),  # of this process alone
    }
    runs.write(folder / "row.json", json.dumps(row))
    return row


def needed():
    """Flights that each bound needs at τ = 0.1, violating flights costing 2 and 6 in turns."""
    cap = SwarmTask.cost_cap
    bounds = {"upper99": partial(upper_bound, cap=cap)}
    bounds |= {"upper99_bernstein": partial(bernstein_bound, cap=cap)}
    rates = (0.0, 0.001, 0.002, 0.005, 0.01)
    return {
        name: {str(rate): episodes_needed(bound, rate, 4.0, 0.1) for rate in rates}
        for name, bound in bounds.items()
    }


def gather(rows, fresh, folder, workers, flights):
    """Write the seeds that are done, and their curves, into `figures/`."""
    table = {"workers": workers, "seeds": rows, "fresh": {"seed": FRESH, "seeds": fresh}}
    table["episodes_needed"] = flights
    runs.write(FIGURES / "05_ten_seeds.json", json.dumps(table, indent=1) + "\n")
    if SHIPPED in rows:
        for name in ("best.pt", "config.json", "progress.csv", "result.json"):
            shutil.copy(folder / SHIPPED / name, FIGURES / "runs/swarm" / name)
    logs = {seed: read_log(folder / seed / "progress.csv") for seed in rows}
    columns = {"env_steps": next(iter(logs.values()))["env_steps"]}
    for name in ("success", "cost", "lambda_0"):
        columns |= {f"{name}_{seed}": log[name] for seed, log in logs.items()}
    lines = [",".join(columns)]
    lines += [",".join(f"{x:.6g}" for x in row) for row in zip(*columns.values(), strict=True)]
    runs.write(FIGURES / "05_ten_seeds.csv", "\n".join(lines) + "\n")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--first", type=int, default=2011)
    parser.add_argument("--count", type=int, default=10)
    parser.add_argument("--runs", type=Path, default=Path("runs/ten_seeds"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows, fresh, flights = {}, {}, needed()
    for seed in range(given.first, given.first + given.count):
        rows[str(seed)] = train(seed, given.runs / str(seed), given.workers)
        fresh[str(seed)] = again(seed, given.runs / str(seed))
        print(seed, json.dumps(rows[str(seed)]), json.dumps(fresh[str(seed)]), flush=True)
        if given.first == 2011:
            gather(rows, fresh, given.runs, given.workers, flights)
    for name, table in ("their own", rows), ("fresh", fresh):
        good = [row["certified"] and row["success"] >= 0.99 for row in table.values()]
        print(f"certified with success ≥ 0.99 on {name} flights: {np.sum(good)} of {len(good)}")


if __name__ == "__main__":
    main()
