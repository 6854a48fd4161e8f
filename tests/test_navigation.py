"""Constrained Cooperative Navigation: parity with mpe2, physics, costs, views, PettingZoo's API."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from mpe2 import simple_spread_v3
from pettingzoo.test import parallel_api_test, parallel_seed_test

from safemarl_lite.mappo import MAPPO, MAPPOConfig
from safemarl_lite.navigation import NavigationEnv, NavigationTask, NavigationVectorEnv
from safemarl_lite.navigation.task import RADIUS, contact_force, nearest_first

EPISODES, STEPS, N = 220, 25, 5
SWAP = np.array([0, 2, 1, 4, 3])  # the same moves in the numbering of the other order


def draw(rng, task, shape):
    """Random actions of the task's kind, (*shape, N) or (*shape, N, 2)."""
    if task.actions == "discrete":
        return rng.integers(0, 5, (*shape, task.n_agents))
    return rng.uniform(-1, 1, (*shape, task.n_agents, 2)).astype(np.float32)  # as mpe2 wants


def run(env, actions, **start):
    """Positions, velocities, views, k, contacts, costs after every step, each (T, E, …)."""
    env.autoreset = False
    env.reset(options=start)
    rows = []
    for action in actions:
        s = env.step(action)
        rows.append((env.positions.copy(), env.velocities.copy(), s.next_observations,
                     -s.rewards[:, 0], s.contacts, s.costs))  # fmt: skip
    return [np.stack(column) for column in zip(*rows, strict=True)]


@pytest.fixture(scope="module", params=["discrete", "continuous"])
def reference(request):
    """Episodes of mpe2 in which agents press to the middle, read from its own world:

    starts, actions and what followed.
    """
    kind, rng = request.param, np.random.default_rng(3)
    task = NavigationTask(integration="mpe2", view="paper", actions=kind)
    env = simple_spread_v3.parallel_env(
        N=N, local_ratio=0.25, max_cycles=STEPS, continuous_actions=kind == "continuous"
    )
    points = rng.uniform(-0.5, 0.5, (EPISODES, 2 * N, 2))
    actions = draw(rng, task, (STEPS, EPISODES))
    rows = np.zeros((EPISODES, STEPS), object)
    for e in range(EPISODES):
        env.reset(seed=e)
        world = env.unwrapped.world
        for body, point in zip(world.agents + world.landmarks, points[e], strict=True):
            body.state.p_pos = point.copy()
        for t in range(STEPS):
            middle = -np.array([body.state.p_pos for body in world.agents])
            if kind == "discrete":
                axis = abs(middle).argmax(1)
                towards = 1 + 2 * axis + (middle[range(N), axis] > 0)
            else:
                towards = np.clip(3 * middle, -1, 1)
            pressed = rng.random(N) < 0.85
            actions[t, e, pressed] = towards[pressed]
            a = actions[t, e]
            if kind == "continuous":  # [nothing, left, right, down, up] in [0, 1]
                up, down = np.maximum(a, 0), np.maximum(-a, 0)
                a = np.stack([0 * up[:, 0], down[:, 0], up[:, 0], down[:, 1], up[:, 1]], 1)
            views, rewards, _, ended, _ = env.step(dict(zip(env.agents, a, strict=True)))
            states = [[b.state.p_pos.copy(), b.state.p_vel.copy()] for b in world.agents]
            rows[e, t] = np.array(states), np.stack(list(views.values())), [*rewards.values()]
        assert all(ended.values())
    states, views, rewards = (
        np.array([[rows[e, t][i] for e in range(EPISODES)] for t in range(STEPS)]) for i in range(3)
    )
    start = {"positions": points[:, :N], "landmarks": points[:, N:]}
    return task, start, actions, (states[:, :, :, 0], states[:, :, :, 1], views, rewards)


