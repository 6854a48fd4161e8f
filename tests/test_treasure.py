"""Treasure collection: a scalar oracle of its physics, rules and views; PettingZoo's API; a run."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pettingzoo.test import parallel_api_test, parallel_seed_test

import safemarl_lite
from safemarl_lite import runs
from safemarl_lite.__main__ import main
from safemarl_lite.evaluate import rollout
from safemarl_lite.macaac import MACAACConfig
from safemarl_lite.mappo import MAPPOConfig
from safemarl_lite.navigation import TreasureEnv, TreasureTask, TreasureVectorEnv

MOVES = [(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)]
SMALL = {"iterations": 2, "num_envs": 4, "updates": 2, "batch": 32, "buffer_episodes": 8,
         "hidden_critic": 16, "hidden_actor": 8, "eval_every": 1, "eval_episodes": 4}  # fmt: skip
TINY = TreasureTask(n_collectors=2, n_deposits=2, n_treasures=2, horizon=4, thresholds=(9.0, 9.0))


def softplus(z):
    return z + math.log1p(math.exp(-z)) if z > 0 else math.log1p(math.exp(z))


def scalar_move(p, v, pushes, C, masses=(1.0, 2.25)):
    """Positions and velocities a step later, by loops over pairs; `pushes` in [−1, 1]²."""
    n = len(p)
    size, mass = ([x[i >= C] for i in range(n)] for x in ((0.05, 0.075), masses))
    p_new, v_new = [], []
    for i in range(n):
        a = [2.25 * u for u in pushes[i]]
        for j in range(n):
            d = math.dist(p[i], p[j])
            if i != j and d:
                force = 100 * 1e-3 * softplus((size[i] + size[j] - d) / 1e-3) * mass[j] / mass[i]
                a = [a[c] + force * (p[i][c] - p[j][c]) / d / mass[i] for c in (0, 1)]
        fast = [0.75 * v[i][c] + 0.1 * a[c] for c in (0, 1)]
        shrink = min(1.0, 1.0 / math.hypot(*fast)) if any(fast) else 1.0
        v_new.append([shrink * x for x in fast])
        p_new.append([p[i][c] + 0.1 * v_new[i][c] for c in (0, 1)])
    return p_new, v_new


def scalar_rules(task, p, marks, kinds, holding):
    """Who takes and delivers what at places p → holding after, treasures taken, deliveries."""
    C, holding, taken, delivered = task.n_collectors, list(holding), [], 0
    for t, mark in enumerate(marks):
        for i in range(C):
            if holding[i] < 0 and math.dist(p[i], mark) < 0.075:
                holding[i] = kinds[t]
                taken.append(t)
                break
    for i in range(C):
        if holding[i] >= 0 and math.dist(p[i], p[C + holding[i]]) < 0.125:
            holding[i] = -1
            delivered += 1
    return holding, taken, delivered


def scalar_aim(task, p, marks, holding, i):
    """The place that agent i's part of k is counted from, by loops."""
    C = task.n_collectors
    if i < C:
        places = marks if holding[i] < 0 else [p[C + holding[i]]]
    else:
        loaded = [p[j] for j in range(C) if holding[j] == i - C]
        places = loaded or [[sum(p[j][c] for j in range(C)) / C for c in (0, 1)]]
    return min(places, key=lambda x: math.dist(p[i], x))


def scalar_cost(task, p, marks, holding, prizes):
    """k, by loops."""
    far = [math.dist(p[i], scalar_aim(task, p, marks, holding, i)) for i in range(len(p))]
    return 0.1 * sum(far) - 5 * prizes


def scalar_view(task, p, v, marks, kinds, holding, i, left):
    """Agent i's documented view, by loops."""
    C, D = task.n_collectors, task.n_deposits

    def sort(j):
        return [float(j < C and holding[j] == d) for d in range(D)] + [
            float(j - C == d) for d in range(D)
        ]

    aim = scalar_aim(task, p, marks, holding, i)
    row = [*v[i], *p[i], left, *sort(i), *(aim[c] - p[i][c] for c in (0, 1))]
    for t in sorted(range(len(marks)), key=lambda t: math.dist(marks[t], p[i])):
        row += [marks[t][c] - p[i][c] for c in (0, 1)] + [float(kinds[t] == d) for d in range(D)]
    others = [j for j in range(len(p)) if j != i]
    for j in sorted(others, key=lambda j: math.dist(p[j], p[i])):
        row += [p[j][c] - p[i][c] for c in (0, 1)] + [*v[j], *sort(j)]
    return row


