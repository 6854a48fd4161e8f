"""The swarm: feasibility, costs, physics, PettingZoo's API, single against batched."""

import os
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pettingzoo.test import parallel_api_test, parallel_seed_test

from safemarl_lite.swarm import InfeasibleTask, SwarmEnv, SwarmTask, SwarmVectorEnv
from safemarl_lite.swarm.task import (
    drone_costs,
    formation,
    least_goal_radius,
    lengths,
    obstacle_costs,
)

CONTROLS = ("force", "attitude")
points = st.integers(0, 7).flatmap(
    lambda n: arrays(float, (n, 3), elements=st.floats(-4, 4, allow_nan=False, width=32))
)


@given(points.filter(len), points, st.floats(0.1, 4), st.floats(0.1, 4))
@settings(deadline=None)
def test_costs_equal_the_draft_formulas_by_brute_force(p, o, d_safe, reach):
    def norm(x):
        return float(np.sqrt((x * x).sum()))

    near = [[norm(a - b) < d_safe for j, b in enumerate(p) if j != i] for i, a in enumerate(p)]
    hits = [[norm(a - b) < reach for b in o] for a in p]
    assert drone_costs(p, d_safe).tolist() == [sum(row) for row in near]
    assert obstacle_costs(p, o, reach).tolist() == [sum(row) for row in hits]
    assert drone_costs(p, d_safe).sum() == 2 * sum(
        norm(p[i] - p[j]) < d_safe for i in range(len(p)) for j in range(i)
    )


@pytest.mark.parametrize("n", range(1, 7))
def test_packing_bound_is_reached_by_the_formation_and_not_beaten_by_search(n):
    tight = formation(n, 2.0)
    gaps = lengths(tight[:, None] - tight)[~np.eye(n, dtype=bool)]
    assert lengths(tight).max() == pytest.approx(least_goal_radius(n, 2.0))
    assert n == 1 or gaps.min() == pytest.approx(2.0)
    rng, best = np.random.default_rng(n), np.inf
    for _ in range(20):  # push points apart inside the unit ball, scale to distance 2
        x = rng.normal(size=(n, 3))
        for step in np.geomspace(0.5, 1e-3, 300):
            way = x[:, None] - x
            gap = lengths(way) + 10 * np.eye(n)
            i, j = np.unravel_index(gap.argmin(), gap.shape)
            push = step * way[i, j] / max(gap[i, j], 1e-9)
            x[i], x[j] = x[i] + push, x[j] - push
            x /= np.maximum(lengths(x), 1)[:, None]
        gap = (lengths(x[:, None] - x) + 10 * np.eye(n)).min()
        best = min(best, 2.0 / gap * lengths(x).max()) if n > 1 else 0
    assert best >= least_goal_radius(n, 2.0) - 1e-9


@given(st.integers(7, 60))
def test_beyond_six_the_bound_is_monotone_and_below_a_real_packing(n):
    assert least_goal_radius(n, 1.0) >= least_goal_radius(n - 1, 1.0)
    x = formation(n, 1.0)
    assert (lengths(x[:, None] - x) + 9 * np.eye(n)).min() == pytest.approx(1.0)
    assert lengths(x).max() >= least_goal_radius(n, 1.0)


@pytest.mark.parametrize(
    ("field", "bad", "good"),
    [
        ("goal_radius", 1.0, 1.4143),
        ("start_spacing", 2.5, 3.0393),
        ("max_thrust", 4.9, 6.0),
        ("horizon", 24, 25),
        ("target", (4.0, 4.0, 5.0), (7.6, 7.6, 5.0)),
        ("start", (-2.0, -2.0, 0.5), (-2.0, -2.0, 0.6)),
        ("target", (10.0, 10.0, 0.1), (10.0, 10.0, 1.6)),
    ],
)
def test_infeasible_tasks_name_what_would_do(field, bad, good):
    with pytest.raises(InfeasibleTask, match="at least") as caught:
        SwarmTask(**{field: bad})
    assert "\n" not in str(caught.value)
    assert getattr(SwarmTask(**{field: good}), field) == good


