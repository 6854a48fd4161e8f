"""The swarm with a scalar λ and with λ(o), trained alike: what is left above τ, state by state.

    OMP_NUM_THREADS=1 python tests/benchmarks/statewise_swarm.py --runs runs/statewise

Trains what `--runs` does not hold yet (`scalar/seed105`, `statewise/seed105`, …; the same seeds,
iterations and swarms for both; about three minutes of a core each), flies 2,000 held-out starts
with each best policy, and writes `figures/07_swarm.json`.

The policy flies its mean action and Bullet is deterministic, so that from a visited state there is
one flight: V^c(s_t) = Σ_k γ^k c_{t+k} of that flight, without noise and without a critic. `ahead`
does the same from any state that it is given; so is the map made, of one drone moved through a
scene, beside λ(o) of that drone at the end of the training.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch

from safemarl_lite import load
from safemarl_lite.evaluate import HELD_OUT
from safemarl_lite.mappo import MAPPOConfig
from safemarl_lite.mappo_statewise import MultiplierNetwork, StatewiseConfig
from safemarl_lite.runs import read_checkpoint, read_config
from safemarl_lite.swarm import SwarmTask
from safemarl_lite.sweep import plan, sweep

TABLE = Path(__file__).parents[2] / "figures/07_swarm.json"
CONFIGS = {"scalar": MAPPOConfig(), "statewise": StatewiseConfig()}  # `train swarm`
SEEDS = 3001, 3002, 3003, 3004, 3005  # none that a setting was tuned on
FLIGHTS, WAVE, SEED = 2000, 250, 71
# of the map: its draw, the step of the flight, the drone that is moved, cells a side
SCENE, MOMENT, MOVED, CELLS = 3, 10, 4, 49


def fly(act, env, steps=None):
    """Fly on from where `env` is → rewards, costs and whether in the air (T, E), success (E,)."""
    views, alive = env.observations(), np.ones(env.num_envs, bool)
    rewards, costs, air = np.zeros((3, env.task.horizon, env.num_envs))
    success = ~alive
    for t in range(steps or env.task.horizon):
        step = env.step(act(views))
        rewards[t], costs[t] = step.rewards.mean(1) * alive, step.costs.sum((1, 2)) * alive
        air[t] = alive
        success |= alive & step.terminated
        alive &= ~(step.terminated | step.truncated)
        views = step.observations
        if not alive.any():
            break
    return rewards, costs, air > 0, success


def to_come(costs, discount):
    """V^c(s_t) = c_t + γ V^c(s_{t+1}) along flights: (T, E) → (T, E)."""
    values, ahead = np.zeros_like(costs), 0.0
    for t in reversed(range(len(costs))):
        values[t] = ahead = costs[t] + discount * ahead
    return values


def moments(env):
    """What a state of every swarm is: with it `ahead` flies on."""
    names = "positions", "velocities", "obstacles", "places", "steps"
    return {name: getattr(env, name).copy() for name in names}


def ahead(act, task, states):
    """V^c of given states, (E,): each is flown from to its end."""
    with task.vector_env(len(states["steps"]), 0, autoreset=False) as env:
        env.reset(options=states)
        env.places[:], env.steps[:] = states["places"], states["steps"]
        env._look()
        return to_come(fly(act, env)[1], task.discount)[0]


def measure(folder, flights):
    """Over held-out flights of a run's best policy: states above τ, worst start, return."""
    policy = load(folder)
    task, found = policy.task, []
    waves = -(-flights // WAVE)
    for seed in np.random.SeedSequence(SEED, spawn_key=HELD_OUT).spawn(waves):
        with task.vector_env(min(WAVE, flights), 0, autoreset=False) as env:
            env.reset(seed)
            found.append(fly(policy.act, env))
    rewards, costs, alive, success = (np.concatenate(x, -1) for x in zip(*found, strict=True))
    values = to_come(costs, task.discount)
    over = values > task.threshold
    return {
        "states": int(alive.sum()),
        "above": float(over[alive].mean()),
        "above and no cost yet": float((over & (costs.cumsum(0) == 0))[alive].mean()),
        "starts above": float(over[0].mean()),
        "worst start": float(values[0].max()),
        "cost": float(values[0].mean()),
        "violating flights": float((costs.sum(0) > 0).mean()),
        "success": float(success.mean()),
        "return": float(rewards.sum(0).mean()),
    }


def draw_map(folders, cells):
    """One drone moved over a level through a moment of a flight: V^c of every run, λ(o) of one."""
    policy = load(folders["scalar"])
    task = policy.task
    with task.vector_env(1, 0, autoreset=False) as env:
        env.reset(SCENE)
        fly(policy.act, env, MOMENT)
        now = moments(env)
    x, y = np.meshgrid(np.linspace(-6, 11, cells), np.linspace(-8, 9, cells))
    states = {name: np.repeat(value, x.size, 0) for name, value in now.items()}
    states["positions"][:, MOVED, :2] = np.stack([x.ravel(), y.ravel()], -1)
    found = {"x": x[0].tolist(), "y": y[:, 0].tolist()}
    found |= {"height": float(now["positions"][0, MOVED, 2]), "moved": MOVED}
    found |= {name: now[name][0].tolist() for name in ("positions", "obstacles")}
    for name, folder in folders.items():
        values = ahead(load(folder).act, task, states)
        found[name] = values.reshape(x.shape).round(3).tolist()
    with task.vector_env(x.size, 0, autoreset=False) as env, torch.no_grad():
        env.reset(options=states)
        env.places[:] = states["places"]
        env._look()
        views = torch.as_tensor(env.observations()[:, MOVED], dtype=torch.float32)
        prices = network(folders["statewise"])(views)[:, 0]
    found["price"] = np.round(prices.numpy().reshape(x.shape).astype(float), 5).tolist()
    return found


def network(folder):
    """λ(o) as the training of `folder` left it."""
    _, task, config = read_config(folder)
    size = task.view_size, len(task.thresholds), config.hidden_states, config.states_start
    states = MultiplierNetwork(*size)
    states.load_state_dict(read_checkpoint(folder, "last.pt")["learner"]["states"])
    return states


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--runs", type=Path, required=True, help="folder of the run folders")
    options.add_argument("--seeds", type=int, nargs="*", default=SEEDS)
    options.add_argument("--jobs", type=int, default=1)
    options.add_argument("--flights", type=int, default=FLIGHTS, help=f"in waves of {WAVE}")
    options.add_argument("--cells", type=int, default=CELLS)
    options.add_argument("--out", type=Path, default=TABLE)
    given = options.parse_args()
    planned = {name: plan(SwarmTask(), config, given.seeds, given.runs / name)
               for name, config in CONFIGS.items()}  # fmt: skip
    done = sweep([run for rows in planned.values() for run in rows], given.jobs)
    same = {name: getattr(CONFIGS["scalar"], name) for name in ("iterations", "num_envs")}
    table = {"settings": same, "seeds": list(given.seeds), "flights": given.flights}
    for name, rows in planned.items():
        table[name] = []
        for run in rows:
            if "error" in done[run.folder]:
                raise SystemExit(f"{run.folder}: {done[run.folder]['error']}")
            table[name].append(measure(run.folder, given.flights))
            print(name, run.seed, json.dumps(table[name][-1]), flush=True)
    folders = {name: rows[0].folder for name, rows in planned.items()}
    table["map"] = draw_map(folders, given.cells)
    given.out.write_text(json.dumps(table, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