def test_equals_mpe2_step_by_step_through_thousands_of_collisions(reference):
    task, start, actions, (positions, velocities, views, rewards) = reference
    p, v, seen, k, contacts, costs = run(NavigationVectorEnv(task, EPISODES), actions, **start)
    assert abs(p - positions).max() < 1e-9  # 1e-6 is the promise
    assert abs(v - velocities).max() < 1e-9
    np.testing.assert_allclose(seen, views, atol=1e-6)  # float32 on both sides
    gaps = np.linalg.norm(positions[:, :, :, None] - positions[:, :, None], axis=-1)
    touching = (gaps < 2 * RADIUS).sum(-1) - 1
    np.testing.assert_allclose(rewards, -0.75 * k[..., None] - 0.25 * touching, atol=1e-6)
    assert (contacts == touching.sum(-1) / 2).all()
    assert (costs.sum((2, 3)) == (touching.sum(-1) > 0)).all()
    assert (contacts > 0).sum() > 3000  # steps with a collision


def test_the_other_integration_order_fails_the_parity_test(reference):
    task, start, actions, (positions, *_) = reference
    same = SWAP[actions] if task.actions == "discrete" else actions
    other = NavigationVectorEnv(replace(task, integration="openai"), EPISODES)
    p, *_ = run(other, same, **start)
    assert (abs(p - positions).max((2, 3)) > 1e-3).mean() > 0.99


def test_the_same_seed_starts_where_mpe2_starts():
    env = NavigationEnv(NavigationTask(integration="mpe2", view="paper"))
    theirs = simple_spread_v3.parallel_env(N=5)
    for seed in (0, 7, 123):
        ours, expected = env.reset(seed)[0], theirs.reset(seed)[0]
        for agent in env.agents:
            np.testing.assert_allclose(ours[agent], expected[agent], atol=1e-7)


def scalar_step(p, v, action, order):
    """One step of the particle world with scalars, from the formulas of the module's header."""
    n = len(p)
    force = [[5.0 * a for a in row] for row in action]
    for i in range(n):
        for j in range(n):
            if i == j:
                continue
            dx, dy = p[i][0] - p[j][0], p[i][1] - p[j][1]
            d = math.sqrt(dx * dx + dy * dy)
            z = (0.3 - d) / 1e-3
            overlap = 1e-3 * (z + math.log1p(math.exp(-z)) if z > 0 else math.log1p(math.exp(z)))
            force[i][0] += 100 * overlap * dx / d
            force[i][1] += 100 * overlap * dy / d
    faster = [[0.75 * v[i][c] + 0.1 * force[i][c] for c in (0, 1)] for i in range(n)]
    moved_by = faster if order == "openai" else v
    return [[p[i][c] + 0.1 * moved_by[i][c] for c in (0, 1)] for i in range(n)], faster


@pytest.mark.parametrize("order", ["openai", "mpe2"])
@pytest.mark.parametrize("n", [2, 5, 7])
def test_both_orders_equal_a_scalar_oracle(order, n):
    rng, episodes = np.random.default_rng(n), 6
    task = NavigationTask(n_agents=n, integration=order, actions="continuous")
    start = rng.uniform(-0.4, 0.4, (episodes, n, 2))
    actions = rng.uniform(-1, 1, (STEPS, episodes, n, 2))
    p, v, *_, contacts, _ = run(NavigationVectorEnv(task, episodes), actions, positions=start)
    assert (contacts > 0).any()
    for e in range(episodes):
        x, speed = start[e].tolist(), [[0.0, 0.0]] * n
        for t in range(STEPS):
            x, speed = scalar_step(x, speed, actions[t, e].tolist(), order)
            np.testing.assert_allclose(p[t, e], x, atol=1e-7)
            np.testing.assert_allclose(v[t, e], speed, atol=1e-6)