@pytest.mark.parametrize(
    "fields",
    [{"goal_radius": 1.0}, {"max_thrust": 4.0, "horizon": 10**6}, {"start_spacing": 2.1},
     {"horizon": 3}, {"n_drones": 8, "goal_radius": 1.5},
     {"n_drones": 20, "start": (-4, -4, 6), "n_obstacles": 0}],
)  # fmt: skip
def test_the_number_in_the_message_is_accepted(fields):
    with pytest.raises(InfeasibleTask) as caught:
        SwarmTask(**fields)
    name, enough = re.match(r"(\w+)=.* at least (\S+)$", str(caught.value)).groups()
    SwarmTask(**fields | {name: int(enough) if name == "horizon" else float(enough)})


@given(st.integers(1, 13), st.floats(1.0, 1.5))
@settings(deadline=None, max_examples=40)
def test_places_lie_in_the_goal_above_the_ground_and_apart(n, room):
    radius = max(lengths(formation(n, 2.0)).max(), 0.5) * room + 1e-9
    task = SwarmTask(n_drones=n, goal_radius=radius, start=(-2, -2, 4), n_obstacles=0)
    places = task.places(task.draw(np.random.default_rng(n), 2)[0])
    assert (lengths(places - task.target) <= radius + 1e-9).all()
    assert places[..., 2].min() >= task.body_radius
    gaps = lengths(places[:, :, None] - places[:, None]) + 9 * np.eye(n)
    assert gaps.min() >= 2.0 - 1e-9


def test_a_vertical_way_and_no_way_at_all_can_be_drawn():
    task = SwarmTask(start=(0, 0, 3), target=(0, 0, 25))
    positions, obstacles = task.draw(np.random.default_rng(0), 50)
    assert np.isfinite(obstacles).all()
    assert not obstacle_costs(positions, obstacles, task.obstacle_radius + task.d_safe).any()
    env = SwarmEnv(task, render_mode="rgb_array")
    env.reset(seed=0)
    assert len(np.unique(env.render().reshape(-1, 3), axis=0)) > 50
    env.close()
    here = SwarmTask(start=(0, 0, 5), target=(0, 0, 5), n_obstacles=0)
    assert np.isfinite(here.draw(np.random.default_rng(0), 3)[0]).all()


def test_the_number_in_the_message_is_the_draft_minimum():
    with pytest.raises(InfeasibleTask, match=r"at least 1\.414"):
        SwarmTask(goal_radius=1.0)


@pytest.mark.parametrize(
    "field",
    [{"n_drones": 0}, {"n_drones": 2.5}, {"dt": 0}, {"discount": 1.0}, {"threshold": -1},
     {"mass": -1},
     {"threshold": (1, 1, 1)}, {"control": "magic"}, {"target": (1, 2)}, {"target": (np.nan, 1, 2)},
     {"start_jitter": -1}, {"n_neighbours": -1}],
)  # fmt: skip
def test_bad_fields_are_refused_in_one_line(field):
    with pytest.raises(ValueError, match="must be|must lie") as caught:
        SwarmTask(**field)
    assert "\n" not in str(caught.value)


@given(st.integers(1, 8), st.integers(0, 6), st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=60)
def test_draws_are_safe_and_in_the_way(n, m, seed):
    task = SwarmTask(n_drones=n, n_obstacles=m)
    positions, obstacles = task.draw(np.random.default_rng(seed), 3)
    reach = task.obstacle_radius + task.d_safe
    assert not drone_costs(positions, task.d_safe).any()
    assert not obstacle_costs(positions, obstacles, reach).any()
    assert (lengths(obstacles - task.target) >= task.goal_radius + reach - 1e-9).all()
    along = np.subtract(task.target, task.start) / task.distance
    way = obstacles - task.start
    aside = lengths(way - (way @ along)[..., None] * along)
    assert (aside <= reach + 1e-9).all()
    places = task.places(positions)
    assert not drone_costs(places, task.d_safe).any()
    assert (lengths(places - task.target) <= task.goal_radius).all()


