"""Env-steps per second of `NavigationVectorEnv`, mpe2 and VMAS, in turn, in one process.

    OMP_NUM_THREADS=1 python tests/benchmarks/navigation_speed.py

Five agents, five landmarks, 25 steps an episode, resets included, random actions drawn before.
Seconds are the processor's, of one thread.
VMAS (1.5.2) is no requirement of this repository: where it cannot be imported, its row says so.
"""

import importlib.util
import statistics
import time
import warnings

import numpy as np
import torch
from mpe2 import simple_spread_v3

from safemarl_lite.navigation import NavigationTask, NavigationVectorEnv

WORLDS, ROUNDS, HORIZON, N = 1024, 7, 25, 5


def ours(view, kind):
    task = NavigationTask(view=view, actions=kind)
    env, rng = NavigationVectorEnv(task, WORLDS), np.random.default_rng(0)
    actions = rng.integers(0, 5, (HORIZON, WORLDS, N))
    if kind == "continuous":
        actions = rng.uniform(-1, 1, (HORIZON, WORLDS, N, 2))

    def episodes():
        for action in actions:  # at the horizon every world starts anew by itself
            env.step(action)
        return HORIZON * WORLDS

    return episodes


def mpe2(kind):
    env = simple_spread_v3.parallel_env(
        N=N, max_cycles=HORIZON, continuous_actions=kind == "continuous"
    )
    env.reset(seed=0)
    spaces = [env.action_space(agent) for agent in env.agents]
    actions = [[space.sample() for space in spaces] for _ in range(HORIZON)]

    def episodes(count=10):
        for _ in range(count):
            env.reset()
            for action in actions:
                env.step(dict(zip(env.agents, action, strict=True)))
        return count * HORIZON

    return episodes


def vmas(kind, everything):
    from vmas import make_env

    env = make_env(
        "simple_spread",
        WORLDS,
        n_agents=N,
        continuous_actions=kind == "continuous",
        obs_agents=everything,
    )
    shape = (HORIZON, N, WORLDS)
    actions = torch.randint(0, 5, (*shape, 1))
    if kind == "continuous":
        actions = 2 * torch.rand(*shape, 2) - 1

    def episodes():
        env.reset()
        for action in actions:
            env.step(list(action))
        return HORIZON * WORLDS

    return episodes


def rates(kind, rounds=ROUNDS):
    """Env-steps/s of every environment, name → one number a round, taken in turn."""
    runs = {f"ours, {view} view": ours(view, kind) for view in ("paper", "relational")}
    runs["mpe2"] = mpe2(kind)
    if importlib.util.find_spec("vmas"):
        runs["VMAS, without other agents in view"] = vmas(kind, False)
        runs["VMAS, with other agents in view"] = vmas(kind, True)
    else:
        print("VMAS is not installed here: not measured")
    found = {name: [] for name in runs}
    for _ in range(rounds):
        for name, episodes in runs.items():
            began = time.process_time()
            steps = episodes()
            found[name].append(steps / (time.process_time() - began))
    return found


def report(kind, found):
    """Print a line for every environment → name: times mpe2, of ours also times the best VMAS."""
    middle, ratios = {name: statistics.median(x) for name, x in found.items()}, {}
    best = max((x for name, x in middle.items() if name.startswith("VMAS")), default=None)
    for name, rate in middle.items():
        low, high = min(found[name]), max(found[name])
        line = f"{kind:10} {name:35} {rate:9,.0f} env-steps/s [{low:,.0f}–{high:,.0f}]"
        if name.startswith("ours"):
            ratios[f"{name}, against mpe2"] = rate, middle["mpe2"], rate / middle["mpe2"]
            line += f"  {rate / middle['mpe2']:.0f} × mpe2"
            if best:
                ratios[f"{name}, against the faster VMAS"] = rate, best, rate / best
                line += f"  {rate / best:.1f} × the faster VMAS"
        print(line, flush=True)
    return ratios


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    for kind in ("discrete", "continuous"):
        report(kind, rates(kind))