@pytest.mark.parametrize("order", ["openai", "mpe2"])
def test_free_motion_has_its_closed_form(order):
    sign = 1 if order == "openai" else -1
    for action, way in enumerate(sign * np.array([(1, 0), (-1, 0), (0, 1), (0, -1)]), 1):
        env = NavigationVectorEnv(NavigationTask(n_agents=1, integration=order), 1)
        env.reset(options={"positions": np.zeros((1, 1, 2))})
        for t in range(1, 20):
            env.step(np.full((1, 1), action))
            speed = 2 * (1 - 0.75**t)  # 0.5 Σ 0.75^s, towards 2
            last = t if order == "openai" else t - 1
            moved = 0.2 * (last - 3 * (1 - 0.75**last))  # 0.1 Σ_{s ≤ last} speed_s
            np.testing.assert_allclose(env.velocities[0, 0], np.multiply(speed, way), atol=1e-12)
            np.testing.assert_allclose(env.positions[0, 0], np.multiply(moved, way), atol=1e-12)


@pytest.mark.parametrize(
    ("order", "policy", "cost", "penalty"),
    [  # means of 120,000 episodes, errors below 0.05 and 0.008
        ("openai", "random", 66.69, 2.750),
        ("openai", "no-op", 60.85, 0.247),
        ("mpe2", "random", 69.07, 3.816),
        ("mpe2", "no-op", 62.86, 1.112),
    ],
)
def test_random_and_idle_policies_cost_what_the_lesson_says(order, policy, cost, penalty):
    task, episodes = NavigationTask(integration=order, view="paper"), 4000
    rng = np.random.default_rng(1)
    actions = draw(rng, task, (STEPS, episodes)) * (policy == "random")
    *_, k, _, costs = run(NavigationVectorEnv(task, episodes, 2, autoreset=False), actions)
    for measured, expected in ((k, cost), (costs.sum((2, 3)), penalty)):
        total = measured.sum(0)
        assert abs(total.mean() - expected) < 4 * total.std() / episodes**0.5


def test_about_half_of_the_starts_overlap():
    env = NavigationVectorEnv(NavigationTask(), 10000, 5)
    assert 0.48 < (env.contacts() > 0).mean() < 0.50


tasks = st.builds(
    NavigationTask,
    n_agents=st.integers(1, 6),
    n_landmarks=st.integers(1, 5),
    horizon=st.integers(1, 6),
    thresholds=st.sampled_from([(3.0,), (3.0, 1.0)]),
    integration=st.sampled_from(["openai", "mpe2"]),
    view=st.sampled_from(["paper", "relational"]),
    actions=st.sampled_from(["discrete", "continuous"]),
    horizon_is_terminal=st.booleans(),
)


def expected_view(task, p, v, marks, i, time_left):
    """Agent i's documented view by loops over Python lists."""

    def far(a, b):
        return math.dist(a, b)

    others = [j for j in range(task.n_agents) if j != i]
    row = [*v[i], *p[i]]
    if task.view == "paper":
        for x in [*marks, *(p[j] for j in others)]:
            row += [x[0] - p[i][0], x[1] - p[i][1]]
        return row + [0.0] * 2 * len(others)
    row.append(time_left)
    for x in sorted(marks, key=lambda x: far(x, p[i])):
        rival = min((far(x, p[j]) for j in others), default=-1)
        row += [x[0] - p[i][0], x[1] - p[i][1], rival]
    for j in sorted(others, key=lambda j: far(p[j], p[i])):
        row += [p[j][0] - p[i][0], p[j][1] - p[i][1], v[j][0] - v[i][0], v[j][1] - v[i][1]]
    return row


