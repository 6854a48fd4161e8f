"""Where the shipped swarm policy holds and where it breaks: other numbers of drones, other tasks.

    OMP_NUM_THREADS=1 python tests/benchmarks/generalisation.py

200 deterministic flights a row, about four minutes on one core; prints the table and writes
`figures/05_generalisation.json`, which lesson 05 draws. Each row changes the fields that it names
and nothing else; the policy was trained on the task of `figures/runs/swarm` and sees no change.
"""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from safemarl_lite import load
from safemarl_lite.evaluate import evaluate
from safemarl_lite.swarm import SwarmTask
from safemarl_lite.swarm.task import formation, lengths

FIGURES = Path(__file__).parents[2] / "figures"
FLIGHTS, SEED = 200, 2025


@dataclass(frozen=True)
class BothSides(SwarmTask):
    """Every second obstacle is mirrored to the other side of the straight way."""

    def draw(self, rng, count):
        starts, obstacles = super().draw(rng, count)
        along = np.subtract(self.target, self.start) / self.distance
        offset = obstacles - self.start
        aside = offset - (offset @ along)[..., None] * along
        obstacles[:, 1::2] -= 2 * aside[:, 1::2]
        return starts, obstacles


def roomy(n):
    """Goal radius (m) that leaves `n` drones the spare room that five have in the default goal."""
    spare = 2.5 - lengths(formation(5, 2.0)).max()
    return round(float(lengths(formation(n, 2.0)).max() + spare), 2)


FAR = {"target": (14.0, 14.0, 8.0), "horizon": 150}
ROWS = {
    "N": {
        "5 drones, as trained": {},
        "6 drones": {"n_drones": 6},
        "8 drones": {"n_drones": 8},
        "10 drones": {"n_drones": 10},
        "8 drones, goal grown": {"n_drones": 8, "goal_radius": roomy(8)},
        "10 drones, goal grown": {"n_drones": 10, "goal_radius": roomy(10)},
        "20 drones, goal grown, farther": {"n_drones": 20, "goal_radius": roomy(20), **FAR},
        "the same without obstacles": {
            "n_drones": 20, "goal_radius": roomy(20), "n_obstacles": 0, **FAR
        },
    },
    "task": {
        "6 obstacles": {"n_obstacles": 6},
        "8 obstacles": {"n_obstacles": 8},
        "obstacles on both sides": {},
        "no obstacle": {"n_obstacles": 0},
        "obstacles of 1.5 m": {"obstacle_radius": 1.5},
        "target (12, 6, 7)": {"target": (12.0, 6.0, 7.0)},
        "target (14, 4, 6)": {"target": (14.0, 4.0, 6.0)},
        "target (10, 10, 12)": {"target": (10.0, 10.0, 12.0)},
        "target (−14, 10, 5)": {"target": (-14.0, 10.0, 5.0)},
        "start and target exchanged": {"start": (10.0, 10.0, 5.0), "target": (-2.0, -2.0, 8.0)},
        "target (20, 20, 5), 200 steps": {"target": (20.0, 20.0, 5.0), "horizon": 200},
        "start spread wider": {"start_jitter": 0.6, "start_spacing": 4.1},
        "drones of 0.6 kg": {"mass": 0.6},
        "goal radius 1.6 m": {"goal_radius": 1.6},
    },
}  # fmt: skip


def measure(policy, name, fields):
    """Success, share of clean flights and discounted cost of one row."""
    task = replace(policy.task, **fields)
    if name == "obstacles on both sides":
        task = BothSides(**asdict(task))
    result = evaluate(policy.act, task, FLIGHTS, SEED)
    return {
        "success": result["success_rate"],
        "violations": result["violation_rate"]["mean"],
        "violations_upper99": result["violation_rate"]["upper99"],
        "cost": result["discounted_cost"]["mean"],
        "fields": fields,
    }


def main():
    policy = load(FIGURES / "runs/swarm")
    table = {"flights": FLIGHTS, "seed": SEED}
    for group, rows in ROWS.items():
        table[group] = {name: measure(policy, name, fields) for name, fields in rows.items()}
        for name, row in table[group].items():
            numbers = f"success {row['success']:.3f}  violations {row['violations']:.3f}"
            print(f"{name:32} {numbers}  cost {row['cost']:.3f}", flush=True)
    text = json.dumps(table, indent=1, ensure_ascii=False)
    (FIGURES / "05_generalisation.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
