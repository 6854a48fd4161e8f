"""`SwarmVectorEnv` against raw Bullet: same bodies, forces and ticks, in turn, in one process.

Raw is one call a body to apply a force, one call to step, two calls a body to read pose and
velocity, and nothing else: no costs, no views, no arrays. Both fly from the same starts under the
same forces, so that Bullet has the same work in both.
"""

import statistics
import time

import numpy as np

from safemarl_lite.swarm import SwarmTask, SwarmVectorEnv
from safemarl_lite.swarm.engine import bullet


def raw(env, forces):
    """Env-steps/s of replaying `forces` (T lists of a force a body) by Bullet's calls alone."""
    origin, client = [0, 0, 0], env.client
    env.reset(seed=0)
    began = time.perf_counter()
    for row in forces:
        for body, force in zip(env.drones, row, strict=True):
            bullet.applyExternalForce(body, -1, force, origin, bullet.LINK_FRAME, client)
        bullet.stepSimulation(client)
        for body in env.drones:
            bullet.getBasePositionAndOrientation(body, client)
            bullet.getBaseVelocity(body, client)
    return len(forces) * env.num_envs / (time.perf_counter() - began)


def ours(env, actions):
    """Env-steps/s of `step` with actions (T, E, N, 3)."""
    env.reset(seed=0)
    began = time.perf_counter()
    for action in actions:
        env.step(action)
    return len(actions) * env.num_envs / (time.perf_counter() - began)


def forces_of(env, actions):
    """The forces that `step` applies for these actions, as lists."""
    applied, push = [], env._push
    env._push = lambda forces: (applied.append(forces.reshape(-1, 3).tolist()), push(forces))
    ours(env, actions)
    env._push = push
    return applied


if __name__ == "__main__":
    for swarms in (1, 32, 64, 128):
        env = SwarmVectorEnv(SwarmTask(), swarms)
        actions = np.random.default_rng(0).uniform(-0.1, 0.1, (60, swarms, 5, 3))
        forces = forces_of(env, actions)
        replayed = env.positions.copy()
        raw(env, forces)
        env._read()
        assert np.abs(env.positions - replayed).max() == 0, "raw must fly what step flies"
        rates = [(ours(env, actions), raw(env, forces)) for _ in range(9)]
        env.close()
        own, bound = (statistics.median(column) for column in zip(*rates, strict=True))
        share = statistics.median(a / b for a, b in rates)
        print(f"{swarms} swarms: {own:.0f} env-steps/s, raw Bullet {bound:.0f}, share {share:.2f}")