@given(tasks, st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=80)
def test_every_task_steps_and_means_what_is_documented(task, seed):
    rng, size = np.random.default_rng(seed), 3
    env = NavigationVectorEnv(task, size, seed)
    wide = rng.uniform(-1.1, 1.1, (size, task.n_agents, 2))
    views, state = env.reset(options={"positions": wide})
    assert views.shape == (size, task.n_agents, task.view_size)
    for t in range(1, task.horizon + 1):
        marks = env.landmarks.tolist()
        env.autoreset = False  # to look at the end of the episode
        s = env.step(draw(rng, task, (size,)))
        p, v = env.positions.tolist(), env.velocities.tolist()
        assert s.rewards.shape == (size, task.n_agents)
        assert s.costs.shape == (size, task.n_agents, len(task.thresholds))
        for e in range(size):
            k = sum(min(math.dist(x, q) for q in p[e]) for x in marks[e])
            pairs = [
                (i, j)
                for i in range(task.n_agents)
                for j in range(i)
                if math.dist(p[e][i], p[e][j]) < 0.3
            ]
            outside = {i for i, q in enumerate(p[e]) if max(map(abs, q)) > 1}
            guilty = [{i for pair in pairs for i in pair}, outside][: len(task.thresholds)]
            np.testing.assert_allclose(s.rewards[e], -k, rtol=1e-12)
            assert s.contacts[e] == len(pairs)
            for j, who in enumerate(guilty):
                assert s.costs[e, :, j].sum() == pytest.approx(float(len(who) > 0))
                assert set(np.flatnonzero(s.costs[e, :, j])) == who
                assert len(set(s.costs[e, list(who), j])) <= 1
            left = 1 - t / task.horizon
            for i in range(task.n_agents):
                expected = expected_view(task, p[e], v[e], marks[e], i, left)
                np.testing.assert_allclose(s.next_observations[e, i], expected, atol=1e-5)
            whole = [x for rows in (p[e], v[e], marks[e]) for row in rows for x in row]
            np.testing.assert_allclose(s.next_state[e], [*whole, left], atol=1e-5)
        over = t == task.horizon
        assert (s.terminated == (over and task.horizon_is_terminal)).all()
        assert (s.truncated == (over and not task.horizon_is_terminal)).all()
    assert views.dtype == state.dtype == s.observations.dtype == np.float32


@given(
    st.integers(1, 40).flatmap(
        lambda n: arrays(float, (2, n, 3), elements=st.sampled_from([0.0, 0.1, 0.5, 1.0, 7.0]))
    )
)
@settings(deadline=None)
def test_nearest_first_puts_every_row_in_the_order_of_its_distance(distances):
    d = torch.tensor(distances)
    number = torch.arange(d.shape[1]).expand(d.shape[0], d.shape[2], -1).transpose(1, 2)
    far, index = (
        nearest_first(torch.stack([d, number.double()], 2), d).unflatten(1, (-1, 2)).unbind(2)
    )
    assert (far.numpy() == np.sort(distances, 1)).all()
    assert (index.sort(1).values == number).all() and (d.gather(1, index.long()) == far).all()


def test_contact_forces_cancel_and_agents_at_one_point_stay_finite():
    p = torch.randn(6, 2, 300, dtype=torch.float64, generator=torch.manual_seed(0)) * 0.3
    others = torch.tensor([[j for j in range(6) if j != i] for i in range(6)])
    ways = p[others] - p[:, None]
    force = contact_force(ways, ways.square().sum(2).sqrt()).sum(1)
    assert force.abs().max() > 1
    assert force.sum(0).abs().max() < 1e-11
    env = NavigationVectorEnv(NavigationTask(), 2)
    env.reset(options={"positions": np.zeros((2, 5, 2))})
    s = env.step(np.zeros((2, 5), int))
    assert np.isfinite(s.observations).all() and (s.contacts == 10).all()


@pytest.mark.parametrize("view", ["relational", "paper"])
def test_renaming_the_agents_renames_what_they_see_and_do(view):
    task, rng, order = NavigationTask(view=view), np.random.default_rng(0), [3, 0, 4, 1, 2]
    positions = rng.uniform(-0.5, 0.5, (50, 5, 2))
    marks = rng.uniform(-1, 1, (50, 5, 2))
    actions = draw(rng, task, (8, 50))
    env = NavigationVectorEnv(task, 50)
    first = run(env, actions, positions=positions, landmarks=marks)
    again = run(env, actions[..., order], positions=positions[:, order], landmarks=marks)
    for i in (0, 1, 5, *([2] if view == "relational" else [])):
        np.testing.assert_allclose(first[i][:, :, order], again[i], atol=1e-5)
    np.testing.assert_allclose(first[3], again[3], atol=1e-9)
    assert (first[4] == again[4]).all()


