"""What mutations of the modules showed that no other test saw: certificate, swarm, learners, LP."""

from dataclasses import replace
from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from safemarl_lite.actors import Policy, actor_of
from safemarl_lite.cmdp import TabularCMDP, best_response, evaluate, subgradient_ascent
from safemarl_lite.evaluate import evaluate as certificate
from safemarl_lite.evaluate import rollout, skewed_mean_bound
from safemarl_lite.lagrangian import Multipliers, gae
from safemarl_lite.lessons.tasks import random_cmdp
from safemarl_lite.macaac import MACAAC, MACAACConfig
from safemarl_lite.mappo import MAPPOConfig
from safemarl_lite.navigation import NavigationTask, NavigationVectorEnv
from safemarl_lite.swarm import InfeasibleTask, SwarmTask, SwarmVectorEnv
from safemarl_lite.swarm.task import ROOM, near

# ------------------------------------------------------------------------- the certificate


class Script:
    """A world of `count` episodes whose first ends at step 2 and whose others run to the horizon;
    costs (m) at step t are drawn from its seed, and go on after the end."""

    def __init__(self, task, count, seed):
        self.task, self.num_envs, self.rng = task, count, np.random.default_rng(seed)
        self.positions, self.landmarks = np.zeros((count, 1, 2)), np.zeros((count, 1, 2))

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def reset(self, seed=None):
        self.t, self.reseeded = 0, seed
        if seed is not None:
            self.rng = np.random.default_rng(seed)
        self.task.draws.append(self.rng.random())
        return np.zeros((self.num_envs, 1, 1)), None

    def step(self, actions):
        self.t += 1
        first = np.arange(self.num_envs) == 0
        costs = self.task.costs_of(self.rng, self.num_envs)  # (E, m)
        ended = (first & (self.t == 2)) | (self.t == self.task.horizon)
        landed = first & (self.t >= 2)  # it would be counted again and again
        rows = np.zeros((self.num_envs, 1, 1))
        return SimpleNamespace(
            observations=rows, rewards=rows[..., 0] + 1, costs=costs[:, None], contacts=0 * self.t,
            terminated=landed, truncated=ended & ~landed,
        )  # fmt: skip


def scripted(costs_of, thresholds=(1.0,), horizon=4, discount=0.5):
    task = SimpleNamespace(thresholds=thresholds, horizon=horizon, discount=discount)
    task.threshold, task.costs_of = thresholds, costs_of
    task.cost_cap = 1e9
    task.worlds, task.draws = [], []

    def vector_env(count, seed, autoreset):
        assert not autoreset
        task.worlds.append(Script(task, count, seed))
        return task.worlds[-1]

    task.vector_env = vector_env
    return task


def ones(rng, count):
    return np.ones((count, 1))


def test_nothing_counts_after_the_end_of_an_episode():
    task = scripted(ones)
    flown = rollout(lambda o: o, task.vector_env(3, 0, False))
    assert flown["discounted"][:, 0].tolist() == [1.5, 1.875, 1.875]
    assert flown["episode"][:, 0].tolist() == [2, 4, 4] and flown["length"].tolist() == [2, 4, 4]
    assert flown["success"].tolist() == [1, 0, 0] and flown["reward"].tolist() == [2, 4, 4]
    assert flown["gain"].tolist() == [1.5, 1.875, 1.875]


def test_a_rollout_starts_from_the_seed_that_it_is_given():
    world = scripted(ones).vector_env(3, 0, False)
    rollout(lambda o: o, world)
    assert world.reseeded is None
    rollout(lambda o: o, world, seed=7)
    assert world.reseeded == 7


def test_every_wave_has_a_seed_of_its_own():
    task = scripted(lambda rng, count: rng.random((count, 1)))
    certificate(lambda o: o, task, 9, seed=0, wave=3)
    assert len(set(task.draws)) == 3 and {w.num_envs for w in task.worlds} == {3}
    again = scripted(lambda rng, count: rng.random((count, 1)))
    certificate(lambda o: o, again, 9, seed=0, wave=3)
    assert task.draws == again.draws


