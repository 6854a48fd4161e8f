"""Edges that no other test saw when the modules were mutated at random: small, and cheap."""

import json
import multiprocessing
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from safemarl_lite import runs, sweep
from safemarl_lite.actors import Policy
from safemarl_lite.cmdp import evaluate
from safemarl_lite.evaluate import evaluate as flights
from safemarl_lite.lagrangian import Multipliers, combined_advantage
from safemarl_lite.lessons.tasks import random_cmdp
from safemarl_lite.macaac import MACAAC, MACAACConfig
from safemarl_lite.mappo import MAPPO, MAPPOConfig
from safemarl_lite.navigation import NavigationEnv, NavigationTask, NavigationVectorEnv
from safemarl_lite.pair import Pair
from safemarl_lite.swarm import InfeasibleTask, OpenTask, SwarmTask, SwarmTasks, SwarmVectorEnv
from safemarl_lite.swarm.open import geometry
from safemarl_lite.swarm.tasks import AWAY, CRUISE
from safemarl_lite.swarm.view import heading

SHIPPED = Path(__file__).parents[1] / "figures/runs/navigation"
TASK = NavigationTask(n_agents=2, n_landmarks=2, horizon=5, actions="continuous")
SMALL = MAPPOConfig(iterations=4, num_envs=4, epochs=1, minibatches=1, hidden_actor=8,
                    hidden_critic=8, eval_every=1, eval_episodes=25)  # fmt: skip


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


# ------------------------------------------------------------------ theory


def test_a_cmdp_cannot_be_changed_and_may_look_no_step_ahead():
    cmdp = random_cmdp(np.random.default_rng(0), 4, 3, 1)
    with pytest.raises(ValueError, match="read-only"):
        cmdp.reward[0, 0] = 1.0
    blind = evaluate(replace(cmdp, discount=0.0), np.full((4, 3), 1 / 3))
    assert np.allclose(blind.v_r, cmdp.reward.mean(1))


def test_combined_advantage_of_a_batch_with_time_environments_and_agents():
    r, c, λ = torch.randn(5, 4, 2), torch.randn(5, 4, 2, 2), torch.tensor([2.0, 0.5])
    flat = combined_advantage(r.flatten(), c.flatten(0, 2), λ)
    assert torch.allclose(combined_advantage(r, c, λ).flatten(), flat, atol=1e-6)


@pytest.mark.parametrize("name", ["cap", "most"])
def test_a_limit_of_the_price_below_zero_is_refused(name):
    with pytest.raises(ValueError, match=f"{name} must be ≥ 0"):
        Multipliers(1.0, **{name: -0.5})


# ------------------------------------------------------------------ learners


def test_the_rate_rises_over_the_warm_up():
    with NavigationVectorEnv(TASK, 4, 0) as env:
        learner = MAPPO(env, replace(SMALL, warm_up=3), np.random.SeedSequence(0))
        for k in range(4):
            learner.iterate()
            rate = SMALL.learning_rate * 0.05 ** (k / 4) * (k + 1) / 4
            assert learner.optimizer.param_groups[0]["lr"] == pytest.approx(rate)


def test_both_networks_gradients_are_clipped(monkeypatch):
    clip, norms = torch.nn.utils.clip_grad_norm_, {}

    def watched(weights, most):
        weights = list(weights)
        norm = clip(weights, most)
        left = torch.stack([weight.grad.norm() for weight in weights]).norm().item()
        norms.setdefault(id(weights[0]), []).append((norm.item(), left))
        return norm

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", watched)
    with NavigationVectorEnv(TASK, 4, 0) as env:
        learner = MAPPO(env, SMALL, np.random.SeedSequence(0))
        for network in (learner.actor, learner.critic):
            for weight in network.parameters():
                weight.register_hook(lambda gradient: 1e3 * gradient)
            norms[id(next(network.parameters()))] = []
        learner.iterate()
        for network, most in ((learner.actor, 0.5), (learner.critic, 1.0)):
            seen = norms[id(next(network.parameters()))]
            assert seen and all(norm > most for norm, _ in seen)
            assert all(left == pytest.approx(most, rel=1e-2) for _, left in seen)


