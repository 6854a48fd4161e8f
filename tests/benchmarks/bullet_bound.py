"""`SwarmVectorEnv` against raw Bullet: same bodies, forces and ticks, in turn, in one process.

Raw is one call a body to apply a force, one call to step, two calls a body to read pose and
velocity, and nothing else: no costs, no views, no arrays. Both fly from the same starts under the
same forces, so that Bullet has the same work in both.
"""

import statistics
import time

import numpy as np

from safemarl_lite.swarm import SwarmEnv, SwarmTask, SwarmVectorEnv
from safemarl_lite.swarm.engine import bullet


def raw(env, forces):
    """Env-steps/s of replaying `forces` (T lists of a force a body) by Bullet's calls alone."""
    origin, client = [0, 0, 0], env.client
    env.reset(seed=0)
    began = time.process_time()
    for row in forces:
        for body, force in zip(env.drones, row, strict=True):
            bullet.applyExternalForce(body, -1, force, origin, bullet.LINK_FRAME, client)
        bullet.stepSimulation(client)
        for body in env.drones:
            bullet.getBasePositionAndOrientation(body, client)
            bullet.getBaseVelocity(body, client)
    return len(forces) * env.num_envs / (time.process_time() - began)


def ours(env, actions):
    """Env-steps/s of `step` with actions (T, E, N, 3)."""
    env.reset(seed=0)
    began = time.process_time()
    for action in actions:
        env.step(action)
    return len(actions) * env.num_envs / (time.process_time() - began)


def single(env, actions):
    """Env-steps/s of `SwarmEnv.step`, which other libraries drive, with actions (T, 1, N, 3)."""
    env.reset(seed=0)
    rows = [dict(zip(env.agents, action[0], strict=True)) for action in actions]
    began = time.process_time()
    for row in rows:
        env.step(row)
    return len(rows) / (time.process_time() - began)


def forces_of(env, actions):
    """The forces that `step` applies for these actions, as lists."""
    applied, push = [], env._push
    env._push = lambda forces: (applied.append(forces.reshape(-1, 3).tolist()), push(forces))
    ours(env, actions)
    env._push = push
    return applied


def share(name, run, env, actions):
    """Print and return the median of nine shares, each of a pair of runs."""
    forces = forces_of(env, actions)
    replayed = env.positions.copy()
    raw(env, forces)
    env._read()
    assert np.abs(env.positions - replayed).max() == 0, "raw must fly what step flies"
    rates = [(run(actions), raw(env, forces)) for _ in range(9)]
    own, bound = (statistics.median(column) for column in zip(*rates, strict=True))
    part = statistics.median(a / b for a, b in rates)
    print(f"{name}: {own:.0f} env-steps/s, raw Bullet {bound:.0f}, share {part:.3f}", flush=True)
    return own, bound, part


def shares(counts=(1, 32, 64, 128)):
    """Of so many swarms, and of one `SwarmEnv`: name → (env-steps/s, raw Bullet's, share)."""
    found = {}
    for swarms in counts:
        actions = np.random.default_rng(0).uniform(-0.1, 0.1, (60, swarms, 5, 3))
        with SwarmVectorEnv(SwarmTask(), swarms) as env:
            name = f"{swarms} swarms"
            found[name] = share(name, lambda x, env=env: ours(env, x), env, actions)
            if swarms == 1:
                one = SwarmEnv()
                name, run = "SwarmEnv", lambda x, one=one: single(one, x)
                found[name] = share(name, run, env, actions)
                one.close()
    return found


if __name__ == "__main__":
    shares()