def test_what_is_recorded_is_what_was_flown():
    task, rng = (
        NavigationTask(n_agents=2, actions="continuous", horizon=5),
        np.random.default_rng(0),
    )
    moves = rng.uniform(-1, 1, (5, 3, 2, 2))
    with NavigationVectorEnv(task, 3, 0, autoreset=False) as env:
        one = iter(moves)
        flown = rollout(lambda _: next(one), env, 7, record=True)
        env.reset(7)
        other = [env.positions.copy()]
        costs = [(env.step(move).costs.sum(1), other.append(env.positions.copy()))[0]
                 for move in moves]  # fmt: skip
        assert np.array_equal(flown["landmarks"], env.landmarks)
    assert np.array_equal(flown["positions"], other) and np.array_equal(flown["costs"], costs)
    assert np.allclose(flown["costs"].sum(0), flown["episode"])


def test_johnson_s_bound_by_hand():
    """x = 0, 0, 3: mean 1, s = √3, skewness 1/√2, t(0.99; 2) = 6.9646."""
    t = 6.964556734
    right = 1 + t + 2**-0.5 / (6 * 3**0.5) * (1 + 2 * t**2)
    assert skewed_mean_bound(np.array([0.0, 0, 3]), 0.99) == pytest.approx(right)


def two_costs(first, second):
    return lambda rng, count: np.stack([first * (rng.random(count) < 0.4), second + 0 * count], -1)


def test_every_constraint_must_hold_at_its_99_percent_bound():
    def steady(a, b):
        return lambda rng, count: np.tile((a, b), (count, 1))

    for a, b in ((0.1, 0.1), (0.1, 9.0), (9.0, 0.1)):
        found = certificate(lambda o: o, scripted(steady(a, b), (1.0, 1.0)), 200, 0)
        assert found["certified"] == (max(a, b) < 1)
    some = scripted(lambda rng, count: 1.0 * (rng.random((count, 1)) < 0.3))
    bounds = certificate(lambda o: o, some, 100, 0)["constraints"][0]
    assert bounds["upper95"] < bounds["upper99"]
    between = (bounds["upper95"] + bounds["upper99"]) / 2
    tight = scripted(some.costs_of, (between,))
    assert not certificate(lambda o: o, tight, 100, 0)["certified"]
    assert certificate(lambda o: o, scripted(some.costs_of, (1.01 * bounds["upper99"],)), 100, 0)[
        "certified"
    ]


def test_two_bounds_share_the_error_of_one():
    """Bonferroni: the bounds of a constraint are wider where there is a second one."""

    def twice(rng, count):
        return np.repeat(rng.random((count, 1)) < 0.3, 2, 1) * 1.0

    (one,) = certificate(lambda o: o, scripted(lambda *x: twice(*x)[:, :1]), 100, 0)["constraints"]
    two = certificate(lambda o: o, scripted(twice, (1.0, 1.0)), 100, 0)["constraints"]
    assert one["mean"] == two[0]["mean"] == two[1]["mean"]
    for c in two:
        assert c["upper95"] > 1.01 * one["upper95"] and c["upper99"] > 1.01 * one["upper99"]


@pytest.mark.parametrize("actions", ["continuous", "discrete"])
def test_a_stochastic_policy_is_stochastic(actions):
    task = NavigationTask(actions=actions)
    config = MACAACConfig() if actions == "discrete" else MAPPOConfig()
    torch.manual_seed(0)
    actor, views = actor_of(task, config), np.zeros((500, task.n_agents, task.view_size))
    mean = Policy(actor, task, 0.3).act(views)
    assert np.array_equal(mean, np.broadcast_to(mean[:1], mean.shape))
    drawn = Policy(actor, task, 0.3, deterministic=False, seed=1).act(views)
    again = Policy(actor, task, 0.3, deterministic=False, seed=1).act(views)
    assert np.array_equal(drawn, again)
    if actions == "discrete":
        shares = np.bincount(drawn.ravel(), minlength=5) / drawn.size
        assert np.allclose(shares, torch.softmax(actor(torch.zeros(1, 1, task.view_size)), -1)
                           .detach().numpy().ravel(), atol=0.05)  # fmt: skip
    else:
        assert (drawn - mean).std() == pytest.approx(0.3, rel=0.1)


# ------------------------------------------------------------------------- the swarm


