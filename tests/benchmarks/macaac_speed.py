"""Env-steps per second of MACAAC's training, one thread, all in: play, replay, updates.

    OMP_NUM_THREADS=1 python tests/benchmarks/macaac_speed.py

The original MAAC (commit 6174a01, unmodified, same task and machine type) trains at 116 env-steps/s
with 4 updates of 1,024 replayed steps per 100 env-steps: 41 gradient samples an env-step. The first
two rows take as many, with the hidden size here and with the original's, and like it read views at
one scale. CPU seconds are counted beside wall seconds, because other work on the machine slows only
the latter.
"""

import statistics
import time

import numpy as np
import torch

from safemarl_lite.macaac import MACAAC, MACAACConfig
from safemarl_lite.navigation import NavigationTask, NavigationVectorEnv

ORIGINAL, ROUNDS, STEPS = 116, 5, 25
SETTINGS = {
    "41 samples an env-step": {"batch": 1024, "updates": 128, "zoom": False},
    "41 samples an env-step, hidden size 128": {
        "batch": 1024, "updates": 128, "zoom": False, "hidden_critic": 128, "hidden_actor": 128},
    "defaults": {},
    "defaults, MADDPG-C": {"algo": "maddpg-c"},
}  # fmt: skip

if __name__ == "__main__":
    torch.set_num_threads(1)
    for name, settings in SETTINGS.items():
        config = MACAACConfig(**settings)
        world, learning = np.random.SeedSequence(0).spawn(2)
        env = NavigationVectorEnv(NavigationTask(), config.num_envs, world)
        learner, rates = MACAAC(env, config, learning), []
        learner.iterate()  # warm
        for _ in range(ROUNDS):
            wall, cpu = time.perf_counter(), time.process_time()
            learner.iterate()
            spent = time.perf_counter() - wall, time.process_time() - cpu
            rates.append([config.num_envs * STEPS / x for x in spent])
        wall, cpu = (statistics.median(x) for x in zip(*rates, strict=True))
        samples = config.updates * config.batch / (config.num_envs * STEPS)
        print(
            f"{name:40} {samples:5.1f} samples an env-step: {wall:7,.0f} env-steps/s by the clock, "
            f"{cpu:7,.0f} by CPU time: {wall / ORIGINAL:.1f} and {cpu / ORIGINAL:.1f} × MAAC's"
        )
