"""Tasks drawn anew in every episode, the geometry seen of them, and one policy for any swarm."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pettingzoo.test import parallel_api_test
from scipy.spatial.transform import Rotation

from safemarl_lite import load, train
from safemarl_lite.__main__ import main
from safemarl_lite.equivariant import SwarmActor, SwarmCritic
from safemarl_lite.evaluate import rollout
from safemarl_lite.mappo import ON_ANY_SWARM
from safemarl_lite.runs import RunError
from safemarl_lite.swarm import InfeasibleTask, OpenTask, SwarmEnv, SwarmTask, SwarmTasks
from safemarl_lite.swarm.engine import bullet
from safemarl_lite.swarm.open import AHEAD, SIGHT, geometry, straight
from safemarl_lite.swarm.task import lengths
from safemarl_lite.swarm.tasks import AWAY, passes

ROOT = Path(__file__).parent.parent
SHIPPED = ROOT / "figures/runs/swarm_any"
slow = settings(deadline=None, max_examples=25)
seeds = st.integers(0, 2**32 - 1)


def restless(network, scale=0.3):
    """The same network with weights that are not near zero."""
    torch.manual_seed(0)
    for weight in network.parameters():
        torch.nn.init.normal_(weight, std=scale)
    return network


def scene(rng, k=8, around=6.0):
    """Positions, velocities of k bodies relative to a drone, its velocity, the one it wants."""
    return (*rng.uniform(-around, around, (2, k, 3)) / [[[1]], [[3]]], *rng.normal(size=(2, 3)))


REACH, FAR = np.repeat([2.0, 3.0], (5, 3)), np.repeat(SIGHT, (5, 3))


def view(r, u, v, w, reach=REACH, sight=FAR):
    """A view as the world makes it, of one drone without wind; float32 tensor (O,)."""
    own = [0.7, 0.9, lengths(v) / 3, lengths(w) / 3, v @ w / 9]
    rows = geometry(r, u, reach, sight, v, w)
    parts = (3 * (w - v) + 1.5 * w) / 5, own, rows.ravel()
    return torch.as_tensor(np.concatenate(parts), dtype=torch.float32)


@given(st.integers(1, 40), seeds)
@slow
def test_a_drawn_scene_is_feasible(n, seed):
    task = SwarmTasks(n_drones=n)
    drawn = task.scene(np.random.default_rng(seed), 8)
    apart = lengths(drawn["positions"][:, :, None] - drawn["positions"][:, None])
    assert (apart + 9 * np.eye(n) >= task.d_safe).all()
    places = lengths(drawn["shape"][:, :, None] - drawn["shape"][:, None])
    assert (places + 9 * np.eye(n) > task.d_safe).all()
    assert (lengths(drawn["shape"]) < drawn["goal_radius"]).all()
    assert drawn["positions"][..., 2].min() > task.body_radius
    assert (drawn["targets"] + drawn["shape"])[..., 2].min() > task.body_radius
    reach = task.obstacle_radius + task.d_safe
    for t in np.arange(0, 30, 0.5):
        at = drawn["obstacles"] + t * drawn["drift"]
        assert (lengths(at[:, :, None] - drawn["positions"][:, None]) > reach).all()
        assert (lengths(at - drawn["targets"]) >= reach + drawn["goal_radius"] - 1e-9).all()


def test_every_kind_of_task_is_drawn():
    task = SwarmTasks(n_drones=6)
    drawn = task.scene(np.random.default_rng(0), 2000)
    number = (drawn["obstacles"][..., 2] < AWAY).sum(1)
    assert set(range(7)) <= set(number)  # the tube of six drones seldom holds more
    moving = drawn["drift"].any((1, 2))
    assert 0.3 < moving.mean() < 0.5  # half of those that have any
    speeds = lengths(drawn["drift"][drawn["drift"].any(-1)])
    assert speeds.min() >= 0.3 - 1e-9 and 1.4 < speeds.max() <= 1.5 + 1e-9
    way = (drawn["targets"] - drawn["centre"])[:, 0]
    assert (np.histogram(np.arctan2(way[:, 1], way[:, 0]), 8)[0] > 180).all()
    for name, low, high in (
        ("mass", *task.masses),
        ("goal_radius", *[2**0.5 * x for x in task.goal_room]),
        ("wind", -0.5, 0.5),
    ):
        numbers, edge = drawn[name][..., 0], 0.05 * (high - low)
        assert low - 1e-9 <= numbers.min() < low + edge, name
        assert high - edge < numbers.max() <= high + 1e-9, name


@given(st.tuples(*[st.floats(-9, 9)] * 9))
@slow
def test_least_distance_of_a_moving_point_against_many_times(x):
    begin, velocity, point = np.reshape(x, (3, 3))
    t = np.linspace(0, 200, 200_001)[:, None]
    brute = lengths(begin + t * velocity - point).min()
    assert passes(begin, velocity, point) <= brute + 1e-2  # nothing under 3e-5 m/s moves
    if lengths(velocity) > 0.2:
        assert passes(begin, velocity, point) == pytest.approx(brute, abs=2e-2)


@given(seeds)
@slow
def test_closest_approach_against_many_times(seed):
    r, u, v, w = scene(np.random.default_rng(seed))
    row = geometry(r, u, REACH, FAR, v, w)
    t = np.linspace(0, AHEAD, 4001)[:, None, None]
    for at, speed in ((7, u), (11, u + v - w)):
        clearances = lengths(r + t * speed) - REACH
        found = row[:, at + 1]
        assert np.allclose(found, clearances.min(0).clip(-3, 3), atol=0.05)
        assert np.allclose(lengths(row[:, 15:18]), 1, atol=1e-3)
        late = AHEAD * row[:, at][:, None] * speed + r  # the place it is said to be then
        assert np.allclose((lengths(late) - REACH).clip(-3, 3), found, atol=1e-9)


@given(seeds)
@slow
def test_a_turned_world_turns_the_action(seed):
    rng = np.random.default_rng(seed)
    bodies, turn = scene(rng), Rotation.random(random_state=seed % 2**31)
    actor = restless(SwarmActor(5, 16))
    flown = actor(view(*bodies)).detach().numpy()
    turned = actor(view(*(turn.apply(x) for x in bodies))).detach().numpy()
    assert np.allclose(turned, turn.apply(flown), atol=1e-3 * (1 + abs(flown).max()))
    mirrored = actor(view(*(x * [1, 1, -1] for x in bodies))).detach().numpy()
    assert np.allclose(mirrored, flown * [1, 1, -1], atol=1e-3 * (1 + abs(flown).max()))
    if lengths(flown) > 0.1:  # the control: turning matters
        assert not np.allclose(turned, flown, atol=1e-3) or turn.magnitude() < 0.05


def test_the_world_turned_about_the_vertical_turns_the_flight():
    task = SwarmTasks(n_drones=5, wind=(0.0, 0.0), masses=(0.45, 0.45))
    actor, quarter = restless(SwarmActor(5, 16), 0.1), np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1]])
    drawn, paths = task.scene(np.random.default_rng(5), 6), []
    for turn in (np.eye(3), quarter):
        with task.vector_env(6, 0, autoreset=False) as env:
            there = {name: drawn[name] @ turn.T for name in drawn if drawn[name].shape[-1] == 3}
            views, _ = env.reset(options=drawn | there)
            for _ in range(40):
                with torch.no_grad():
                    views = env.step(actor(torch.as_tensor(views)).numpy()).observations
            paths.append(env.positions @ turn)
    assert np.allclose(*paths, atol=1e-3)
    assert lengths(paths[0] - drawn["positions"]).min() > 1  # the control: they have flown


def test_rows_in_any_order_and_number():
    rng = np.random.default_rng(1)
    r, u, v, w = scene(rng)
    for network in (restless(SwarmActor(5, 16)), restless(SwarmCritic(5, 3, 2, 16))):
        state = () if isinstance(network, SwarmActor) else (torch.ones(3),)

        def out(seen, network=network, state=state):
            return network(seen[None], *state).detach().numpy()

        expected = out(view(r, u, v, w))
        order = [3, 1, 0, 2, 4, 7, 5, 6]
        assert np.allclose(out(view(r[order], u[order], v, w)), expected, atol=1e-4)
        mixed = [5, 1, 0, 2, 4, 7, 3, 6]  # the control: a drone is no obstacle
        assert not np.allclose(out(view(r[mixed], u[mixed], v, w)), expected, atol=1e-3)
        network.bodies.n_drones = 7  # two more slots, far away
        away, still = np.full((2, 3), 1000.0), np.zeros((2, 3))
        reach, sight = np.insert(REACH, 5, [2, 2]), np.insert(FAR, 5, [SIGHT[0]] * 2)
        more = view(np.insert(r, 5, away, 0), np.insert(u, 5, still, 0), v, w, reach, sight)
        assert np.allclose(out(more), expected, atol=1e-4)


def test_nobody_near_and_a_body_that_leaves_view():
    actor = restless(SwarmActor(5, 16), 1.0)
    r, u, v, w = scene(np.random.default_rng(2))
    far = 20 * r / lengths(r)[:, None]
    assert torch.allclose(actor(view(far, u, v, w)), view(far, u, v, w)[:3])
    edge = far.copy()
    actions = []
    for clearance in (SIGHT[1] - 1e-4, SIGHT[1] + 1e-4):
        edge[7] = r[7] / lengths(r[7]) * (3 + clearance)
        actions.append(actor(view(edge, u, v, w)).detach().numpy())
    assert np.allclose(*actions, atol=0.01)  # it fades out: nothing jumps
    near = far.copy()
    near[7] = 3.5 * r[7] / lengths(r[7])
    assert not np.allclose(actor(view(near, u, v, w)).detach().numpy(), actions[1], atol=0.05)


def test_straight_flight_arrives_where_nothing_is_in_the_way():
    task = SwarmTasks(n_drones=7, n_obstacles=0)
    with task.vector_env(40, 2, autoreset=False) as env:
        flown = rollout(lambda views: views[..., :3], env)
    assert flown["success"].all() and not flown["episode"].any()
    w, a = straight(np.array([9.0, 0, 0]), np.zeros(3), np.zeros(3), np.array([2.0]), 1.5)
    assert np.allclose(w, [0.8 * 2 / 1.5, 0, 0])  # a fifth of the thrust is left
    assert np.allclose(a, 4.5 * w)


def test_obstacles_move_in_bullet_as_they_are_seen():
    task = SwarmTasks(n_drones=3, moving=1.0)
    with task.vector_env(20, 1, autoreset=False) as env:
        env.reset()
        begin, drift = env.obstacles.copy(), env.drift.copy()
        for _ in range(12):
            env.step(np.zeros((20, 3, 3)))
        assert drift.any()
        assert np.allclose(env.obstacles, begin + 12 * task.dt * drift)
        bodies = np.reshape(env.obstacle_bodies, (20, -1))
        for e in range(20):
            for k in range(task.n_obstacles):
                at, _ = bullet.getBasePositionAndOrientation(int(bodies[e, k]), env.client)
                assert np.allclose(at - env.offset[e, 0], env.obstacles[e, k])
        views = env.observations()
        env.drift[:] = 0
        assert not np.allclose(env.observations(), views)  # their velocity is seen


def test_wind_carries_what_does_not_steer_and_bullet_weighs_what_was_drawn():
    task = SwarmTasks(n_drones=3, n_obstacles=0, wind=(0.5, 0.5))
    with task.vector_env(10, 1, autoreset=False) as env:
        env.reset()
        for _ in range(60):
            env.step(np.zeros((10, 3, 3)))
        assert np.allclose(env.velocities, env.wind, atol=1e-3)
        assert np.allclose(lengths(env.wind), 0.5)
        masses = [bullet.getDynamicsInfo(b, -1, env.client)[0] for b in env.drones]
        assert np.allclose(np.reshape(masses, (10, 3)), env.mass[..., 0])
        assert np.ptp(masses) > 0.05


def test_an_action_is_an_acceleration_until_the_thrust_ends():
    task = SwarmTasks(n_drones=1, n_obstacles=0, wind=(0.0, 0.0), masses=(0.6, 0.6))
    with task.vector_env(1, 0, autoreset=False) as env:
        env.reset()
        env.step(np.array([[[0.1, 0, 0]]]))
        assert np.allclose(env.velocities[0, 0], [0.1 * 5 * task.dt, 0, 0], atol=1e-6)
        env.reset()
        env.step(np.array([[[1.0, 0, 0]]]))
        assert np.allclose(env.velocities[0, 0, 0], (7.5 / 0.6 - 9.81) * task.dt, atol=1e-6)


def test_one_swarm_flies_as_in_a_batch():
    task = SwarmTasks(n_drones=6)
    drawn = task.scene(np.random.default_rng(9), 4)
    actor = restless(SwarmActor(5, 16), 0.1)

    def fly(part):
        with task.vector_env(len(part), 0, autoreset=False) as env:
            given = {name: np.broadcast_to(x, (4, *x.shape[1:]))[part] for name, x in drawn.items()}
            views, _ = env.reset(options=given)
            for _ in range(30):
                with torch.no_grad():
                    views = env.step(actor(torch.as_tensor(views)).numpy()).observations
            return env.positions

    together = fly([0, 1, 2, 3])
    assert np.allclose(np.concatenate([fly([e]) for e in range(4)]), together, atol=1e-4)


def test_a_plain_task_flown_openly_is_the_same_task():
    plain, opened = SwarmTask(), OpenTask()
    with plain.vector_env(4, 3) as a, opened.vector_env(4, 3) as b:
        a.reset(), b.reset()
        for name in ("positions", "obstacles", "places"):
            assert (getattr(a, name) == getattr(b, name)).all()
        action = np.full((4, 5, 3), 0.2)
        strength = 7.5 / 0.5 - 9.81
        a.step(action), b.step(action * strength / 5)
        assert np.allclose(a.positions, b.positions, atol=1e-9)
        assert np.allclose(a.costs(), b.costs())


@pytest.mark.parametrize(
    "fields, words",
    [
        ({"target": (1, 2, 3)}, "target is drawn"),
        ({"spread": (9.0, 2.0)}, "spread must be two numbers"),
        ({"goal_room": (0.9, 2.0)}, "goal_room"),
        ({"climb": (0.0, 1.6)}, "climb"),
        ({"wind": (0.0, float("inf"))}, "wind"),
        ({"masses": (0.4, 0.8)}, "masses up to 0.8 kg"),
        ({"control": "attitude"}, "control must be 'force'"),
        ({"moving": 1.5}, "moving must be"),
    ],
)
def test_a_distribution_that_cannot_be_drawn_is_refused_in_one_line(fields, words):
    with pytest.raises((ValueError, InfeasibleTask), match=words) as error:
        SwarmTasks(**fields)
    assert "\n" not in str(error.value)


def test_pettingzoo_takes_a_drawn_task_and_the_camera_sees_it():
    parallel_api_test(SwarmEnv(SwarmTasks(n_drones=4)), num_cycles=30)
    env = SwarmEnv(SwarmTasks(n_drones=4, n_obstacles=3), render_mode="rgb_array")
    env.reset(seed=1)
    picture = env.render()
    env.close()
    green = (picture[..., 1] > 100) & (picture[..., 0] < 80)
    assert green.sum() > 50  # the rings around the goal, wherever it is


SMALL = {"n_drones": 3, "practice": 20, "horizon": 40}
QUICK = replace(ON_ANY_SWARM, iterations=3, num_envs=4, epochs=1, minibatches=2, eval_every=2,
                eval_episodes=2)  # fmt: skip


def test_training_goes_on_to_the_same_numbers_and_flies_another_number(tmp_path):
    task = SwarmTasks(**SMALL)
    whole = train(task, QUICK, 1, folder=tmp_path / "a", quiet=True)
    train(task, QUICK, 1, folder=tmp_path / "b", quiet=True, stop=2)
    resumed = train(task, QUICK, 1, folder=tmp_path / "b", quiet=True, resume=True)
    assert {k: v for k, v in whole.items() if k != "seconds"} == {
        k: v for k, v in resumed.items() if k != "seconds"
    }
    weights = [torch.load(tmp_path / x / "last.pt")["actor"] for x in "ab"]
    assert all((weights[0][name] == weights[1][name]).all() for name in weights[0])
    for n in (1, 2, 20):
        policy = load(tmp_path / "a", n_drones=n)
        with policy.task.vector_env(2, 0) as env:
            assert policy.act(env.reset()[0]).shape == (2, n, 3)
    with pytest.raises(RunError, match="at least 1"):
        load(tmp_path / "a", n_drones=0)


def test_the_command_trains_and_evaluates_on_any_swarm(tmp_path, capsys):
    def say(*words):
        main(list(words))
        return capsys.readouterr().out

    run = str(tmp_path / "run")
    small = [f"--{name.replace('_', '-')}={value}" for name, value in SMALL.items()]
    small += ["--iterations=1", "--num-envs=2", "--epochs=1", "--eval-episodes=2", "--episodes=2"]
    assert "held-out episodes" in say("train", "swarm", "--any", "--out", run, *small)
    assert (tmp_path / "run/certificate.png").exists()
    assert "held-out episodes" in say("evaluate", run, "--episodes=2", "--n-drones=9")
    with pytest.raises(SystemExit) as stop:
        main(["train", "swarm", "--help"])
    assert stop.value.code in (0, None) and "--any" in capsys.readouterr().out


@pytest.mark.parametrize("n", [1, 5, 8, 20])
def test_the_shipped_policy_flies_any_number(n):
    policy = load(SHIPPED, n_drones=n)
    flights = max(4, 120 // n)
    with replace(policy.task, moving=1.0).vector_env(flights, 42, autoreset=False) as env:
        flown = rollout(policy.act, env)
    assert flown["success"].mean() >= 0.95
    assert (flown["episode"].sum(1) == 0).mean() >= 0.9


def test_straight_flight_fails_where_the_shipped_policy_holds():
    task = replace(load(SHIPPED, n_drones=8).task, moving=1.0)
    with task.vector_env(40, 42, autoreset=False) as env:
        flown = rollout(lambda views: views[..., :3].clip(-1, 1), env)
    assert (flown["episode"].sum(1) == 0).mean() <= 0.6