@pytest.mark.parametrize(("algo", "first"), [("macaac", 0.7), ("maac", 0.0)])
def test_the_price_starts_where_the_settings_say(algo, first):
    task = replace(TASK, actions="discrete")
    config = MACAACConfig(algo=algo, multiplier_start=0.7, num_envs=4, buffer_episodes=8)
    with NavigationVectorEnv(task, 4, 0) as env:
        learner = MACAAC(env, config, np.random.SeedSequence(0))
        assert learner.multipliers.values.tolist() == [first]


@pytest.mark.parametrize("algo", ["macaac", "maddpg-c"])
def test_errors_and_values_of_a_step_are_those_of_each_head(algo):
    task = replace(TASK, actions="discrete", thresholds=(2.0, 0.5))
    config = MACAACConfig(algo=algo, num_envs=4, buffer_episodes=8, hidden_critic=8)
    with NavigationVectorEnv(task, 4, 0) as env:
        learner = MACAAC(env, config, np.random.SeedSequence(0))
    views, targets = torch.randn(7, 2, task.view_size), torch.randn(7, 2, 3)
    actions = torch.randint(5, (7, 2))
    values = learner.values if algo == "macaac" else learner.joint
    with torch.no_grad():
        q = values(learner.critic, views, actions)
        if algo == "macaac":  # one value for each own action: that of the action taken
            q = torch.stack([q[b, i, :, actions[b, i]] for b in range(7) for i in range(2)])
        off = (q.reshape(14, 3) - targets.reshape(14, 3)) / learner.unit
    errors, means = learner.critic_step(views, actions, targets)
    assert torch.allclose(errors, (off**2).mean(0), rtol=1e-4)
    assert torch.allclose(means, q.reshape(14, 3).mean(0), rtol=1e-4, atol=1e-5)


def pair(workers=1, worlds=0, learning=1):
    seeds = np.random.SeedSequence(worlds), np.random.SeedSequence(learning)
    return Pair(MAPPO, TASK, SMALL, list(seeds), workers)


def test_one_worker_is_no_second_process_and_learning_has_a_seed_of_its_own():
    def weights(**given):
        with pair(**given) as both:
            assert not multiprocessing.active_children()
            return torch.cat([w.detach().flatten() for w in both.learner.actor.parameters()])

    first = weights()
    assert torch.equal(first, weights(worlds=5)) and not torch.equal(first, weights(learning=5))


def test_two_halves_fly_the_flights_of_one_evaluation():
    with pair() as both:
        weights = both.learner.actor.state_dict()
        act = Policy(both.learner.actor, TASK, both.learner.std).act
        assert both.evaluate(weights, 6, 3) == flights(act, TASK, 6, 3)


# ------------------------------------------------------------------ runs


def test_a_tenth_of_the_flights_and_two_at_least_until_the_last_quarter(tmp_path, monkeypatch):
    flown, evaluate = [], Pair.evaluate

    def watched(self, weights, episodes, seed):
        flown.append(episodes)
        return evaluate(self, weights, episodes, seed)

    monkeypatch.setattr(Pair, "evaluate", watched)
    runs.train(TASK, SMALL, folder=tmp_path / "run", quiet=True)
    assert flown == [2, 2, 2, 25]
    flown.clear()
    runs.train(TASK, replace(SMALL, eval_episodes=40), folder=tmp_path / "b", quiet=True, stop=1)
    assert flown == [4]