@pytest.mark.parametrize("control", CONTROLS)
def test_pettingzoo(control):
    parallel_api_test(SwarmEnv(SwarmTask(control=control, horizon=40)), num_cycles=100)
    parallel_seed_test(lambda: SwarmEnv(SwarmTask(control=control, horizon=40)))


@pytest.mark.parametrize("control", CONTROLS)
def test_single_equals_batched(control):
    task = SwarmTask(control=control, threshold=(0.1, 0.1))
    rng = np.random.default_rng(0)
    many = SwarmVectorEnv(task, 5, seed=1, autoreset=False)
    # swarm 3 is pressed together, so that contacts are compared too
    positions, obstacles = task.draw(rng, 5)
    positions[3] = np.array(task.start) + rng.uniform(-0.7, 0.7, (5, 3))
    given = {"positions": positions, "obstacles": obstacles}
    many.reset(options=given)
    alone = [SwarmEnv(task) for _ in range(5)]
    for e, env in enumerate(alone):
        env.reset(options={key: value[e] for key, value in given.items()})
    touched = 0
    for _ in range(60):
        actions = rng.uniform(-1, 1, (5, 5, task.action_size))
        step = many.step(actions)
        touched += step.contacts[3]
        for e, env in enumerate(alone):
            if not env.agents:
                continue
            obs, rewards, terminated, _, infos = env.step(
                dict(zip(env.agents, actions[e], strict=True))
            )
            assert np.abs(env.state() - step.next_state[e]).max() < 1e-9
            assert np.abs(np.array(list(rewards.values())) - step.rewards[e]).max() < 1e-9
            assert all((infos[a]["costs"] == step.costs[e, i]).all() for i, a in enumerate(infos))
            assert all(i["cost"] == i["costs"].sum() for i in infos.values())
            assert set(terminated.values()) == {bool(step.terminated[e])}
            assert np.abs(np.stack(list(obs.values())) - step.next_observations[e]).max() < 1e-6
    assert touched > 0
    for env in (many, *alone):
        env.close()


@pytest.mark.parametrize("action", [(0, 0, 0), (1, -0.5, 0.3), (-1, 1, 1)])
def test_free_flight_follows_the_closed_form(action):
    """The force f is held for n ticks h: v += n h f and x += n h v + f h² n(n + 1)/2."""
    task = SwarmTask()
    env = SwarmEnv(task)
    env.reset(seed=0)
    x, v = env.batch.positions[0].copy(), np.zeros((5, 3))
    n, h = task.ticks, task.dt / task.ticks
    lift = (task.max_thrust / task.mass - 9.81) * np.array(action, float)
    for _ in range(15):
        env.step(dict.fromkeys(env.agents, np.array(action, float)))
        f = lift - task.drag * v
        x, v = x + n * h * v + f * h * h * n * (n + 1) / 2, v + n * h * f
        assert np.abs(env.batch.positions[0] - x).max() < 1e-9
        assert np.abs(env.batch.velocities[0] - v).max() < 1e-9
    assert lengths(v).max() <= task.top_speed
    env.close()


def test_the_attitude_loop_reaches_the_commanded_tilt_and_yaw_rate():
    task = SwarmTask(control="attitude")
    env = SwarmVectorEnv(task, 1, autoreset=False)
    env.reset(seed=0)
    for _ in range(6):
        env.step(np.tile([0, 0.6, -0.4, 0.5], (1, 5, 1)))
    yaw, pitch, roll = env.turn.as_euler("ZYX")[0, 0]
    assert np.degrees([roll, pitch]) == pytest.approx([15, -10], abs=1.5)
    assert env.spin[0, 0, 2] == pytest.approx(0.5, abs=0.05) and yaw > 0.1
    env.close()


