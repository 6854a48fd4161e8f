"""One policy for any swarm, beside four pilots nobody trained, on the same draws.

    OMP_NUM_THREADS=1 python tests/benchmarks/any_swarm.py            # what the lessons quote
    python tests/benchmarks/any_swarm.py --flights 20 --sizes 8       # a look, in a minute

Tasks are drawn from `SwarmTasks` with seeds that no training and no tuning has used; the learned
policy is `figures/runs/swarm_any`, and flies its mean action. Says success, clean flights (no drone
ever too near to anything), drones that arrive and stay clean, and the discounted cost, for all
flights and for those with moving obstacles. The others fly a fifth or a tenth of the flights, and
the learned policy flies those same draws beside them. `--out figures/any_swarm.json` writes what
the lessons draw. Needs qpsolvers and osqp.

- straight: straight flight.
- pilot: lesson 02's, which reads positions and velocities of all that is near.
- cbf-qp: straight flight behind a decentralised control-barrier filter (`cbf_qp`).
- by hand: weights of the learned policy's own directions, set by hand (`by_hand`).
"""

import argparse
import json
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
from generalisation import ROWS, BothSides
from scipy import sparse, stats

from safemarl_lite import load
from safemarl_lite.evaluate import HELD_OUT, upper_bound
from safemarl_lite.swarm import OpenTask
from safemarl_lite.swarm.open import OWN, PUSH, ROW
from safemarl_lite.swarm.open_world import OpenVectorEnv
from safemarl_lite.swarm.task import GRAVITY, lengths
from safemarl_lite.swarm.view import relations

FIGURES = Path(__file__).parents[2] / "figures"
SEED = 777002
SIZES = 5, 8, 16, 32, 64, 128
BEYOND = {  # what the training never drew, N = 8
    "obstacles at 1.5 to 3 m/s": {"drift": (1.5, 3.0), "moving": 1.0},
    "drones of 0.6 to 0.66 kg": {"masses": (0.6, 0.66)},
    "wind of 0.5 to 1 m/s": {"wind": (0.5, 1.0)},
    "formations 2.9 to 3.2 m apart": {"spacing": (2.9, 3.2), "jitter": (0.1, 0.25)},
    "obstacles of 2 m": {"obstacle_radius": 2.0, "apart": (8.5, 8.5)},
    "obstacles closer to each other": {"apart": (0.0, 6.5)},
}


class OpenBothSides(OpenTask):
    """The default task, every second obstacle mirrored."""

    def draw(self, rng, count):
        return BothSides().draw(rng, count)


def unit(x):
    return x / np.maximum(lengths(x)[..., None], 1e-9)


def everyone(env):
    """Who is where to whom, all drones with all: the world itself looks at the nearest only."""
    n = env.task.n_drones
    who = np.broadcast_to(np.arange(n), (env.num_envs, n, n))
    return relations(env.positions, env.obstacles, env.targets, env.places, who)


def straight(env):
    return lambda views: views[..., :3].clip(-1, 1)


def pilot(env):
    """Lesson 02's pilot, with the true numbers in place of its view."""
    task, n = env.task, env.task.n_drones

    def act(views):
        seen = everyone(env)
        drones, balls = seen.to_others[:, :, :n], seen.to_others[:, :, n:]
        velocity, way = env.velocities, seen.to_place
        ahead, far = unit(way), lengths(way)[..., None]
        along = (balls * ahead[..., None, :]).sum(-1, keepdims=True)
        lateral = balls - along * ahead[..., None, :]
        reach = task.obstacle_radius + task.d_safe
        blocks = np.clip(reach + 0.8 - lengths(lateral)[..., None], 0, 1)
        blocks = blocks * ((along > -1) & (along < 7))
        brake = (blocks * np.clip((7 - along) / 3, 0, 1)).max(-2, initial=0)
        closing = (unit(drones) * (velocity[:, None] - velocity[:, :, None])).sum(-1)
        gap = np.where(np.eye(n, dtype=bool), np.inf, seen.gaps[..., :n]) - task.d_safe
        crowd = np.clip(1 - (gap + 0.4 * np.minimum(closing, 0)) / 0.4, 0, 2)[..., None]
        wanted = 3 * ahead * np.minimum(far, 1) * (1 - brake)
        wanted = wanted - 3.6 * (blocks * unit(lateral)).sum(-2)
        wanted = wanted - 5 * (crowd * unit(drones)).sum(-2)
        thrust = task.max_thrust / env.mass - GRAVITY
        return ((0.9 * (wanted - velocity) + 0.29 * wanted) * thrust / PUSH).clip(-1, 1)

    return act