def test_the_reward_is_the_way_that_is_made_and_its_sign():
    with SwarmVectorEnv(SwarmTask(n_obstacles=0), 1, 0, autoreset=False) as env:
        env.reset(seed=0)

        def left():
            return np.linalg.norm(env.positions - env.places, axis=-1)

        before, way = left(), env.places - env.positions
        actions = way / np.abs(way).max(-1, keepdims=True)
        rewards = sum(env.step(actions).rewards for _ in range(5))
        assert (rewards > 0).all() and np.allclose(rewards, before - left())
        assert (sum(env.step(-actions).rewards for _ in range(15)) < 0).all()


def test_actions_beyond_one_are_those_of_one():
    def speed(size):
        with SwarmVectorEnv(SwarmTask(), 1, 0) as env:
            env.reset(seed=0)
            env.step(np.full((1, 5, 3), size))
            return env.velocities.copy()

    assert np.array_equal(speed(1.0), speed(50.0)) and not np.allclose(speed(1.0), speed(0.5))


def test_an_arrival_at_the_last_step_is_terminated_and_not_truncated():
    task = SwarmTask(n_drones=1, n_obstacles=0, horizon=30)
    with SwarmVectorEnv(task, 2, 0, autoreset=False) as env:
        there = np.array([task.target, task.start])[:, None]
        env.reset(options={"positions": there})
        env.steps[:] = task.horizon - 1
        step = env.step(np.zeros((2, 1, 3)))
        assert step.terminated.tolist() == [True, False]
        assert step.truncated.tolist() == [False, True]


@pytest.mark.parametrize(("far", "touch"), [(-0.02, 1), (0.005, 0)])
def test_contacts_are_bodies_that_touch(far, touch):
    """Two drones, and one above the ground: Bullet reports that one before they touch."""
    task = SwarmTask(n_drones=3, n_obstacles=0)
    with SwarmVectorEnv(task, 1, 0, autoreset=False) as env:
        places = np.array([[[0, 0, 8], [0.6 + far, 0, 8], [9, 9, 0.3 + far]]])
        env.reset(options={"positions": places})
        assert env.step(np.zeros((1, 3, 3))).contacts.tolist() == [2 * touch]


def test_a_rotor_never_pulls_down():
    """Attitude control with more than twice its weight in thrust: at −1 it falls freely."""
    task = SwarmTask(n_drones=1, n_obstacles=0, control="attitude", max_thrust=20.0, drag=0.1)
    with SwarmVectorEnv(task, 1, 0, autoreset=False) as env:
        env.reset(seed=0)
        env.step(np.array([[[-1.0, 0, 0, 0]]]))
        assert -9.82 * task.dt < env.velocities[0, 0, 2] < -9.0 * task.dt


def test_exactly_the_safe_distance_costs_nothing():
    assert not near(np.array(2.0), 2.0) and near(np.array(np.nextafter(2.0, 0)), 2.0)
    assert near(np.array(2.0), 2.0, 0.5) == 1 and near(np.array(2.25), 2.0, 0.5) == 0.5


def test_feasibility_at_its_edges():
    """Starts may come closer by twice the jitter's diagonal; between the start and the goal there
    is room for both safe distances."""
    least = 2.0 + 2 * 3**0.5 * 0.3
    SwarmTask(start_spacing=least + 1e-6)
    with pytest.raises(InfeasibleTask, match="start_spacing"):
        SwarmTask(start_spacing=least - 1e-6)
    task = SwarmTask()
    need = task.start_radius + 2 * (task.obstacle_radius + task.d_safe) + ROOM + task.goal_radius
    for far, fits in ((need + 1e-6, True), (need - 1e-6, False)):
        target = (task.start[0] + far, task.start[1], task.start[2])
        if fits:
            SwarmTask(target=target)
        else:
            with pytest.raises(InfeasibleTask, match="distance to target"):
                SwarmTask(target=target)


@pytest.mark.parametrize("control", ["force", "attitude"])
def test_in_a_tick_no_drone_moves_further_than_its_radius(control):
    for dt, thrust in product((0.05, 0.1, 0.23, 0.4), (6.0, 9.0, 20.0)):
        task = SwarmTask(control=control, dt=dt, max_thrust=thrust, horizon=1000)
        assert task.top_speed * task.dt / task.ticks <= task.body_radius
        fewer = task.ticks - 1
        least = 5 if control == "attitude" else 1
        assert fewer < least or task.top_speed * task.dt / fewer > task.body_radius