def test_one_world_and_many_are_the_same():
    for task in (NavigationTask(), NavigationTask(actions="continuous", view="paper")):
        many = NavigationVectorEnv(task, 4, seed=11)
        start = {"positions": 0.5 * many.positions, "landmarks": many.landmarks}
        actions = draw(np.random.default_rng(0), task, (STEPS, 4))
        p, _, views, k, _, costs = run(many, actions, **start)
        for e in range(4):
            env = NavigationEnv(task)
            env.reset(options={name: x[e] for name, x in start.items()})
            for t in range(STEPS):
                names = env.agents
                seen, rewards, *_, infos = env.step(dict(zip(names, actions[t, e], strict=True)))
                np.testing.assert_allclose(env.batch.positions[0], p[t, e], atol=1e-9)
                for i, name in enumerate(names):
                    np.testing.assert_allclose(seen[name], views[t, e, i], atol=1e-5)
                    assert rewards[name] == pytest.approx(-k[t, e])
                    assert infos[name]["costs"] == pytest.approx(costs[t, e, i])
            assert not env.agents


def test_seeds_decide_everything_and_the_generator_can_be_taken_up_again():
    task = NavigationTask(horizon=4)
    actions = draw(np.random.default_rng(1), task, (10, 6))

    def trace(env, part):
        return np.stack([env.step(a).observations for a in part])

    one, two = (NavigationVectorEnv(task, 6, np.random.SeedSequence(5)) for _ in range(2))
    full = trace(one, actions)
    assert (full == trace(two, actions)).all()
    other = trace(NavigationVectorEnv(task, 6, 6), actions)
    assert (full != other).any((2, 3)).all()
    one.reset(seed=9)
    memory = one.rng.bit_generator.state
    first = one.reset()[1]
    two.rng.bit_generator.state = memory
    assert (two.reset()[1] == first).all() and not (one.reset()[1] == first).all()


@pytest.mark.parametrize("terminal", [True, False])
def test_the_end_of_an_episode(terminal):
    task = NavigationTask(horizon=3, horizon_is_terminal=terminal, n_agents=2)
    env = NavigationVectorEnv(task, 5)
    idle = np.zeros((5, 2), int)
    for t in (1, 2, 3, 4):
        s = env.step(idle)
        over = t == 3
        assert (s.terminated == (over and terminal)).all()
        assert (s.truncated == (over and not terminal)).all()
        assert np.allclose(s.next_state[:, -1], 1 - (t if t < 4 else 1) / 3)
        assert np.allclose(s.next_observations[..., 4], s.next_state[:, None, -1])
        assert (s.state != s.next_state).any(1).all() == over
        if over:
            assert (s.state[:, -1] == 1).all() and (env.velocities == 0).all()
            assert (s.observations == env.observations()).all()


@pytest.mark.parametrize(
    ("field", "bad"),
    [
        ("n_agents", 0),
        ("n_agents", 2.5),
        ("n_agents", True),
        ("n_landmarks", -1),
        ("horizon", 0),
        ("thresholds", ()),
        ("thresholds", "3"),
        ("thresholds", (1, 2, 3)),
        ("thresholds", (-1.0,)),
        ("thresholds", (float("nan"),)),
        ("thresholds", ("many",)),
        ("discount", 1.0),
        ("discount", "0.9"),
        ("integration", "euler"),
        ("view", "all"),
        ("actions", "both"),
    ],
)
def test_a_wrong_setting_is_refused_in_one_line_that_names_it(field, bad):
    with pytest.raises(ValueError, match=field) as error:
        NavigationTask(**{field: bad})
    assert "\n" not in str(error.value)
    assert repr(bad) in str(error.value)