def straight(env, d):
    return np.clip((env.places - env.positions) * d - env.velocities, -1, 1)


def test_termination_truncation_reward_and_successors():
    task = SwarmTask(n_obstacles=0, horizon=60)
    env = SwarmVectorEnv(task, 3, seed=0)
    env.reset()
    ended = None
    for t in range(60):
        before = lengths(env.positions - env.places)
        actions = straight(env, 1.0)
        actions[2] = 0  # the third swarm hovers until the horizon is over
        step = env.step(actions)
        assert not (step.terminated & step.truncated).any()
        if step.terminated[0]:
            ended = t
            moved = before[0] - step.rewards[0] + task.arrival_bonus
            place = lengths(step.next_state[0, :15].reshape(5, 3) - task.target)
            assert (place <= task.goal_radius).all() and (moved >= 0).all()
            assert not np.array_equal(step.next_state[0], step.state[0])
            assert np.array_equal(step.state[0], env.state()[0])
            break
    assert ended is not None and not step.truncated.any()
    env.close()
    env = SwarmVectorEnv(task, 1, seed=0)
    env.reset()
    flags = [env.step(np.zeros((1, 5, 3))) for _ in range(60)]
    assert [bool(s.truncated[0]) for s in flags] == [False] * 59 + [True]
    assert not any(s.terminated[0] for s in flags)
    env.close()


def test_nothing_tunnels_through_an_obstacle_or_a_drone():
    task = SwarmTask(n_drones=2, n_obstacles=1)
    env = SwarmEnv(task)
    speed = task.top_speed
    start = {"positions": [[0, 0, 5], [8, 0, 5]], "obstacles": [[4, 0, 30]],
             "velocities": [[speed, 0, 0], [-speed, 0, 0]]}  # fmt: skip
    env.reset(options=start)
    act = {"drone_0": np.array([1, 0, 0.0]), "drone_1": np.array([-1, 0, 0.0])}
    contacts = [env.step(act)[4]["drone_0"]["contacts"] for _ in range(20)]
    assert max(contacts) > 0 and env.batch.positions[0, 0, 0] < env.batch.positions[0, 1, 0]
    start["obstacles"], start["positions"][1] = [[4, 0, 5]], [8, 30, 5]
    env.reset(options=start)
    contacts = [env.step(act)[4]["drone_0"]["contacts"] for _ in range(20)]
    assert max(contacts) > 0 and env.batch.positions[0, 0, 0] < 4
    env.close()


def test_views_hold_for_any_place_and_order():
    env = SwarmVectorEnv(SwarmTask(), 1, seed=3)
    seen, _ = env.reset()
    order = np.array([3, 0, 4, 1, 2])
    given = {"positions": env.positions[:, order], "obstacles": env.obstacles.copy()}
    permuted, _ = env.reset(options=given)
    assert np.allclose(permuted, seen[:, order])
    env.close()
    shift = np.array([5.0, -3.0, 0.5])
    moved = SwarmTask(target=tuple(np.array((10, 10, 5)) + shift), start=tuple(shift + (-2, -2, 8)))
    env = SwarmVectorEnv(moved, 1)
    again, _ = env.reset(options={k: v + shift for k, v in given.items()})
    assert np.allclose(again, permuted)
    env.close()
    few = SwarmVectorEnv(SwarmTask(n_drones=2, n_obstacles=1), 1)
    view, _ = few.reset()
    assert view.shape == (1, 2, few.task.view_size)
    assert (view[0, :, 6 + 7 * 1 : 6 + 7 * 4].reshape(2, 3, 7) == np.eye(7)[-1]).all()
    few.close()


@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_shapes_for_any_n(n):
    task = SwarmTask(n_drones=n, n_obstacles=2)
    env = SwarmEnv(task)
    obs, infos = env.reset(seed=0)
    assert env.state().shape == (6 * n + 3 * 2 + 3,) and set(infos) == set(obs)
    assert all(o.shape == (task.view_size,) for o in obs.values())
    env.close()