def test_obstacles_stand_to_one_side():
    task = SwarmTask()
    _, obstacles = task.draw(np.random.default_rng(0), 300)
    along = np.subtract(task.target, task.start) / task.distance
    aside = obstacles - task.start
    aside -= (aside @ along)[..., None] * along
    aside /= np.linalg.norm(aside, axis=-1, keepdims=True)
    angles = np.arccos(np.clip(np.einsum("eid,ejd->eij", aside, aside), -1, 1))
    assert 1.9 < angles.max() < 2 * np.pi / 3 + 1e-6  # within 60° of one direction


# ------------------------------------------------------------------------- MACAAC


SMALL = {"iterations": 10, "num_envs": 4, "updates": 1, "batch": 8, "buffer_episodes": 8,
         "hidden_critic": 8, "hidden_actor": 8}  # fmt: skip
TASK = NavigationTask(n_agents=2, n_landmarks=2, horizon=4, thresholds=(2.0, 0.5))


@pytest.fixture
def learner():
    torch.set_num_threads(1)
    world, learning = np.random.SeedSequence(0).spawn(2)
    return MACAAC(NavigationVectorEnv(TASK, 4, world), MACAACConfig(**SMALL), learning)


def test_episodes_of_the_replay_end_together(learner):
    assert learner.env.autoreset is False


def test_each_head_has_the_unit_of_its_signal(learner):
    """k is about 1/5 of its sum over the discounted horizon; a cost has its budget, or 1."""
    length = (1 - 0.99**4) / 0.01
    assert learner.unit.tolist() == pytest.approx([length / 5, 2.0, 1.0])


def test_gradients_are_clipped(learner, monkeypatch):
    network = torch.nn.Linear(3, 1)
    before = torch.cat([p.detach().flatten() for p in network.parameters()])
    loss = 1e6 * network(torch.ones(3)).sum()
    learner.descend(torch.optim.SGD(network.parameters(), lr=1.0), loss, network, 0.5)
    after = torch.cat([p.detach().flatten() for p in network.parameters()])
    assert (after - before).norm().item() == pytest.approx(0.5, rel=1e-3)
    norms = {}
    monkeypatch.setattr(
        learner, "descend", lambda o, loss, network, norm: norms.update({network: norm})
    )
    learner.iterate()
    assert norms == {learner.critic: 1.0, learner.actor: 0.5}


def test_each_number_of_an_update_is_logged_under_its_name(learner, monkeypatch):
    """m = 2: three errors, three means of Q, the entropy."""
    monkeypatch.setattr(learner, "update", lambda: torch.arange(7.0))
    log, names = learner.iterate(), ("reward", "cost_0", "cost_1")
    assert [log[f"error_{name}"] for name in names] == [0, 1, 2]
    assert [log[f"q_{name}"] for name in names] == [3, 4, 5] and log["entropy"] == 6


def test_both_rates_fall_to_a_tenth(learner):
    for done in range(4):
        learner.iterate()
        for name in ("actor", "critic"):
            rate = getattr(learner, f"{name}_optimizer").param_groups[0]["lr"]
            start = getattr(learner.config, f"learning_rate_{name}")
            assert rate == pytest.approx(start * (1 - 0.9 * done / 10))


def test_the_replay_is_a_ring(learner):
    replay = learner.replay
    assert len(replay.views) == 2
    for k in range(5):
        replay.play(lambda o, t, k=k: torch.full((4, 2), k), np.zeros(2))
        assert (replay.actions[k % 2] == k).all()
        assert torch.equal(replay.newest(), replay.views[k % 2])
    assert sorted(replay.actions[:, 0, 0, 0].tolist()) == [3, 4]


# ------------------------------------------------------------------------- LP and multiplier


def test_a_negative_probability_is_refused_though_the_row_sums_to_one():
    P = np.eye(2)[:, None].repeat(2, 1)
    P[0, 0] = (1.5, -0.5)
    with pytest.raises(ValueError, match="transition must be ≥ 0"):
        TabularCMDP(P, np.zeros((2, 2)), np.zeros((1, 2, 2)), [1.0], [1, 0], 0.9)


@pytest.mark.parametrize("seed", range(10))
def test_a_best_response_is_best(seed):
    task = random_cmdp(np.random.default_rng(seed), 4, 3, 1, 0.95)
    found = evaluate(task, best_response(task, task.reward)).J_r
    every = [evaluate(task, np.eye(3)[list(acts)]).J_r for acts in product(range(3), repeat=4)]
    assert found == pytest.approx(max(every), abs=1e-9)