def test_what_is_just_allowed_is_allowed(tmp_path, monkeypatch):
    batch = 2 * TASK.horizon * SMALL.num_envs * TASK.n_agents * TASK.view_size
    given = {"folder": tmp_path / "run", "quiet": True}
    monkeypatch.setattr(runs, "LARGEST", batch - 1)
    with pytest.raises(runs.RunError, match="choose fewer"):
        runs.train(TASK, SMALL, **given)
    with pytest.raises(runs.RunError, match="stop must be an integer ≥ 1, got 0"):
        monkeypatch.setattr(runs, "LARGEST", batch)
        runs.train(TASK, SMALL, stop=0, **given)
    assert not (tmp_path / "run").exists()
    runs.train(TASK, SMALL, stop=1, **given)


def test_the_shipped_certificate_is_the_one_that_certify_makes():
    found = runs.certify(runs.load(SHIPPED), episodes=2)
    assert found["seed"] == json.loads((SHIPPED / "result.json").read_text())["seed"]


def test_a_sweep_joins_a_ray_that_runs_and_never_starts_one(monkeypatch):
    asked = []
    ray, util, there = (ModuleType(x) for x in ("ray", "ray.util", "ray.util.joblib"))
    ray.is_initialized, there.register_ray = (lambda: False), (lambda: None)
    ray.init = lambda *given, address=None, **more: asked.append((given, address, more))
    for module in (ray, util, there):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    for address in (None, "10.0.0.1:6379"):
        assert sweep._ray(address)["backend"] == "ray"
    assert asked == [((), "auto", {}), ((), "10.0.0.1:6379", {})]


# ------------------------------------------------------------------ worlds


@pytest.mark.parametrize("shape", [(1, 5, 2), (1, 4, 3), (2, 5, 3), (1, 6, 3)])
def test_starts_of_another_shape_are_refused(shape):
    with SwarmVectorEnv(SwarmTask(), 1) as env:
        with pytest.raises(ValueError, match=r"positions must be finite, shape \(1, 5, 3\)"):
            env.reset(options={"positions": np.full(shape, 9.0)})


def test_the_number_that_a_refusal_names_is_accepted_and_no_smaller_one():
    with pytest.raises(InfeasibleTask, match="at least") as stop:
        SwarmTask(start_spacing=1.0)
    least = float(str(stop.value).rsplit(" ", 1)[1])
    SwarmTask(start_spacing=least)
    with pytest.raises(InfeasibleTask):
        SwarmTask(start_spacing=least - 1e-4)


def test_no_drone_gets_beyond_its_reach_and_some_almost():
    task = SwarmTask(n_drones=1, n_obstacles=0, horizon=400)
    with SwarmVectorEnv(task, 1, 0, autoreset=False) as env:
        env.reset(seed=0)
        for _ in range(task.horizon):
            env.step(np.array([[[1.0, 0, 0]]]))
        far = env.positions[0, 0, 0] - task.start[0]
    assert 0.95 * task.reach < far < task.reach


def test_a_full_roll_is_25_degrees():
    task = SwarmTask(n_drones=1, n_obstacles=0, control="attitude", start=(0.0, 0.0, 30.0))
    hover = 2 * 9.81 * task.mass / task.max_thrust / np.cos(np.radians(25)) - 1
    with SwarmVectorEnv(task, 1, 0, autoreset=False) as env:
        env.reset(seed=0)
        for _ in range(15):
            env.step(np.array([[[hover, 1.0, 0, 0]]]))
        (up,) = env.turn.apply([0, 0, 1])[0]
    assert np.degrees(np.arccos(up[2])) == pytest.approx(25, abs=0.3)


def test_a_heading_turns_and_does_not_shear():
    drawn = Rotation.random(40, random_state=0).as_quat().reshape(8, 5, 4)
    turn = Rotation.from_quat(drawn)
    matrix, _ = heading(turn)
    assert np.allclose(matrix @ matrix.swapaxes(-1, -2), np.eye(3))
    assert np.allclose(np.linalg.det(matrix), 1) and np.allclose(matrix[..., 2, :], [0, 0, 1])
    ahead = (turn.apply([1, 0, 0])[..., None, :] @ matrix)[..., 0, :]
    assert (ahead[..., 0] > 0).all() and np.allclose(ahead[..., 1], 0)