def test_bad_actions_are_refused():
    env = SwarmEnv()
    env.reset(seed=0)
    fine = {a: env.action_space(a).sample() for a in env.agents}
    for broken in (np.full(3, np.nan), np.zeros(4), np.zeros((3, 1))):
        with pytest.raises(ValueError, match="action|shape"):
            env.step(fine | {"drone_0": broken})
    with pytest.raises(ValueError, match="must name exactly"):
        env.step({"drone_0": np.zeros(3)})
    with pytest.raises(ValueError, match="render_mode"):
        SwarmEnv(render_mode="human")
    env.step(fine)
    env.close()
    env.close()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"positions": [1.0, 2, 3]}, r"positions must be finite, shape \(1, 5, 3\)"),
        ({"positions": np.full((5, 3), np.nan)}, "positions must be finite"),
        ({"obstacle": np.zeros((3, 3))}, "no option 'obstacle'; 'obstacles' was meant"),
    ],
)
def test_bad_options_are_refused(options, message):
    env = SwarmEnv()
    with pytest.raises(ValueError, match=message):
        env.reset(options=options)
    _, infos = env.reset(seed=0, options={"options": 1})  # PettingZoo's own tests give this
    assert infos["drone_0"] is not infos["drone_1"]
    env.close()


@pytest.mark.parametrize("control", CONTROLS)
def test_a_world_with_a_past_flies_like_a_new_one(control):
    """Contacts of earlier episodes leave nothing behind, contacts of this one included."""
    task, rng = SwarmTask(control=control), np.random.default_rng(0)
    used, new = (SwarmVectorEnv(task, 3, autoreset=False) for _ in range(2))

    def crowded():
        near = np.array(task.start) + rng.uniform(-0.7, 0.7, (3, 5, 3))
        return {"positions": near, "obstacles": task.draw(rng, 3)[1]}

    used.reset(options=crowded())
    touched = [used.step(rng.uniform(-1, 1, (3, 5, task.action_size))).contacts for _ in range(40)]
    again = crowded()
    used.reset(options=again), new.reset(options=again)
    for _ in range(40):
        actions = rng.uniform(-1, 1, (3, 5, task.action_size))
        a, b = used.step(actions), new.step(actions)
        assert np.abs(a.next_state - b.next_state).max() < 1e-9
        touched.append(b.contacts)
    assert np.sum(touched[:40]) > 0 and np.sum(touched[40:]) > 0
    used.close(), new.close()


def test_a_seeded_start_in_a_used_world_repeats_collisions():
    task, rng = SwarmTask(), np.random.default_rng(0)
    used, new, worst, touched = SwarmVectorEnv(task, 3, autoreset=False), None, 0, 0
    for seed in range(3):
        new = SwarmVectorEnv(task, 3, autoreset=False)
        used.reset(seed=seed), new.reset(seed=seed)
        for _ in range(60):  # all fly to one point and collide there
            actions = np.array(task.start) - used.positions + rng.uniform(-0.3, 0.3, (3, 5, 3))
            a, b = used.step(actions), new.step(actions)
            worst = max(worst, np.abs(a.next_state - b.next_state).max())
            touched += b.contacts.sum()
        new.close()
    used.close()
    assert worst < 1e-9 and touched > 100


def test_worlds_are_separate_and_are_freed():
    first, second = SwarmEnv(), SwarmEnv()
    first.reset(seed=0)
    second.reset(seed=0)
    state = second.state()
    first.step({a: np.ones(3) for a in first.agents})
    assert np.array_equal(second.state(), state) and first.batch.client != second.batch.client
    first.close()
    second.step({a: np.zeros(3) for a in second.agents})
    second.close()

    def resident():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    task = SwarmTask(n_drones=2, n_obstacles=1)
    clients, before = set(), None
    files = len(os.listdir("/proc/self/fd"))
    for k in range(300):
        env = SwarmEnv(task)
        clients.add(env.batch.client)
        env.close()
        if k == 100:
            before = resident()
    assert len(clients) == 1 and len(os.listdir("/proc/self/fd")) == files
    assert resident() - before < 5e6  # 25 kB a world