def test_prices_of_the_subgradient_method_stay_above_zero():
    task = random_cmdp(np.random.default_rng(0), 5, 3, 2)
    loose = task.with_thresholds(100.0)
    prices, *_ = subgradient_ascent(loose, 20, 1.0)
    assert (prices == 0).all()
    half = replace(task, thresholds=np.array([task.thresholds[0], 100.0]))
    prices, *_ = subgradient_ascent(half, 20, 1.0)
    assert prices[:, 0].max() > 0 and (prices >= 0).all()


def test_a_multiplier_refuses_infinite_costs_and_its_derivative_only_damps_a_rise():
    λ = Multipliers([1.0], rate=0.1, initial=1.0, derivative=2.0)
    for bad in (np.inf, -np.inf, np.nan):
        with pytest.raises(ValueError, match="finite"):
            λ.update([bad])
    assert λ.update([1.0]) == pytest.approx(1.0)
    assert λ.update([2.0]) == pytest.approx(1.1 + 2.0)
    assert λ.update([1.0]) == pytest.approx(1.1)  # it fell: no part of the derivative


@pytest.mark.parametrize("bad", [-1.0, np.nan])
@pytest.mark.parametrize("name", ["rate", "initial", "proportional", "derivative", "growth", "cap",
                                  "most", "thresholds"])  # fmt: skip
def test_a_multiplier_is_made_of_finite_numbers_above_zero(name, bad):
    with pytest.raises(ValueError, match=f"{name} must be ≥ 0"):
        Multipliers(**{"thresholds": [1.0]} | {name: bad})
    λ = Multipliers([1.0])
    assert λ.update([3.0]) == pytest.approx(2 * 0.05) and λ.update([0.0]) == pytest.approx(0.05)


def test_a_multiplier_takes_up_only_what_a_multiplier_has_saved():
    state = Multipliers([1.0, 2.0], initial=0.5).state_dict()
    Multipliers([1.0, 2.0]).load_state_dict(state)  # the control; `previous` is NaN at first
    for name, bad in (("integral", [0.5]), ("values", [0.5, -1.0]), ("integral", [np.nan, 1.0]),
                      ("values", [np.inf, 1.0]), ("previous", None)):  # fmt: skip
        with pytest.raises((ValueError, TypeError)):
            Multipliers([1.0, 2.0]).load_state_dict(state | {name: bad})
    with pytest.raises(LookupError):
        Multipliers([1.0, 2.0]).load_state_dict({"integral": [0, 0]})
    λ = Multipliers([1.0, 2.0])
    λ.load_state_dict(state | {"update": 3, "rate": 9.0})
    assert callable(λ.update) and λ.rate == 0.05


def test_gae_refuses_what_is_no_discount_and_broadcasts_each_mask_by_itself():
    x = torch.arange(12.0, dtype=torch.float64).reshape(3, 2, 2)
    ended = torch.tensor([[0, 1], [0, 0], [1, 1]], dtype=torch.bool)
    never = torch.zeros(3, dtype=torch.bool)
    whole = gae(x, x, x + 1, never[:, None].expand(3, 2), ended, 0.9, 0.8)
    assert torch.equal(gae(x, x, x + 1, never, ended, 0.9, 0.8), whole)
    assert not torch.equal(gae(x, x, x + 1, never, never, 0.9, 0.8), whole)
    for bad in ((2.0, 0.9), (0.9, 5.0), (-0.1, 0.9), (float("nan"), 0.9)):
        with pytest.raises(ValueError, match=r"lie in \[0, 1\]"):
            gae(x, x, x, never, ended, *bad)


def test_a_batch_of_swarms_flies_only_after_a_reset():
    with SwarmVectorEnv(SwarmTask(), 2, 0) as env:
        with pytest.raises(ValueError, match="call reset"):
            env.step(np.zeros((2, 5, 3)))
        env.reset()
        env.step(np.zeros((2, 5, 3)))


def test_a_policy_matrix_refuses_nan():
    task = random_cmdp(np.random.default_rng(0), 3, 2, 1)
    for bad in (np.full((3, 2), np.nan), np.array([[2.0, -1.0]] * 3), np.ones((3, 3)) / 3):
        with pytest.raises(ValueError, match="each row ≥ 0 with sum 1"):
            evaluate(task, bad)
