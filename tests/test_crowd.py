"""In a crowd a tree finds who is near: the same as comparing all with all, to rounding."""

from dataclasses import replace

import numpy as np
import pytest

from safemarl_lite.swarm import SwarmTask, SwarmTasks
from safemarl_lite.swarm import view as seen_from

FAR = {"target": (40.0, 40.0, 20.0), "start": (-2.0, -2.0, 20.0), "horizon": 300}
CROWD = SwarmTask(n_drones=40, goal_radius=8.0, start_jitter=0.0, **FAR)  # a lattice: exact ties
ALONE = replace(CROWD, n_obstacles=0, start_jitter=0.3)
TASKS = {
    "lattice": (CROWD, False),
    "clump": (ALONE, True),
    "two budgets": (replace(ALONE, threshold=(0.1, 0.1)), True),
    "all in view": (replace(ALONE, n_neighbours=39), False),
    "more in view than there are": (replace(ALONE, n_neighbours=50), True),
    "drawn": (SwarmTasks(n_drones=33, moving=1.0), False),
}


def flown(task, clump):
    """All that two swarms return, a few random steps; `clump`: they start within each other."""
    rng = np.random.default_rng(0)
    shape, given = (2, task.n_drones, 3), None
    if clump:
        given = {"positions": 1.5 * rng.normal(size=shape) + [0, 0, 30]}
    with task.vector_env(2, 0) as env:
        found = [*env.reset(options=given), env.costs()]
        for _ in range(5):
            found += env.step(rng.uniform(-1, 1, shape))
        return found, env.seen.who.shape[-1]


def same(a, b):
    """Equal up to the order of sums."""
    return np.allclose(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", TASKS)
def test_a_tree_finds_what_comparing_all_finds(name, monkeypatch):
    few, n = flown(*TASKS[name])
    monkeypatch.setattr(seen_from, "CROWD", 1000)
    everyone, all_ = flown(*TASKS[name])
    assert all_ == TASKS[name][0].n_drones >= n
    assert all(same(a, b) for a, b in zip(few, everyone, strict=True))
    if name == "clump":
        assert few[2].max() > 5  # there is something to count
    if name in ("lattice", "drawn"):
        assert n < all_ / 2


def test_one_too_few_would_be_noticed(monkeypatch):
    right, _ = flown(*TASKS["clump"])
    nearby = seen_from.nearby
    monkeypatch.setattr("safemarl_lite.swarm.world.nearby", lambda *x: nearby(*x)[..., :-1])
    wrong, _ = flown(*TASKS["clump"])
    assert not all(same(a, b) for a, b in zip(right, wrong, strict=True))


def test_nearby_by_brute_force():
    rng = np.random.default_rng(3)
    for reach in (0.5, 3.0):
        positions = rng.uniform(0, 8, (3, 60, 3))
        who = seen_from.nearby(positions, 4, reach)
        far = np.linalg.norm(positions[:, :, None] - positions[:, None], axis=-1)
        last = np.maximum(np.sort(far)[..., 4], reach)
        for e, i in np.ndindex(3, 60):
            assert set(np.flatnonzero(far[e, i] <= last[e, i])) <= set(who[e, i])
        assert (np.diff(who) > 0).all()
