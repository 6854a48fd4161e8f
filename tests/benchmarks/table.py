"""One table of speed, every row a ratio of two things measured in turn in the same run.

    OMP_NUM_THREADS=1 python tests/benchmarks/table.py                  # every row, in minutes
    OMP_NUM_THREADS=1 python tests/benchmarks/table.py --only crowd --quick      # a look
    … --write                                    # to figures/benchmark.json

Parts: `worlds` (against raw Bullet, mpe2, VMAS), `training` (against its networks and Bullet
alone), `crowd` (cost per drone-step against the number of drones and of swarms), `search`
(neighbours: all pairs against scipy's tree), `lessons` (seconds), `memory`. VMAS is no requirement
of this repository: where it cannot be imported, its rows are left out. All seconds are the
processor's, of the process that is measured: other processes bend them less than the clock's. They
do bend them, by caches and shared cores, so that the load stands beside every part.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import bullet_bound
import navigation_speed
import numpy as np
import torch
from scipy.spatial import cKDTree

from safemarl_lite.mappo import MAPPO, MAPPOConfig
from safemarl_lite.swarm import SwarmTask, SwarmVectorEnv
from safemarl_lite.swarm.task import formation, gaps, lengths

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "figures/benchmark.json"
ROAM = 0.1  # actions are drawn up to this: drones that stand still keep Bullet busy with old pairs


def seconds(work, rounds):
    """Least seconds of `work()` in so many rounds."""
    found = []
    for _ in range(rounds):
        began = time.process_time()
        work()
        found.append(time.process_time() - began)
    return min(found)


def row(ours, other, ratio, unit):
    return {"ours": ours, "other": other, "ratio": ratio, "unit": unit}


def worlds(quick):
    """Environment steps a second, ours over theirs."""
    found = bullet_bound.shares((1, 32) if quick else (1, 32, 128))
    table = {f"{k}, against raw Bullet": row(*v, "env-steps/s") for k, v in found.items()}
    for kind in ("discrete", "continuous"):
        ratios = navigation_speed.report(kind, navigation_speed.rates(kind, 2 if quick else 7))
        table |= {f"navigation, {kind}: {k}": row(*v, "env-steps/s") for k, v in ratios.items()}
    return table


def bare_update(learner, data):
    """The update's arithmetic and nothing else: forward, backward and Adam of both networks."""
    c, rows = learner.config, data["view"].flatten(0, 1)
    state = data["state"].flatten(0, 1)
    for _ in range(c.epochs):
        for view, seen in zip(rows.chunk(c.minibatches), state.chunk(c.minibatches), strict=True):
            learner.optimizer.zero_grad()
            outputs = learner.actor(view), learner.critic(view, seen)
            sum(x.pow(2).mean() for x in outputs).backward()
            learner.optimizer.step()


def training(quick):
    """The seconds that networks and Bullet need alone, over those of an iteration."""
    config, rounds = MAPPOConfig(num_envs=32 if quick else 128), 2 if quick else 5
    task, whole, floor = SwarmTask(), [], []
    with SwarmVectorEnv(task, config.num_envs, 0) as env:
        learner = MAPPO(env, config, np.random.SeedSequence(0))
        learner.iterate()
        shape = task.horizon, env.num_envs, 5, 3
        actions = np.random.default_rng(0).uniform(-ROAM, ROAM, shape)
        forces, data = bullet_bound.forces_of(env, actions), learner.collect()
        for _ in range(rounds):
            whole.append(seconds(learner.iterate, 1))
            physics = len(forces) * env.num_envs / bullet_bound.raw(env, forces)
            floor.append(physics + seconds(lambda: bare_update(learner, data), 1))
    ratio = statistics.median(a / b for a, b in zip(floor, whole, strict=True))
    middle = statistics.median(whole), statistics.median(floor)
    return {"default training, its floor over an iteration": row(*middle, ratio, "s an iteration")}


def crowd_task(n):
    """A swarm of `n` with room in the goal, without obstacles, far enough from its target."""
    radius = round(1.3 * float(lengths(formation(n, 2.0)).max()) + 1.0, 2)
    high = round(2 * radius + 3.3 * n ** (1 / 3), 1)
    away = {"target": (40.0, 40.0, high), "start": (-2.0, -2.0, high), "horizon": 400}
    return SwarmTask(n_drones=n, n_obstacles=0, goal_radius=max(2.5, radius), **away)


def drone_steps(task, swarms, rounds, steps=20):
    """Microseconds of one drone's step beside those of 64 swarms of five, least of the rounds."""
    rng, spent = np.random.default_rng(0), []
    with SwarmVectorEnv(task, swarms, 0) as ours, SwarmVectorEnv(crowd_task(5), 64, 0) as other:
        worlds = []
        for env in (ours, other):
            env.reset(seed=0)
            shape = steps, env.num_envs, env.task.n_drones, 3
            worlds.append((env, rng.uniform(-ROAM, ROAM, shape)))
        for _ in range(rounds + 1):  # in turn
            spent.append([seconds(lambda e=e, a=a: [e.step(x) for x in a], 1) for e, a in worlds])
    drones = steps * np.array([swarms * task.n_drones, 64 * 5])
    return (1e6 * np.min(spent, 0) / drones).tolist()


