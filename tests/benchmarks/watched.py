"""Trainings with a flight every so often: what lessons 05 and 06 let scrub, the README's picture.

    python tests/benchmarks/watched.py 05   # λ = 0, 10, learned → figures/05_watched.json
    python tests/benchmarks/watched.py 06   # MACAAC, λ = 0, learned → figures/06_watched.json

Default settings, seed 0, without evaluations, which move no
weight. About three minutes of a core for each training. What is in --runs is not trained again.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import torch

from safemarl_lite import runs
from safemarl_lite.lessons import cockpit, player, scenes
from safemarl_lite.macaac import MACAACConfig
from safemarl_lite.mappo import MAPPOConfig
from safemarl_lite.navigation import NavigationTask
from safemarl_lite.swarm import SwarmTask

FIGURES = Path(__file__).parents[2] / "figures"
FIXED = {"algo": "mappo-fixed-penalty", "multiplier_start": 10.0}
LESSONS = {  # task, then name → config
    "05": (SwarmTask(), {"λ = 0": MAPPOConfig(algo="mappo"), "λ = 10": MAPPOConfig(**FIXED),
                         "λ learned": MAPPOConfig()}),
    "06": (NavigationTask(), {"λ = 0": MACAACConfig(algo="maac"), "λ learned": MACAACConfig()}),
}  # fmt: skip
MOMENTS = 14  # flights of a training


def watched(task, config, folder, seed=0):
    """Train, or go on → {"log", "flights": each with its iteration}."""
    config = replace(config, eval_every=config.iterations, eval_episodes=2)
    kept = folder.with_suffix(".json")
    flights = json.loads(kept.read_text()) if kept.exists() else []
    every = -(-config.iterations // (MOMENTS - 1))

    def note(actor, iteration):
        one = scenes.one_flight(task, cockpit.flown(actor, env))
        flights[:] = [f for f in flights if f["iteration"] < iteration]
        flights.append(player.plain({"iteration": iteration} | one))
        kept.write_text(json.dumps(flights))

    def drive(pair, rows, save):
        if len(rows) == 1 or (rows and len(rows) % every == 0):
            note(pair.learner.actor, len(rows))
            save()
        return True

    folder.parent.mkdir(parents=True, exist_ok=True)
    resume = (folder / "config.json").exists()
    with task.vector_env(1, 0, autoreset=False) as env:
        runs.train(task, config, seed, folder=folder, resume=resume, quiet=True, drive=drive)
        state = runs.read_checkpoint(folder, "last.pt")
        note(runs.load(folder, name="last.pt").actor, config.iterations)
    return {"log": player.plain(scenes.log_of(task, state["rows"])), "flights": flights}


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("lessons", nargs="+", choices=LESSONS)
    parser.add_argument("--runs", type=Path, default=Path("runs/watched"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    for lesson in given.lessons:
        task, configs = LESSONS[lesson]
        told = []
        for k, (name, config) in enumerate(configs.items()):
            told.append({"name": name} | watched(task, config, given.runs / lesson / str(k)))
            print(lesson, name, f"{len(told[-1]['flights'])} flights", flush=True)
        out = FIGURES / f"{lesson}_watched.json"
        out.write_text(json.dumps(player.plain(scenes.about(task)) | {"runs": told}) + "\n")
        print(out, f"{out.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