def test_rendering_shows_the_scene():
    env = SwarmEnv(render_mode="rgb_array")
    env.reset(seed=0)
    picture = env.render()
    assert picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[-1] == 3
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 50
    env.close()


def test_the_surrogate_costs_a_graze_in_full_and_falls_from_there():
    task = SwarmTask(n_drones=2, n_obstacles=1)
    rows = [  # distance of the drones, and of the first to the obstacle: its surrogate
        (1.99, 9, 1), (2.01, 9, 0.98), (2.25, 9, 0.5), (2.51, 9, 0),
        (5, 2.99, 1), (5, 3.01, 1), (5, 3.149, 1), (5, 3.4, 0.5), (5, 3.651, 0),
    ]  # fmt: skip
    with SwarmVectorEnv(task, len(rows), autoreset=False) as env:
        at, obstacle = np.zeros((len(rows), 2, 3)) + [0, 0, 12], np.zeros((len(rows), 1, 3)) + 12
        at[:, 1, 0], obstacle[:, 0, 0] = [row[0] for row in rows], [-row[1] for row in rows]
        obstacle[:, 0, 1] = 0
        env.reset(options={"positions": at, "obstacles": obstacle})
        surrogate, costs = env.costs(task.surrogate_limits, task.margins), env.costs()
    assert np.allclose(surrogate[:, 0, 0], [row[2] for row in rows], atol=1e-9)
    assert (surrogate >= costs).all() and costs[:, 0, 0].tolist() == [1, 0, 0, 0, 1, 0, 0, 0, 0]


def test_two_constraints_sum_to_the_total():
    total, split = (
        SwarmVectorEnv(SwarmTask(), 4, 0),
        SwarmVectorEnv(SwarmTask(threshold=(0.1, 0.2)), 4, 0),
    )
    total.reset(), split.reset()
    rng = np.random.default_rng(0)
    for _ in range(30):
        a = rng.uniform(-1, 1, (4, 5, 3)) + np.array([0.5, 0.5, 0])
        x, y = total.step(a), split.step(a)
        assert x.costs.shape[-1] == 1 and y.costs.shape[-1] == 2
        assert np.array_equal(x.costs[..., 0], y.costs.sum(-1))
    assert replace(SwarmTask(), threshold=0.2).thresholds == (0.2,)
    total.close(), split.close()


def test_a_swarm_cannot_reach_its_neighbour():
    """Full thrust and lean for a long episode stay within half the gap between two swarms."""
    for control in ("force", "attitude"):
        task = SwarmTask(horizon=150, control=control)
        env = SwarmVectorEnv(task, 2, 0, autoreset=False)
        env.reset()
        apart = np.abs(env.offset[1] - env.offset[0]).max()
        action = np.ones((2, 5, 3)) if control == "force" else np.tile([1.0, 0, 1, 0], (2, 5, 1))
        for _ in range(150):
            env.step(action)
        assert 20 < np.abs(env.positions[..., 0] - task.start[0]).max() <= task.reach <= apart / 2
        env.close()


def test_what_cannot_run_is_refused_at_once():
    with pytest.raises(ValueError, match="num_envs must be at least 1, got 0"):
        SwarmVectorEnv(SwarmTask(), 0)
    with pytest.raises(InfeasibleTask, match="touch without a cost; at least 3"):
        SwarmTask(body_radius=1.5)
    with pytest.raises(ValueError, match="threshold must be"):
        SwarmTask(threshold=())
    env = SwarmEnv()
    with pytest.raises(ValueError, match=r"call reset\(\) first"):
        env.step({})
    env.close()