def test_a_body_that_comes_straight_on_closes_at_its_speed():
    one, still = np.array([[4.0, 0, 0]]), np.zeros(3)
    for speed in (-3.0, 0.0, 1.5):
        row = geometry(one, np.array([[speed, 0, 0]]), np.ones(1), np.full(1, 9.0), still, still)
        assert row[0, 2] == pytest.approx(-speed / 3, abs=1e-3)  # in 3 m/s
        assert row[0, 0] == pytest.approx(1 - 3 / 9)


def test_a_drone_comes_into_view_at_3_m_and_an_obstacle_at_10():
    task = OpenTask(n_drones=2, n_obstacles=1)
    with task.vector_env(1, 0, autoreset=False) as env:
        at = {"positions": [[[0, 0, 9], [2 + 1.5, 0, 9]]], "obstacles": [[[0, 2 + 1 + 4, 9]]]}
        views, _ = env.reset(options=at)
    drone, ball = views[0, 0, 8], views[0, 0, 8 + 30 * task.n_neighbours]
    assert drone == pytest.approx(1 - 1.5 / 3) and ball == pytest.approx(1 - 4 / 10)


def test_practice_is_harder_than_the_task():
    task = SwarmTasks(n_drones=3, practice=20)
    with task.training_env(1) as env:
        assert env.task.apart == (0.0, task.apart[1]) and env.task.horizon == 20
        crossings = env.task.scene(np.random.default_rng(0), 300)["obstacles"]
    close = np.linalg.norm(crossings[:, :, None] - crossings[:, None], axis=-1)
    close = close[np.broadcast_to(crossings[:, :, None, 2] < AWAY, close.shape)]
    assert 0 < np.min(close[close > 0]) < 1


def test_a_drawn_start_has_its_height_its_climb_and_its_way():
    task = SwarmTasks(n_drones=1, jitter=(2.0, 2.0), height=(1.0, 1.0), climb=(0.5, 0.5),
                      spread=(4.0, 4.0), goal_room=(1.5, 1.5))  # fmt: skip
    drawn = task.scene(np.random.default_rng(0), 50)
    assert np.allclose(drawn["centre"][:, 0, 2], 3**0.5 * 2 + 1)  # its ball begins 1 m up
    way = (drawn["targets"] - drawn["centre"])[:, 0]
    far = np.linalg.norm(way, axis=-1)
    assert np.allclose(way[:, 2] / far, np.sin(0.5)) and np.allclose(far, far[0])


def test_obstacles_cross_about_when_the_swarm_comes_along():
    """They begin no further from the start than speed × 1.5 × the swarm's time there allows."""
    task = SwarmTasks(n_drones=1, moving=1.0, drift=(1.5, 1.5), spread=(15.0, 15.0), apart=(0, 0))
    drawn = task.scene(np.random.default_rng(0), 1000)
    there = drawn["obstacles"][..., 2] < AWAY / 2
    begin = np.linalg.norm(drawn["obstacles"] - drawn["centre"], axis=-1)[there]
    latest = 1.5 * 15 / CRUISE  # s, to the far end of where obstacles stand, and half as long
    ball = task.obstacle_radius + task.d_safe + task.start_radius
    crossing = np.hypot(15 + ball + 3, ball)  # m, at most, from the start
    assert 0.8 < begin.max() / (crossing + 1.5 * latest) < 1


def test_landmarks_are_grey():
    env = NavigationEnv(NavigationTask(n_agents=1, n_landmarks=1), render_mode="rgb_array")
    at = {"positions": [[0.9, 0.9]], "landmarks": [[0.0, 0.0]], "velocities": [[0.0, 0.0]]}
    env.reset(seed=0, options=at)
    shot = env.render()
    assert len(set(shot[200, 200].tolist())) == 1 and 30 < shot[200, 200, 0] < 100