tasks = st.builds(
    TreasureTask,
    n_collectors=st.integers(1, 5),
    n_deposits=st.integers(1, 3),
    n_treasures=st.integers(1, 4),
    horizon=st.integers(1, 9),
    thresholds=st.sampled_from([(3.0,), (3.0, 1.0)]),
    actions=st.sampled_from(["discrete", "continuous"]),
    horizon_is_terminal=st.booleans(),
)
seen = {"taken": 0, "delivered": 0, "both": 0, "shared": 0, "capped": 0, "deposits": 0}


def follow(task, seed, masses=(1.0, 2.25), crowd=0.2):
    """Play crowded worlds beside the oracle; asserts that they agree."""
    rng, size, C = np.random.default_rng(seed), 3, task.n_collectors
    env = task.vector_env(size, seed, autoreset=False)
    start = {
        "positions": rng.uniform(-crowd, crowd, (size, task.n_agents, 2)),
        "velocities": rng.uniform(-0.9, 0.9, (size, task.n_agents, 2)),
        "landmarks": rng.uniform(-crowd, crowd, (size, task.n_treasures, 2)),
        "kinds": rng.integers(task.n_deposits, size=(size, task.n_treasures)),
        "holding": rng.integers(task.n_deposits, size=(size, C)),
    }
    start["holding"][rng.random((size, C)) < 0.6] = -1
    views, _ = env.reset(options=start)
    assert views.dtype == np.float32 and views.shape == (size, task.n_agents, task.view_size)
    for t in range(1, task.horizon + 1):
        shape = (size, task.n_agents)
        discrete = task.actions == "discrete"
        acts = rng.integers(0, 5, shape) if discrete else rng.uniform(-1, 1, (*shape, 2))
        before = [x.tolist() for x in (env.positions, env.velocities, env.landmarks, env.kinds,
                                       env.holding)]  # fmt: skip
        s = env.step(acts)
        for e in range(size):
            p, v, marks, kinds, holding = (x[e] for x in before)
            pushes = [MOVES[a] for a in acts[e]] if discrete else acts[e].tolist()
            p, v = scalar_move(p, v, pushes, C, masses)
            np.testing.assert_allclose(env.positions[e], p, atol=1e-9)
            np.testing.assert_allclose(env.velocities[e], v, atol=1e-8)
            empty = [i for i in range(C) if holding[i] < 0]
            near = [sum(math.dist(p[i], x) < 0.075 for i in empty) for x in marks]
            holding, taken, delivered = scalar_rules(task, p, marks, kinds, holding)
            assert env.holding[e].tolist() == holding
            now, kinds_now = env.landmarks[e].tolist(), env.kinds[e].tolist()
            for x in range(task.n_treasures):
                assert (now[x] != marks[x]) == (x in taken)
                assert x in taken or kinds_now[x] == kinds[x]
            assert np.abs(now).max() <= 0.95 and set(kinds_now) <= set(range(task.n_deposits))
            k = scalar_cost(task, p, now, holding, len(taken) + delivered)
            np.testing.assert_allclose(s.rewards[e], -k, atol=1e-9)
            pairs = [(i, j) for i in range(C) for j in range(i) if math.dist(p[i], p[j]) < 0.1]
            banks = [(i, j) for i in range(C, task.n_agents) for j in range(C, i)
                     if math.dist(p[i], p[j]) < 0.15]  # fmt: skip
            assert s.contacts[e] == len(pairs) + len(banks)
            for j, who in enumerate([pairs, banks][: len(task.thresholds)]):
                guilty = {i for pair in who for i in pair}
                assert s.costs[e, :, j].sum() == pytest.approx(float(len(who) > 0))
                assert set(np.flatnonzero(s.costs[e, :, j])) == guilty
            left = 1 - t / task.horizon
            for i in range(task.n_agents):
                expected = scalar_view(task, p, v, now, kinds_now, holding, i, left)
                np.testing.assert_allclose(s.next_observations[e, i], expected, atol=1e-5)
            flat = [x for rows in (p, v, now) for row in rows for x in row]
            assert np.allclose(s.next_state[e, : len(flat)], flat, atol=1e-5)
            seen["taken"] += len(taken)
            seen["delivered"] += delivered
            seen["both"] += any(n > 1 for n in near)
            seen["shared"] += len(taken) > 1
            seen["capped"] += any(abs(math.hypot(*x) - 1) < 1e-9 for x in v)
            seen["deposits"] += len(banks) > 0
        over = t == task.horizon
        assert (s.terminated == (over and task.horizon_is_terminal)).all()
        assert (s.truncated == (over and not task.horizon_is_terminal)).all()