def by_hand(env):
    """The learned policy's directions: a body that will pass too near pushes in time."""
    task = env.task
    count = [task.n_neighbours, task.n_obstacles_seen]
    room, soon = np.repeat([0.35, 0.5], count), np.repeat([0.5, 0.6], count)

    def act(views):
        row = views[..., OWN:].reshape(*views.shape[:-1], sum(count), ROW)
        ways = row[..., 15:].reshape(*row.shape[:-1], 5, 3)
        now, wanted = (
            np.clip(room - row[..., i + 1], 0, 2) / (4 * row[..., i] + soon) for i in (7, 11)
        )
        near, closing = 2 * row[..., 1], 3 * row[..., 2]
        shy = np.maximum(closing - 1.5 * np.maximum(near, 0), 0)
        shy += np.maximum(0.5 - near, 0) * (np.arange(sum(count)) < count[0])
        parts = np.stack([shy, now, wanted], -1) * (row[..., :1] > 0)
        push = (parts[..., None] * ways[..., [0, 3, 4], :]).sum((-2, -3))
        return (views[..., :3] + 4.5 * push / PUSH).clip(-1, 1)

    return act


def cbf_qp(env, k=2.0, near=3):
    """min |a − a_straight|² + 1e3 Σ s²,  ḧ + 2k ḣ + k² h ≥ −s for the `near` nearest bodies.

    h = |p_i − p_j|² − R²; half of what is missing is the drone's where the body is a drone, all of
    it where it is an obstacle (the template is `dec_share_cbf.py` of GCBF+). k was the best of 1,
    2, 3 on selection seeds.
    """
    from qpsolvers import solve_qp

    task, n = env.task, env.task.n_drones
    own_share = np.repeat([0.5, 1.0], [n, task.n_obstacles])
    count = min(near, n + task.n_obstacles)
    cost = sparse.diags([1.0] * 3 + [1e3] * count, format="csc")

    def act(views):
        most = env.authority[:, 0, 0] / PUSH
        wanted = views[..., :3].astype(float).clip(-most[:, None, None], most[:, None, None])
        seen = everyone(env)
        away, v = -seen.to_others, env.velocities
        speed = v[:, :, None] - np.concatenate([v, env.drift], 1)[:, None]
        free = -task.drag * (v - env.wind)  # the acceleration without thrust
        h = seen.gaps**2 - task.limits**2
        h[:, np.arange(n), np.arange(n)] = np.inf  # not oneself
        bound = 2 * lengths(speed) ** 2 + 4 * k * (away * speed).sum(-1) + k**2 * h
        bound = own_share * bound + 2 * (away * free[:, :, None]).sum(-1)
        order = np.argsort(h, -1)[..., :count]
        away = np.take_along_axis(away, order[..., None], 2)
        scale = np.maximum(2 * PUSH * lengths(away), 1e-9)
        left = 2 * PUSH * away / scale[..., None]  # left · a + bound / scale ≥ −s
        right = np.minimum(np.take_along_axis(bound, order, -1) / scale, 1e3)
        out = wanted.copy()
        for e, i in np.argwhere((((left * wanted[:, :, None]).sum(-1) + right) < 0).any(-1)):
            found = solve_qp(
                cost, np.r_[-wanted[e, i], np.zeros(count)],
                sparse.csc_matrix(np.hstack([-left[e, i], -np.eye(count)])), right[e, i],
                lb=np.r_[-most[e] * np.ones(3), np.zeros(count)],
                ub=np.r_[most[e] * np.ones(3), np.full(count, 1e6)], solver="osqp",
            )  # fmt: skip
            out[e, i] = wanted[e, i] if found is None else found[:3]
        return out.clip(-1, 1)

    return act


class Queue(OpenVectorEnv):
    """Flies scenes that were drawn beforehand, one after the other, in whichever swarm is free."""

    def __init__(self, task, num_envs, flights, seed):
        seed = np.random.SeedSequence(seed, spawn_key=HELD_OUT)
        self.scenes = task.scene(np.random.default_rng(seed), flights)
        self.flights, self.given, self.flight = flights, 0, np.zeros(num_envs, int)
        super().__init__(task, num_envs, 0)

    def _draw(self, swarms):
        self.ended_at = self.positions.copy()
        self.flight[swarms] = self.given + np.arange(len(swarms))
        self.given += len(swarms)
        at = self.flight[swarms] % self.flights  # those beyond the last one do not count
        for name, x in self.scenes.items():
            now = getattr(self, name)
            now[swarms] = np.broadcast_to(x, (self.flights, *now.shape[1:]))[at]
        self.velocities[swarms], self.steps[swarms] = 0, 0


