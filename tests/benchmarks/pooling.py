"""How the critic for any swarm should add up the bodies in view: gated sum, mean or attention.

    OMP_NUM_THREADS=1 python tests/benchmarks/pooling.py    # about a minute on one idle core

Straight flight with exploration, as every training begins, on drawn tasks with obstacles that move;
each row is a drone at a time, its targets the discounted reward and surrogate cost from there on.
One half of the flights is fitted as in lesson 03, the other explained. `nothing` sees no body at
all. Prints a row a critic and writes `figures/05_pooling.json`.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from torch import nn

from safemarl_lite.equivariant import SwarmCritic, parts
from safemarl_lite.lessons.regression import explained_variance, regress
from safemarl_lite.swarm import SwarmTasks

FIGURES = Path(__file__).parents[2] / "figures"
SEEDS, STD, EVERY = 5, 0.5, 3


class Pooled(SwarmCritic):
    """The shipped critic with another way to add up the bodies j, all with h_j of `each`.

    mean: Σ g_j h_j / Σ g_j. attention: as in lesson 03, with four heads, softmax over the bodies in
    view of q(o)·k(h_j) / √d. nothing: 0.
    """

    def __init__(self, pool, n_neighbours, state_size, heads, hidden=32):
        super().__init__(n_neighbours, state_size, heads, hidden)
        self.pool, self.attend = pool, 4
        self.query = nn.Linear(5, hidden, bias=False)
        self.key, self.value = (nn.Linear(hidden, hidden, bias=False) for _ in range(2))

    def crowd(self, own, rows, gate):
        if self.pool == "nothing":
            return 0 * rows[..., 0, :]
        if self.pool == "attention":
            split = [x.unflatten(-1, (self.attend, -1)) for x in (self.key(rows), self.value(rows))]
            query = self.query(own).unflatten(-1, (self.attend, -1))[..., None, :, :]
            score = (query * split[0]).sum(-1) / split[0].shape[-1] ** 0.5  # (…, K, heads)
            score = score.masked_fill(gate.mT == 0, -1e9)
            weights = score.softmax(-2) * (gate.mT > 0)  # nobody in view: 0
            return (weights[..., None] * split[1]).sum(-3).flatten(-2)
        total = (gate @ rows).squeeze(-2)
        return total / (gate.sum(-1) + 1e-6) if self.pool == "mean" else total

    def forward(self, views, state):
        _, own, bodies, gate, _ = parts(views)
        rows = torch.relu(self.each(self.bodies(own, bodies)))
        state = self.scale(state)[..., None, :].expand(*views.shape[:-1], -1)
        return self.net(torch.cat([own, state, self.crowd(own, rows, gate)], -1))


def flights(task, swarms, seed):
    """Views (B, 1, O), states (B, 3) and returns (B, 2) of drones in flight, a row each."""
    n, noise, rows = task.n_drones, np.random.default_rng(seed), []
    with task.vector_env(swarms, seed, autoreset=False) as env:
        views, state = env.reset()
        alive = np.ones(swarms, bool)
        for _ in range(task.horizon):
            push = views[..., :3] + STD * noise.normal(size=(*views.shape[:2], 3))
            step = env.step(push)
            rows.append((views, state.reshape(swarms, n, 3), step.rewards, step.surrogate[..., 0],
                         alive.copy()))  # fmt: skip
            alive &= ~(step.terminated | step.truncated)
            views, state = step.observations, step.state
            if not alive.any():
                break
    views, states, rewards, costs, flying = map(np.stack, zip(*rows, strict=True))
    signal = np.stack([rewards, costs], -1) * flying[..., None, None]
    returns = np.zeros_like(signal)
    ahead = np.zeros_like(signal[0])
    for t in reversed(range(len(signal))):
        ahead = signal[t] + task.discount * ahead
        returns[t] = ahead
    kept = [x[::EVERY][flying[::EVERY]].reshape(-1, x.shape[-1]) for x in (views, states, returns)]
    views, states, returns = (torch.as_tensor(x, dtype=torch.float32) for x in kept)
    return views[:, None], states, returns[:, None]


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--swarms", type=int, default=24)
    options.add_argument("--out", type=Path, default=FIGURES / "05_pooling.json")
    given = options.parse_args()
    torch.set_num_threads(1)
    task = SwarmTasks(moving=1.0)
    fit, test = (flights(task, given.swarms, seed) for seed in (31, 32))
    table = {"std": STD, "drones": task.n_drones, "flights": given.swarms, "explained": {}}
    for pool in ("nothing", "mean", "sum", "attention"):
        found = []
        for seed in range(SEEDS):
            torch.manual_seed(seed)
            critic = Pooled(pool, task.n_neighbours, 3, 2)
            critic.scale.update(fit[1])
            scale = fit[2].std((0, 1))
            regress(critic, fit[:2], fit[2] / scale, torch.Generator().manual_seed(seed))
            with torch.no_grad():
                values = critic(*test[:2]) * scale
            found.append(explained_variance(test[2], values).tolist())
        table["explained"][pool] = np.round(found, 4).tolist()  # (seed, reward and cost)
        print(f"{pool:10}", *np.mean(found, 0).round(3), np.std(found, 0).round(3), flush=True)
    given.out.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