def crowd(quick):
    """Microseconds of a drone-step, over those of 64 swarms of five."""
    rounds, table = 1 if quick else 7, {}
    sizes = (5, 16, 128) if quick else (5, 8, 16, 32, 64, 128, 256, 500)
    counts = (1, 32) if quick else (1, 4, 16, 64, 128, 256, 512)
    rows = [(f"{n} drones in each of {640 // n} swarms", n, 640 // n) for n in sizes]
    for name, n, swarms in rows + [
        (f"{swarms} swarms of 5 drones", 5, swarms) for swarms in counts
    ]:
        ours, base = drone_steps(crowd_task(n), swarms, rounds)
        table[name] = row(ours, base, ours / base, "µs")
        print(f"{name}: {ours:.2f} µs, ratio {ours / base:.2f}")
    return table


def search(quick):
    """The four nearest of everyone: all pairs over scipy's tree, as many swarms as make 640."""
    rng, table = np.random.default_rng(0), {}
    for n in (5, 128) if quick else (5, 8, 16, 32, 64, 128, 256, 500):
        swarms = max(1, 640 // n)
        points = 2.2 * n ** (1 / 3) * rng.random((swarms, n, 3))
        apart = points + 1e4 * np.arange(swarms)[:, None, None]

        def pairs(points=points):
            return gaps(points, points).argsort(-1)[..., 1:5]

        def tree(apart=apart, n=n):
            flat = apart.reshape(-1, 3)
            return cKDTree(flat).query(flat, 5)[1][:, 1:].reshape(*apart.shape[:2], 4) % n

        same = np.sort(pairs()) == np.sort(tree())
        assert same.all(), "both must find the same neighbours"
        dense, sparse = (1e3 * seconds(work, 3 if quick else 9) for work in (pairs, tree))
        name = f"neighbours of {n} drones in each of {swarms} swarms"
        table[name] = row(dense, sparse, dense / sparse, "ms")
        print(f"{name}: all pairs {dense:.2f} ms, tree {sparse:.2f} ms, ratio {dense / sparse:.2f}")
    return table


def of_children(words):
    """Seconds of the processor that a command and all its processes take."""
    began = os.times()
    subprocess.run(words, check=True, capture_output=True, cwd=ROOT)
    spent = os.times()
    return sum(spent[2:4]) - sum(began[2:4])


def lessons(quick):
    """Seconds of every page, from a fresh kernel, over those of importing the package."""
    table = {}
    base = min(of_children([sys.executable, "-c", "import safemarl_lite.runs"]) for _ in range(2))
    for page in sorted((ROOT / "notebooks").glob("*.ipynb"))[: 1 if quick else None]:
        name = tempfile.gettempdir() + "/benchmark.ipynb"
        words = [sys.executable, "-m", "jupyter", "execute", f"--output={name}", str(page)]
        spent = of_children(words)
        table[page.stem] = row(spent, base, spent / base, "s")
        print(f"{page.stem}: {spent:.1f} s")
    return table


def memory(quick):
    """Peak memory (MB) of a fresh process that does one thing, over one that only imports."""
    begin = "import torch; torch.set_num_threads(1)\nfrom safemarl_lite.swarm import *\n"
    begin += "from safemarl_lite.mappo import *\nimport numpy as np\n"
    env = "env = SwarmVectorEnv(SwarmTask(), {}, 0)\nenv.reset()\n"
    things = {f"{n} swarms": env.format(n) for n in ((32,) if quick else (1, 128, 512))}
    learn = "MAPPO(env, MAPPOConfig(num_envs={0}), np.random.SeedSequence(0)).iterate()\n"
    n = 16 if quick else 128
    things[f"an iteration of {n} swarms"] = env.format(n) + learn.format(n)
    # not `ru_maxrss`: that is at least what this process had when it forked
    peak = "print(*[x.split()[1] for x in open('/proc/self/status') if x.startswith('VmHWM')])"

    def used(code):
        words = [sys.executable, "-c", begin + code + peak]
        return int(subprocess.run(words, capture_output=True, text=True, check=True).stdout) / 1024

    base, table = used(""), {}
    for name, code in things.items():
        spent = used(code)
        table[name] = row(spent, base, spent / base, "MB")
        print(f"{name}: {spent:.0f} MB, imports alone {base:.0f} MB")
    return table


PARTS = (worlds, training, crowd, search, lessons, memory)


def machine():
    """What the rows were measured on."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    name = next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), "unknown")
    found = {}
    for package in ("torch", "numpy", "scipy", "pybullet", "mpe2", "vmas"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {"processor": name, "cores": os.cpu_count(), "memory_GiB": round(memory),
            "system": f"{platform.system()} {platform.machine()}",
            "python": platform.python_version(), "torch threads": torch.get_num_threads(),
            "versions": found}  # fmt: skip


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    given = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    given.add_argument("--only", nargs="+", choices=[part.__name__ for part in PARTS])
    given.add_argument("--quick", action="store_true", help="few sizes, few rounds: a look")
    given.add_argument("--write", action="store_true", help=f"to {TABLE.relative_to(ROOT)}")
    given = given.parse_args()
    if given.write and given.quick:
        sys.exit("--write needs full rounds, not --quick")
    table = json.loads(TABLE.read_text()) if given.write and TABLE.exists() else {}
    table["machine"] = machine()
    loads = table.setdefault("load average", {})
    for part in PARTS:
        if not given.only or part.__name__ in given.only:
            loads[part.__name__] = round(os.getloadavg()[0], 1)
            table[part.__name__] = part(given.quick)
            if given.write:
                TABLE.write_text(json.dumps(table, indent=1, ensure_ascii=False) + "\n")