def fly(make, task, flights, seed=SEED):
    """What happened, arrays (flights,); the scenes depend on task, flights and seed alone."""
    size = max(1, min(1600 // task.n_drones, flights // 5))
    out = {name: np.zeros(flights) for name in ("success", "clean", "agent", "cost", "moving")}
    dirty, cost = np.zeros((size, task.n_drones), bool), np.zeros(size)
    with Queue(task, size, flights, seed) as env:
        views, _ = env.reset()
        act, left = make(env), flights
        while left:
            flight, goals, targets = env.flight.copy(), env.goal_radius.copy(), env.targets.copy()
            moving, weight = env.drift.any((1, 2)), task.discount**env.steps
            step = env.step(act(views))
            views, share = step.observations, step.costs.sum(-1)
            cost += weight * share.sum(1)
            dirty |= share > 0
            for e in np.flatnonzero(step.terminated | step.truncated):
                if flight[e] < flights:
                    home = lengths(env.ended_at[e] - targets[e]) <= goals[e]
                    row = step.terminated[e], not dirty[e].any(), (home & ~dirty[e]).mean()
                    for name, x in zip(out, (*row, cost[e], moving[e]), strict=True):
                        out[name][flight[e]] = x
                    left -= 1
                dirty[e], cost[e] = False, 0
    return out


def summary(flown, of, task):
    """Means over the flights `of`, 95 % bands (Clopper–Pearson; bootstrap over flights), bound."""
    out = {"flights": int(of.sum())}
    for name in ("success", "clean"):
        band = stats.binomtest(int(flown[name][of].sum()), out["flights"]).proportion_ci()
        out[name] = [float(x) for x in (flown[name][of].mean(), band.low, band.high)]
    agents = flown["agent"][of]
    again = np.random.default_rng(0).choice(agents, (1000, len(agents))).mean(1)
    out["agent"] = [float(agents.mean()), *np.quantile(again, [0.025, 0.975]).tolist()]
    cost = flown["cost"][of]
    out["cost"] = float(cost.mean())
    out["upper99"] = upper_bound(cost, task.cost_cap, most=task.cost_most)
    return out


def say(name, n, row):
    rates = "  ".join(f"{key} {row[key][0]:.3f}" for key in ("success", "clean"))
    about = f"agent {row['agent'][0]:.4f}  cost {row['cost']:.3f}  upper99 {row['upper99']:.3f}"
    print(f"{name:32} N {n:<4}× {row['flights']:<5} {rates}  {about}", flush=True)


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--run", default=FIGURES / "runs/swarm_any")
    options.add_argument("--flights", type=int, default=1000, help="a fifth of it from N = 64 on")
    options.add_argument("--sizes", type=int, nargs="*", default=SIZES)
    options.add_argument("--seed", type=int, default=SEED)
    options.add_argument("--out", type=Path, help="where to write the numbers")
    given = options.parse_args()
    policy = load(given.run)
    table = {"seed": given.seed, "drawn": {}, "rows": {}, "beyond": {}}

    def learned(env):
        return policy.act

    pilots = {  # and the share of the flights that each flies; equal shares are the same draws
        "learned": (learned, 1.0),
        "straight": (straight, 0.2),
        "pilot": (pilot, 0.2),
        "by hand": (by_hand, 0.2),
        "learned, beside these": (learned, 0.2),
        "cbf-qp": (cbf_qp, 0.1),  # slow
        "learned, beside cbf-qp": (learned, 0.1),
    }

    def rate(part, name, label, make, task, flights):
        flown = fly(make, task, max(10, round(flights)), given.seed)
        row = {"all": summary(flown, np.ones(len(flown["clean"]), bool), task)}
        if flown["moving"].sum() > 1:
            row["moving"] = summary(flown, flown["moving"] > 0, task)
        for which, numbers in row.items():
            say(f"{name} {label} ({which})", task.n_drones, numbers)
        table[part].setdefault(name, {})[label] = row
        if given.out:
            given.out.write_text(json.dumps(table, indent=1, ensure_ascii=False) + "\n")

    def drawn(names):
        for name in names:
            make, share = pilots[name]
            for n in given.sizes:
                flights = share * given.flights / (5 if n >= 64 else 1)
                rate("drawn", name, str(n), make, replace(policy.task, n_drones=n), flights)

    drawn(["learned"])
    for label, fields in [pair for rows in ROWS.values() for pair in rows.items()]:
        both = label == "obstacles on both sides"
        task = OpenBothSides() if both else OpenTask(**fields)
        rate("rows", "learned", label, learned, task, given.flights / 5)
    drawn(list(pilots)[1:])
    for label, fields in BEYOND.items():
        task = replace(policy.task, n_drones=8, **fields)
        rate("beyond", "learned", label, learned, task, given.flights / 5)


if __name__ == "__main__":
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="OSQP exited")  # what it found is flown
        main()