@given(tasks, st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=60)
def test_every_task_equals_a_scalar_oracle(task, seed):
    follow(task, seed)


def test_the_oracle_has_seen_every_rule():
    for seed in range(18):
        follow(replace(TreasureTask(), horizon=12), seed, crowd=0.06 + 0.02 * (seed % 6))
    assert all(count > 10 for count in seen.values()), seen


def test_the_oracle_would_see_equal_masses():
    with pytest.raises(AssertionError):
        follow(replace(TreasureTask(), horizon=20), 0, masses=(1.0, 1.0))


def test_one_treasure_goes_to_one_collector_who_brings_it_to_its_deposit():
    task = TreasureTask(n_collectors=2, n_deposits=2, n_treasures=1)
    with task.vector_env(1, 0) as env:
        at = np.array([[[0, 0], [0, 0.1], [0.5, 0], [-0.5, 0]]])
        mark = np.array([[[0.0, 0.05]]])
        env.reset(options={"positions": at, "landmarks": mark, "kinds": [[1]]})
        env.step(np.zeros((1, 4), int))
        assert env.holding.tolist() == [[1, -1]]  # both touch it; the first takes it
        steps = [env.step(np.array([[2, 0, 0, 0]])) for _ in range(8)]
        assert env.holding.tolist() == [[-1, -1]]  # at the left deposit, which takes kind 1
        rewards = np.array([s.rewards[0, 0] for s in steps])
        assert (rewards > 4).sum() == 1 and env.holding.max() == -1


def test_the_same_seed_is_the_same_world_and_treasures_are_spread_evenly():
    task, rng = TreasureTask(), np.random.default_rng(0)
    acts = rng.integers(0, 5, (40, 50, 8))
    worlds = [TreasureVectorEnv(task, 50, seed=s) for s in (4, 4, 5)]
    ends = [[env.step(a).observations for a in acts][-1] for env in worlds]
    assert (ends[0] == ends[1]).all() and (ends[0] != ends[2]).any()
    places = np.concatenate([TreasureVectorEnv(task, 500, 7).landmarks, worlds[0].landmarks])
    assert abs(places.mean()) < 0.03 and np.abs(places).max() <= 0.95
    assert places.std() == pytest.approx(0.95 / 3**0.5, abs=0.03)


@pytest.mark.parametrize("task", [TreasureTask(), replace(TINY, actions="continuous"),
                                  TreasureTask(n_collectors=1, n_deposits=1)])  # fmt: skip
def test_pettingzoo_api(task):
    parallel_api_test(TreasureEnv(task), num_cycles=60)
    parallel_seed_test(lambda: TreasureEnv(task), num_cycles=30)


@pytest.mark.parametrize(("field", "bad"), [("n_collectors", 0), ("n_deposits", 1.5),
    ("n_treasures", -1), ("horizon", 0), ("thresholds", (1, 2, 3)), ("discount", 1.0),
    ("actions", "both")])  # fmt: skip
def test_a_wrong_task_is_refused(field, bad):
    with pytest.raises(ValueError, match=field):
        TreasureTask(**{field: bad})


def test_options_that_mean_nothing_are_refused():
    env = TreasureVectorEnv(TINY, 2)
    for options, said in (({"kinds": np.full((2, 2), 2)}, "kinds must be integers 0 to 1"),
                          ({"holding": np.full((2, 2), 0.5)}, "holding must be integers -1 to 1"),
                          ({"landmarks": np.zeros((2, 1, 2))}, "shape")):  # fmt: skip
        with pytest.raises(ValueError, match=said):
            env.reset(options=options)


