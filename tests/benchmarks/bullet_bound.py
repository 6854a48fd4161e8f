"""`SwarmVectorEnv` against raw Bullet on the same bodies and ticks, in turn, in one process."""

import statistics
import time

import numpy as np
import pybullet as bullet

from safemarl_lite.swarm import SwarmTask, SwarmVectorEnv


def raw(env, steps):
    """Env-steps/s of: apply a force, step, read pose and velocity, once a body and step."""
    hover, origin, client = [0, 0, env.task.mass * 9.81], [0, 0, 0], env.client
    began = time.perf_counter()
    for _ in range(steps):
        for body in env.drones:
            bullet.applyExternalForce(body, -1, hover, origin, bullet.LINK_FRAME, client)
        bullet.stepSimulation(client)
        for body in env.drones:
            bullet.getBasePositionAndOrientation(body, client)
            bullet.getBaseVelocity(body, client)
    return steps * env.num_envs / (time.perf_counter() - began)


def ours(env, steps, actions):
    began = time.perf_counter()
    for _ in range(steps):
        env.step(actions)
    return steps * env.num_envs / (time.perf_counter() - began)


if __name__ == "__main__":
    for swarms in (1, 32, 64, 128):
        env = SwarmVectorEnv(SwarmTask(), swarms)
        actions = np.random.default_rng(0).uniform(-0.1, 0.1, (swarms, 5, 3))
        rates = []
        for _ in range(9):
            env.reset()
            bound = raw(env, 60)
            env.reset()
            rates.append((ours(env, 60, actions), bound))
        env.close()
        own, bound = (statistics.median(column) for column in zip(*rates, strict=True))
        share = statistics.median(a / b for a, b in rates)
        print(f"{swarms} swarms: {own:.0f} env-steps/s, raw Bullet {bound:.0f}, share {share:.2f}")
