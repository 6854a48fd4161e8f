"""Notebook 02: its pilot is safe, its baselines fail, and what its text asserts."""

import numpy as np
import pytest
from lesson_pages import source

from safemarl_lite.evaluate import rollout
from safemarl_lite.lessons import lesson_02
from safemarl_lite.swarm import SwarmTask, SwarmVectorEnv

CODE = source("02")


def page_pilot():
    (code,) = (c for c in CODE.values() if "def pilot" in c)
    space = {"np": np}
    exec(code, space)
    return space["pilot"]


def test_five_robots_do_not_fit_into_a_smaller_disc():
    """The proof of exercise 2.2, against random search: no five points do better."""
    x = np.random.default_rng(0).uniform(-1, 1, (200_000, 5, 2))
    x = x[(x**2).sum(-1).max(-1) <= 1]
    gap = np.linalg.norm(x[:, :, None] - x[:, None], axis=-1)[:, *np.triu_indices(5, 1)].min(-1)
    assert 0.8 < gap.max() <= 2 * np.sin(np.pi / 5)


def test_the_pilot_is_safe_on_flights_that_it_was_not_tuned_on():
    with SwarmVectorEnv(SwarmTask(), 300, seed=77, autoreset=False) as env:
        flown = rollout(page_pilot(), env)
    assert flown["success"].mean() > 0.95
    assert (flown["discounted"].sum(1) > 0).mean() < 0.05


def test_the_baselines_fail_where_the_page_says_so():
    space = {"np": np, "rollout": rollout, "SwarmVectorEnv": SwarmVectorEnv, "task": SwarmTask(),
             "pilot": page_pilot()}  # fmt: skip
    exec(CODE["swarm-30"], space)
    results = space["results"]
    assert results["hover"] == (0, 0, 0)  # clean and useless
    assert results["straight"][0] > 0.9 and results["straight"][1] > 20 * SwarmTask().threshold
    assert results["random"][0] == 0 and results["random"][1] > SwarmTask().threshold
    assert results["pilot"][0] > 0.9 and results["pilot"][1] < results["straight"][1] / 100


@pytest.mark.parametrize("changed", [True, False])
def test_the_colleagues_line_is_seen_in_the_drone_that_is_last(changed):
    task = SwarmTask()
    env = lesson_02.colleague(task, 50, 1) if changed else task.vector_env(50, 1, autoreset=False)
    with env:
        flown = rollout(page_pilot(), env, record=True)
    end = flown["positions"][flown["length"].astype(int), range(50)]
    last = np.linalg.norm(end - task.target, axis=-1).max(-1)
    assert flown["success"].mean() >= 0.98 and not flown["discounted"].any()  # neither tells
    last = last[flown["success"] > 0]
    assert (last > task.goal_radius).all() if changed else (last <= task.goal_radius).all()


def test_a_force_at_the_origin_of_the_world_spins_the_body():
    space = {"np": np}
    exec("from safemarl_lite.swarm.engine import bullet\n", space)
    exec(next(c for c in CODE.values() if "def drop" in c), space)
    assert space["drop"]([0, 0, 1], None)[1].max() < 1e-9
    assert space["drop"]([0, 0, 1], [0, 0, 0])[1][-1] > 2 * np.pi