def test_pictures_show_loads_and_deposits():
    env = TreasureEnv(TINY, render_mode="rgb_array")
    at = np.array([[0.5, 0.5], [-0.5, -0.5], [0.5, -0.5], [-0.5, 0.5]])
    env.reset(0, {"positions": at, "landmarks": np.array([[0, 0.9], [0, -0.9]]),
                  "kinds": np.array([0, 1]), "holding": np.array([-1, 1])})  # fmt: skip
    shot = env.render().astype(int)
    empty, loaded, bank = shot[128, 271], shot[271, 128], shot[271, 271]
    assert np.ptp(empty) < 3 and empty[0] < 200  # grey
    assert loaded[0] > loaded[2] + 100  # kind 1 is orange
    assert bank[2] > bank[0] + 40 and bank[2] < 140  # dark blue
    assert TreasureEnv().render() is None


@pytest.mark.parametrize("algo", ["macaac", "maddpg-c", "maac"])
def test_a_stopped_run_goes_on_to_the_same_numbers(tmp_path, algo):
    """Treasures come back at random: the buffer must know where."""
    config = MACAACConfig(**SMALL | {"algo": algo, "iterations": 4})
    task = replace(TINY, horizon=30)
    whole = runs.train(task, config, 3, folder=tmp_path / "whole", quiet=True)
    runs.train(task, config, 3, folder=tmp_path / "parts", quiet=True, stop=3)
    parts = runs.train(task, config, 3, folder=tmp_path / "parts", quiet=True, resume=True)
    for log in (whole, parts):
        del log["seconds"]
    assert whole == parts and {"lambda_0", "lambda_1"} <= whole.keys()
    state = runs.read_checkpoint(tmp_path / "whole", "last.pt")
    assert state["learner"]["replay"]["count"] == 4


@pytest.mark.parametrize("algo", ["macaac", "mappo-lagrangian"])
def test_train_evaluate_watch_end_to_end(tmp_path, capsys, algo):
    out = tmp_path / "run"
    main(["train", "treasure", "--algo", algo, "--out", str(out), "--episodes", "4", "--threads",
          "1", "--iterations", "1", "--num-envs", "4", "--eval-episodes", "2", "--horizon", "5",
          "--thresholds", "9", "9"])  # fmt: skip
    said = capsys.readouterr().out
    assert "constraint 1" in said and "success" not in said
    main(["evaluate", str(out), "--episodes", "4", "--json"])
    result = json.loads(capsys.readouterr().out)
    assert len(result["constraints"]) == 2 and result["task"]["n_collectors"] == 6
    main(["watch", str(out), "--out", str(tmp_path / "play.gif")])
    assert (tmp_path / "play.gif").read_bytes()[:3] == b"GIF"
    assert safemarl_lite.load(out).task.kind == "treasure"


def test_the_on_policy_learner_reads_it(tmp_path):
    task = replace(TINY, actions="continuous")
    config = MAPPOConfig(iterations=1, num_envs=4, epochs=1, minibatches=1, eval_episodes=2)
    log = runs.train(task, config, folder=tmp_path / "run", quiet=True)
    assert all(math.isfinite(x) for x in log.values())


@pytest.mark.parametrize(
    ("policy", "cost", "penalties"),
    [  # means of 10,000 and 2,000 episodes
        ("random", 53.50, (1.811, 0.305)),
        ("no-op", 43.72, (0.016, 0.020)),
    ],
)
def test_random_and_idle_policies_cost_what_the_lesson_says(policy, cost, penalties):
    rng = np.random.default_rng(1)
    act = lambda v: rng.integers(0, 5, v.shape[:2]) * (policy == "random")  # noqa: E731
    played = rollout(act, TreasureVectorEnv(TreasureTask(), 400, 2, autoreset=False))
    for x, expected in zip((-played["reward"], *played["discounted"].T), (cost, *penalties),
                           strict=True):  # fmt: skip
        assert abs(x.mean() - expected) < 4 * x.std() / 400**0.5 + 0.01
