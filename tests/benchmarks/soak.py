"""Does anything grow? Resident memory and open files over many resets, worlds and iterations.

    PYTHONPATH=. nice -n 19 python tests/benchmarks/soak.py           # all, about ten minutes
    PYTHONPATH=. nice -n 19 python tests/benchmarks/soak.py resets dropped

`resets`: 10,000 resets of a batch of swarms, and of one swarm. `worlds`: `SwarmEnv`s made, flown
and closed; `dropped`: made and dropped. `training`: a long training of a small learner, of each
kind. A row holds the memory (MiB) after a tenth, a half and the whole; it is flat if the second
half adds less than 4 MiB. The table goes to `figures/soak.json`; the exit code says whether all
rows are flat.
"""

import gc
import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from safemarl_lite import runs
from safemarl_lite.macaac import MACAACConfig
from safemarl_lite.mappo import MAPPOConfig
from safemarl_lite.navigation import NavigationTask
from safemarl_lite.swarm import SwarmEnv, SwarmTask, SwarmVectorEnv

TABLE = Path(__file__).parents[2] / "figures/soak.json"
MORE = 4.0  # MiB


def memory():
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def files():
    return len(os.listdir("/proc/self/fd"))


def watch(count, step):
    """Call `step` `count` times → the row."""
    at, began, opened = {}, time.perf_counter(), None
    for k in range(1, count + 1):
        step(k)
        if k in (count // 10, count // 2, count):
            at[k] = round(memory(), 1)
            opened = opened or files()
    early, half, end = at.values()
    row = {"times": count, "MiB after a tenth": early, "after half": half, "at the end": end}
    row |= {"files more": files() - opened, "seconds": round(time.perf_counter() - began)}
    return row | {"flat": end - half < MORE and files() <= opened}


def resets():
    one = SwarmEnv()
    with SwarmVectorEnv(SwarmTask(), 16, 0) as batch:

        def step(k):
            batch.reset()
            one.reset(seed=k)

        row = watch(10_000, step)
    one.close()
    return row


def flown(k, close):
    env = SwarmEnv()
    env.reset(seed=k)
    env.step({agent: np.zeros(3) for agent in env.agents})
    if close:
        env.close()


def worlds():
    return watch(1000, lambda k: flown(k, True))


def dropped():
    return watch(1000, lambda k: flown(k, False))


def training(task, config):
    """Iterations of one training; their log is kept, and is all that may grow."""
    with tempfile.TemporaryDirectory() as name:
        rows, true = {}, runs.check_finite

        def step(learner, *given):
            rows[learner.iteration] = memory()
            return true(learner, *given)

        began, opened = time.perf_counter(), files()
        runs.check_finite = step
        try:
            runs.train(task, config, folder=Path(name) / "run", quiet=True)
        finally:
            runs.check_finite = true
    n = config.iterations
    early, half, end = (round(rows[k], 1) for k in (n // 10, n // 2, n))
    row = {"times": n, "MiB after a tenth": early, "after half": half, "at the end": end}
    row |= {"files more": files() - opened, "seconds": round(time.perf_counter() - began)}
    return row | {"flat": end - half < MORE and files() <= opened}


SMALL = {"eval_every": 50, "eval_episodes": 16, "hidden_actor": 16, "hidden_critic": 16}
ROWS = {
    "resets": resets,
    "worlds": worlds,
    "dropped": dropped,
    "training MAPPO": lambda: training(
        SwarmTask(horizon=30), MAPPOConfig(iterations=1000, num_envs=4, hold=0, epochs=1, **SMALL)
    ),
    "training MACAAC": lambda: training(
        NavigationTask(horizon=10),
        MACAACConfig(iterations=1000, num_envs=8, updates=2, batch=32, buffer_episodes=80, **SMALL),
    ),
}


def run():
    torch.set_num_threads(1)
    table = json.loads(TABLE.read_text()) if TABLE.exists() else {}
    for name in [x for x in ROWS if not sys.argv[1:] or any(w in x for w in sys.argv[1:])]:
        table[name] = ROWS[name]()
        print(name, table[name], flush=True)
        TABLE.write_text(json.dumps(table, indent=1) + "\n")
    raise SystemExit(not all(row["flat"] for row in table.values()))


if __name__ == "__main__":
    run()