@pytest.mark.parametrize(
    ("kind", "bad"),
    [
        ("discrete", np.zeros((3, 5))),
        ("discrete", np.zeros((3, 4), int)),
        ("discrete", np.full((3, 5), 5)),
        ("discrete", np.full((3, 5), -1)),
        ("discrete", np.zeros((3, 5), bool)),
        ("continuous", np.zeros((3, 5))),
        ("continuous", np.full((3, 5, 2), np.nan)),
        ("continuous", np.full((3, 5, 2), np.inf)),
        ("continuous", np.full((3, 5, 2), "a")),
        ("continuous", None),
    ],
)
def test_wrong_actions_are_refused(kind, bad):
    env = NavigationVectorEnv(NavigationTask(actions=kind), 3)
    before = env.positions.copy()
    with pytest.raises(ValueError, match="actions must be"):
        env.step(bad)
    assert (env.positions == before).all() and env.steps == 0


def test_other_wrong_uses_are_refused():
    env = NavigationVectorEnv(NavigationTask(), 2)
    for name in ("positions", "velocities", "landmarks"):
        for bad in (np.zeros((2, 4, 2)), np.full((2, 5, 2), np.nan)):
            with pytest.raises(ValueError, match=name):
                env.reset(options={name: bad})
    with pytest.raises(ValueError, match="num_envs"):
        NavigationVectorEnv(NavigationTask(), 0)
    single = NavigationEnv()
    with pytest.raises(ValueError, match=r"call reset\(\) first"):
        single.step({})
    single.reset(0)
    with pytest.raises(ValueError, match="actions must name"):
        single.step({"agent_0": 0})
    with pytest.raises(ValueError, match="render_mode"):
        NavigationEnv(render_mode="human")


def test_continuous_actions_are_clipped_and_tensors_are_taken():
    env = NavigationVectorEnv(NavigationTask(actions="continuous"), 2)
    force = np.random.default_rng(0).uniform(-3, 3, (2, 5, 2))
    one = run(env, [force], positions=0 * force)[0]
    two = run(env, [torch.tensor(force).clamp(-1, 1)], positions=0 * force)[0]
    assert (one == two).all()


@pytest.mark.parametrize(
    "task",
    [
        NavigationTask(),
        NavigationTask(actions="continuous", view="paper", thresholds=(3, 1)),
        NavigationTask(n_agents=1, n_landmarks=3, horizon_is_terminal=False),
    ],
)
def test_pettingzoo_api(task):
    parallel_api_test(NavigationEnv(task), num_cycles=60)
    parallel_seed_test(lambda: NavigationEnv(task), num_cycles=30)


def test_pictures_show_agents_landmarks_and_collisions():
    env = NavigationEnv(NavigationTask(n_agents=3, n_landmarks=1), render_mode="rgb_array")
    at = np.array([[0.5, 0.5], [-0.5, -0.5], [-0.3, -0.5]])
    env.reset(0, {"positions": at, "landmarks": np.array([[-0.5, 0.5]])})
    shot = env.render()
    assert shot.shape == (400, 400, 3) and shot.dtype == np.uint8
    blue, orange, dark = shot[128, 271], shot[271, 128], shot[128, 128]
    assert blue[2] > blue[0] + 50 and orange[0] > orange[2] + 50 and dark.max() < 80
    assert shot[200, 200].tolist() == [255] * 3 and shot[0, 0].max() < 230
    assert NavigationEnv().render() is None
    env.close()


@pytest.mark.parametrize("thresholds", [(3.0,), (3.0, 1.0)])
def test_the_on_policy_learner_reads_it(thresholds):
    task = NavigationTask(n_agents=3, actions="continuous", thresholds=thresholds)
    config = MAPPOConfig(iterations=2, num_envs=8, minibatches=2, hold=0)
    env = NavigationVectorEnv(task, 8, np.random.SeedSequence(0))
    log = MAPPO(env, config, np.random.SeedSequence(1)).iterate()
    assert all(math.isfinite(x) for x in log.values())
    assert log["length"] == 25 and log["success"] == 1 and log["return"] < -10
