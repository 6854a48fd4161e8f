"""MACAAC, MADDPG-C, MAAC: targets, baselines, switches, resumed runs, the command line."""

import csv
import itertools
import json
from copy import deepcopy
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from torch import nn

import safemarl_lite
from safemarl_lite import runs
from safemarl_lite.__main__ import main
from safemarl_lite.actors import Policy
from safemarl_lite.critics import AttentionCritic, JointCritic
from safemarl_lite.evaluate import clopper_pearson, evaluate, rollout
from safemarl_lite.macaac import (
    MACAAC,
    SWITCHES,
    MACAACConfig,
    counterfactual_advantage,
    own,
    priced,
    q_targets,
)
from safemarl_lite.mappo import ON_NAVIGATION
from safemarl_lite.navigation import NavigationTask, NavigationVectorEnv

ALGOS = ("macaac", "maddpg-c", "maac")
SMALL = {"iterations": 3, "num_envs": 8, "updates": 3, "batch": 32, "buffer_episodes": 16,
         "hidden_critic": 16, "hidden_actor": 8, "eval_every": 2, "eval_episodes": 8}  # fmt: skip
TASK = NavigationTask(n_agents=3, n_landmarks=2, horizon=6, thresholds=(1.0, 0.5))


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def learner(task=TASK, seed=0, **settings):
    world, learning = np.random.SeedSequence(seed).spawn(2)
    config = MACAACConfig(**SMALL | settings)
    return MACAAC(NavigationVectorEnv(task, config.num_envs, world), config, learning)


def weights(network):
    return torch.cat([p.detach().flatten() for p in network.parameters()])


def random_batch(task, size, seed=0):
    """Views, actions, signals, stored λ, last?, successors of made-up steps."""
    g = torch.Generator().manual_seed(seed)
    m, n = len(task.thresholds), task.n_agents
    views = torch.randn(2, size, n, task.view_size, generator=g)
    actions = torch.randint(task.action_size, (size, n), generator=g)
    signals, stored = torch.rand(size, 1 + m, generator=g), torch.rand(size, m, generator=g)
    last = torch.arange(size) % 3 == 0
    return views[0], actions, signals, stored, last, views[1]


# ---- the mathematics


def test_q_targets_by_hand():
    signals = torch.tensor([[2.0, 1.0], [3.0, 0.0]])
    values = torch.tensor([[[10.0, 4.0], [20.0, 8.0]], [[10.0, 4.0], [20.0, 8.0]]])
    given = q_targets(signals, values, torch.tensor([1.0, 0.0]), 0.5)
    assert given.tolist() == [[[7.0, 3.0], [12.0, 5.0]], [[3.0, 0.0], [3.0, 0.0]]]


def test_priced_and_own_by_hand():
    q = torch.arange(12.0).reshape(1, 2, 3, 2)  # one step, two agents, k c_1 c_2, two actions
    assert own(q, torch.tensor([[1, 0]])).tolist() == [[[1, 3, 5], [6, 8, 10]]]
    assert priced(torch.tensor([5.0, 2.0, 3.0]), torch.tensor([10.0, 100.0])).item() == 325


def test_counterfactual_advantage_equals_a_loop_over_the_own_action():
    n, size = TASK.n_agents, 4
    torch.manual_seed(1)
    critic = AttentionCritic(TASK.view_size, 5, 5, 16)
    views, actions, *_ = random_batch(TASK, size)
    policy = torch.rand(size, n, 5).softmax(-1)
    hot = nn.functional.one_hot
    with torch.no_grad():
        given = counterfactual_advantage(critic(views, hot(actions, 5).float()), policy)
        for b, i in itertools.product(range(size), range(n)):
            values = []
            for a in range(5):  # replace the own action, leave the others'
                changed = actions[b].clone()
                changed[i] = a
                values.append(critic(views[b], hot(changed, 5).float())[i, a].item())
            baseline = sum(policy[b, i, a].item() * values[a] for a in range(5))
            for a in range(5):
                assert given[b, i, a].item() == pytest.approx(values[a] - baseline, abs=1e-5)
        assert (policy * given).sum(-1).abs().max() < 1e-5 < given.abs().max()


def test_attention_equals_a_loop():
    torch.manual_seed(0)
    critic, heads = AttentionCritic(7, 5, 3, 8, attention_heads=2), 2
    critic.scale.update(3 * torch.randn(100, 7) + 1)
    o, a = torch.randn(4, 7), torch.randn(4, 5)
    with torch.no_grad():
        given, α = critic(o, a, return_weights=True)
        x = (o - critic.scale.mean) / (critic.scale.var + 1e-6).sqrt()
        s, e = critic.own(x), critic.pair(torch.cat([x, a], -1))
        for i in range(4):
            found = []
            for h in range(heads):
                rows = slice(4 * h, 4 * h + 4)  # this head's part of the projections
                q, others = critic.query.weight[rows] @ s[i], [j for j in range(4) if j != i]
                scores = torch.stack([q @ (critic.key.weight[rows] @ e[j]) / 2 for j in others])
                share = scores.exp() / scores.exp().sum()
                assert torch.allclose(α[h, i, others], share, atol=1e-6) and α[h, i, i] == 0
                values = [
                    nn.functional.leaky_relu(critic.value.weight[rows] @ e[j]) for j in others
                ]
                found.append(sum(w * v for w, v in zip(share, values, strict=True)))
            assert torch.allclose(given[i], critic.net(torch.cat([s[i], *found])), atol=1e-5)


def test_joint_critic_is_one_network_per_agent():
    torch.manual_seed(0)
    critic = JointCritic(3, 4, 5, 2, 8)
    views, actions = torch.randn(6, 3, 4), torch.randn(3, 6, 3, 5)
    with torch.no_grad():
        given = critic(views, actions)
        for i in range(3):
            x = torch.cat([critic.scale(views).flatten(1), actions[i].flatten(1)], -1)
            for layer, (w, b) in enumerate(zip(critic.weights, critic.biases, strict=True)):
                x = x @ w[i] + b[i]
                x = nn.functional.leaky_relu(x) if layer < 2 else x
            assert torch.allclose(given[:, i], x, atol=1e-5)


def test_renaming_the_agents_renames_values_and_leaves_the_gradients():
    order = torch.tensor([2, 0, 1])
    views, actions, *_ = random_batch(TASK, 16)
    for algo, equivariant in (("macaac", True), ("maddpg-c", False)):  # the second is the control
        one = learner(algo=algo)
        value = one.values if algo == "macaac" else one.joint
        with torch.no_grad():
            plain, renamed = value(one.critic, views, actions), None
            renamed = value(one.critic, views[:, order], actions[:, order])
        assert torch.allclose(plain[:, order], renamed, atol=1e-4) == equivariant
        assert torch.allclose(one.actor(views)[:, order], one.actor(views[:, order]), atol=1e-6)
    targets, steps = torch.randn(16, 3, 3), []
    for names in (torch.arange(3), order):
        one = learner()
        one.critic_step(views[:, names], actions[:, names], targets[:, names])
        steps.append(torch.cat([p.grad.flatten() for p in one.critic.parameters()]))
    assert torch.allclose(*steps, atol=1e-5) and steps[0].abs().max() > 1e-3


def test_draws_follow_the_softmax():
    one, logits = learner(), torch.tensor([0.0, 1.0, -1.0, 2.0, 0.5])
    for draw in (one.draw, lambda x: sampled(x, TASK)):
        shares = torch.bincount(draw(logits.expand(40_000, 5)), minlength=5) / 40_000
        assert (shares - logits.softmax(0)).abs().max() < 0.01


def sampled(logits, task):
    policy = Policy(nn.Identity(), task, 1.0, deterministic=False)
    return torch.as_tensor(policy.act(logits))


# ---- targets, with each switch, against a loop


@pytest.mark.parametrize("algo", ["macaac", "maddpg-c"])
@pytest.mark.parametrize("switch", ["none", *SWITCHES])
def test_targets_equal_a_loop_under_each_switch(algo, switch, monkeypatch):
    one = learner(algo=algo, temperature_start=0.3, **{} if switch == "none" else {switch: True})
    _, actions, signals, stored, last, after = random_batch(TASK, 9)
    drawn = actions.flip(0)
    monkeypatch.setattr(one, "draw", lambda logits: drawn)
    with torch.no_grad():
        given = one.targets(signals, stored, last, after)
        policy = one.actor(after).softmax(-1)
        for b, i, x in itertools.product(range(9), range(3), range(3)):
            signal = signals[b, x].item()
            if switch == "stale_multiplier" and x == 0:
                signal += sum(stored[b, j].item() * signals[b, 1 + j].item() for j in range(2))
            if algo == "macaac":
                q = one.values(one.target, after[b : b + 1], drawn[b : b + 1])[0, i, x]
                p = policy[b, i].tolist()
                ahead = sum(p[a] * q[a].item() for a in range(5))
                entropy = -sum(p[a] * np.log(p[a]) for a in range(5))
                if switch == "wrong_entropy_sign":
                    ahead += 0.3 * entropy
                elif x == 0:
                    ahead -= 0.3 * entropy
            else:
                ahead = one.joint(one.target, after[b : b + 1], drawn[b : b + 1])[0, i, x].item()
            if last[b] and switch != "no_episode_end":
                ahead = 0.0
            assert given[b, i, x].item() == pytest.approx(signal + 0.99 * ahead, abs=2e-4)


def test_faithful_is_all_switches():
    assert all(getattr(MACAACConfig(faithful=True), name) for name in SWITCHES)
    assert not any(getattr(MACAACConfig(), name) for name in SWITCHES)
    stored = json.loads(json.dumps(asdict(MACAACConfig(faithful=True))))
    assert MACAACConfig(**stored) == MACAACConfig(faithful=True)


@pytest.mark.parametrize("algo", ["macaac", "maddpg-c"])
def test_a_stale_multiplier_matters_only_where_there_is_one(algo):
    pairs = {}
    for start in (0.0, 1.0):
        pair = [learner(algo=algo, stale_multiplier=s, multiplier_rate=0.0, multiplier_start=start)
                for s in (False, True)]  # fmt: skip
        for one in pair:
            for _ in range(3):
                one.iterate()
        pairs[start] = pair
    (free, free_stale), (now, stale) = pairs.values()
    for network in ("actor", "critic", "target"):  # λ = 0: the same to the last bit
        assert torch.equal(weights(getattr(free, network)), weights(getattr(free_stale, network)))
        assert not torch.equal(weights(getattr(now, network)), weights(getattr(stale, network)))


def test_what_the_buffer_holds_is_raw_and_lambda_enters_at_update():
    one, batch = learner(multiplier_start=2.0), random_batch(TASK, 16)
    one.iterate()
    signals = one.replay.signals[0].clone()
    env = NavigationVectorEnv(TASK, 8, autoreset=False)
    env.rng.bit_generator.state = json.loads(one.replay.worlds[0])
    env.reset()
    for t in range(TASK.horizon):
        step = env.step(one.replay.actions[0, t].numpy())
        assert np.allclose(signals[t, :, 0], -step.rewards[:, 0], atol=1e-6)
        assert np.allclose(signals[t, :, 1:], step.costs.sum(1))
    before = one.actor.state_dict()
    before = {k: v.clone() for k, v in before.items()}
    moved = {}
    for stale, λ in itertools.product((False, True), (0.0, 50.0)):
        one = learner(multiplier_start=λ, stale_multiplier=stale)
        one.actor_step(*batch[:2])
        moved[stale, λ] = weights(one.actor)
    assert not torch.equal(moved[False, 0.0], moved[False, 50.0])
    assert torch.equal(moved[True, 0.0], moved[True, 50.0])


@pytest.mark.parametrize("replayed", [False, True])
def test_every_multiplier_follows_its_own_estimate(replayed):
    one = learner(replayed_constraint=replayed, multiplier_start=0.3, multiplier_rate=0.25,
                  tighten=0.1)  # fmt: skip
    other = learner(replayed_constraint=not replayed, multiplier_start=0.3, multiplier_rate=0.25,
                    tighten=0.1)  # fmt: skip
    λ, limits = np.array([0.3, 0.3]), np.array([0.9, 0.4])
    for i in range(3):
        log = one.iterate()
        estimate = [log[f"q_cost_{j}" if replayed else f"cost_{j}"] for j in range(2)]
        λ = np.maximum(0, λ + 0.25 * np.minimum(np.array(estimate) - limits, 1.0))  # capped
        assert np.allclose(λ, [log["lambda_0"], log["lambda_1"]])
        if i == 0:  # until λ is used, the switch changes nothing else
            other.iterate()
            assert torch.equal(weights(one.actor), weights(other.actor))
            assert torch.equal(weights(one.critic), weights(other.critic))
            assert not np.allclose(one.multipliers.values, other.multipliers.values)
    loose = learner(task=replace(TASK, thresholds=(90.0, 90.0)), multiplier_start=0.3,
                    replayed_constraint=replayed)  # fmt: skip
    assert loose.iterate()["lambda_0"] < 0.3  # it falls where there is room


@pytest.mark.parametrize("algo", ["macaac", "maddpg-c"])
def test_entropy_rises_by_default_and_falls_with_the_wrong_sign(algo):
    views, actions, *_ = random_batch(TASK, 64)
    for wrong, direction in ((False, 1), (True, -1)):
        one = learner(algo=algo, wrong_entropy_sign=wrong, temperature_start=5.0)
        one.actor_optimizer.param_groups[0]["lr"] = 1e-2
        with torch.no_grad():
            for p in one.critic.parameters():
                p.zero_()  # a critic without opinion leaves the entropy alone
            one.actor.nets[0][-1].weight.mul_(100)
        entropy = [one.actor_step(views, actions).item() for _ in range(30)]
        assert direction * (entropy[-1] - entropy[0]) > 0.05


@pytest.mark.parametrize("algo", ["macaac", "maddpg-c"])
@pytest.mark.parametrize("λ", [0.0, 1.0])
def test_the_actors_leave_what_a_price_makes_dear(algo, λ, monkeypatch):
    """Critics that know c_1 of each own action: the policy moves down λ_1 c_1, not up, not at 0."""
    cost = torch.tensor([0.0, 0.0, 4.0, 0.0, -4.0])
    one = learner(algo=algo, temperature_start=1e-9, temperature_end=1e-9)
    one.multipliers.values = np.array([λ, 0.0])
    one.actor_optimizer.param_groups[0]["lr"] = 1e-2

    seen = []

    def values(critic, views, others):
        seen.append(others)
        q = torch.zeros(*others.shape, 3, 5)
        q[..., 1, :] = cost
        return q

    def joint(critic, views, actions, mine):
        c = mine @ cost
        return torch.stack([0 * c, c, 0 * c], -1)

    monkeypatch.setattr(one, "values", values)
    monkeypatch.setattr(one, "joint", joint)
    views, actions, *_ = random_batch(TASK, 64)
    for _ in range(30):
        one.actor_step(views, actions)
    with torch.no_grad():
        expected = (one.actor(views).softmax(-1) @ cost).mean().item()
    assert expected < -2 if λ else abs(expected) < 0.1
    assert not any(torch.equal(others, actions) for others in seen)  # drawn now, not replayed


@pytest.mark.parametrize("algo", ["macaac", "maddpg-c"])
def test_a_finer_unit_makes_the_same_weights_say_less(algo):
    views, actions, *_ = random_batch(TASK, 8)
    coarse, fine = (learner(algo=algo, resolution=share) for share in (1.0, 8.0))
    values = [
        (x.values if x.attends else x.joint)(x.critic, views, actions) for x in (coarse, fine)
    ]
    assert torch.allclose(values[0], 8 * values[1], atol=1e-5)
    assert float(values[1].detach().abs().min()) > 0


def test_no_episode_end_is_a_horizon_that_only_truncates():
    ends = replace(TASK, horizon_is_terminal=False)
    a, b, c = learner(no_episode_end=True), learner(task=ends), learner()
    for one in (a, b, c):
        one.iterate()
    assert torch.equal(weights(a.critic), weights(b.critic))
    assert not torch.equal(weights(a.critic), weights(c.critic))


def test_maac_leaves_lambda_at_zero():
    one = learner(algo="maac", multiplier_start=5.0)
    assert one.iterate()["lambda_0"] == 0 and one.iterate()["lambda_1"] == 0
    assert learner(multiplier_start=5.0).multipliers.values.tolist() == [5, 5]


def test_maddpg_replaces_the_own_action_only_and_lets_its_gradient_through():
    one = learner(algo="maddpg-c")
    views, actions, *_ = random_batch(TASK, 4)
    other = (actions + 1) % 5
    mine = nn.functional.one_hot(other, 5).float().requires_grad_()
    given = one.joint(one.critic, views, actions, mine)
    for i in range(3):
        changed = actions.clone()
        changed[:, i] = other[:, i]
        assert torch.allclose(given[:, i], one.joint(one.critic, views, changed)[:, i], atol=1e-5)
    (slope,) = torch.autograd.grad(given[:, 1].sum(), mine)
    assert slope[:, 1].abs().max() > 0 and slope[:, [0, 2]].abs().max() == 0
    before = weights(one.critic).clone()
    start = weights(one.actor).clone()
    one.actor_step(views, actions)
    assert torch.equal(before, weights(one.critic)) and not torch.equal(start, weights(one.actor))


@pytest.mark.parametrize("endless", [False, True])
def test_the_critics_learn_what_a_fixed_policy_costs(endless):
    """Q at the start equals the Monte Carlo cost; without the episode's end it does not."""
    task = NavigationTask(n_agents=2, n_landmarks=1, horizon=4, thresholds=(3.0,), discount=0.9)
    one = learner(task, learning_rate_actor=0.0, learning_rate_critic=3e-3, temperature_start=1e-9,
                  temperature_end=1e-9, num_envs=64, buffer_episodes=640, updates=40, batch=128,
                  iterations=10, target_rate=0.2,
                  no_episode_end=endless, hidden_critic=32)  # fmt: skip
    logs = [one.iterate() for _ in range(10)]
    cost, penalty = (-np.mean([x["return_discounted"] for x in logs]),
                     np.mean([x["cost_0"] for x in logs]))  # fmt: skip
    views, actions = one.replay.views[:, 0].flatten(0, 1), one.replay.actions[:, 0].flatten(0, 1)
    with torch.no_grad():
        q = own(one.values(one.critic, views, actions.long()), actions.long()).mean((0, 1))
    if endless:
        assert q[0] > 1.3 * cost
    else:
        assert q[0].item() == pytest.approx(cost, rel=0.05)
        assert q[1].item() == pytest.approx(penalty, rel=0.25, abs=0.05)


@pytest.mark.parametrize("algo", ALGOS)
def test_a_short_training_beats_standing_still(algo):
    task = NavigationTask(n_agents=1, n_landmarks=1, horizon=8)
    one = learner(task, algo=algo, iterations=24, num_envs=64, updates=10, batch=128,
                  buffer_episodes=1280, hidden_critic=32, hidden_actor=32, target_rate=0.05,
                  learning_rate_actor=3e-3, learning_rate_critic=3e-3,
                  temperature_start=0.1)  # fmt: skip
    for _ in range(24):
        one.iterate()
    env = NavigationVectorEnv(task, 400, 9, autoreset=False)
    still = rollout(lambda views: np.zeros(views.shape[:2], int), env, seed=9)["reward"].mean()
    trained = rollout(Policy(one.actor, task, 1.0).act, env, seed=9)["reward"].mean()
    assert trained > 0.9 * still  # returns are negative: a tenth of the cost is gone at least


# ---- runs and the command line


@pytest.mark.parametrize("algo", [*ALGOS, "mappo-lagrangian"])
def test_a_stopped_run_goes_on_to_the_same_numbers(tmp_path, algo):
    task = TASK
    if algo == "mappo-lagrangian":
        task = replace(TASK, actions="continuous")
        config = replace(ON_NAVIGATION, iterations=5, num_envs=8,
                         minibatches=2, eval_every=2, eval_episodes=8)  # fmt: skip
    else:  # five rounds into a buffer of two: it wraps
        config = MACAACConfig(**SMALL | {"algo": algo, "iterations": 5, "multiplier_start": 0.5})
    runs.train(task, config, 3, folder=tmp_path / "whole", quiet=True)
    runs.train(task, config, 3, folder=tmp_path / "parts", quiet=True, stop=3)
    runs.train(task, config, 3, folder=tmp_path / "parts", resume=True, quiet=True)
    logs = [list(csv.DictReader(open(tmp_path / x / "progress.csv"))) for x in ("whole", "parts")]
    assert len(logs[0]) == len(logs[1]) == 5
    for a, b in zip(*logs, strict=True):
        assert {k: v for k, v in a.items() if k != "seconds"} == {
            k: v for k, v in b.items() if k != "seconds"
        }
    for name in ("last.pt", "best.pt"):
        states = [runs.read_checkpoint(tmp_path / x, name)["actor"] for x in ("whole", "parts")]
        assert all(torch.equal(states[0][k], states[1][k]) for k in states[0])


def test_the_buffer_travels_as_generators_and_actions():
    one, again = learner(), learner(seed=1)
    for _ in range(3):
        one.iterate()
    again.load_state_dict(deepcopy(one.state_dict()))
    for name in ("views", "actions", "signals", "multipliers", "worlds", "count"):
        a, b = getattr(one.replay, name), getattr(again.replay, name)
        assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b
    assert one.replay.count == 3
    assert one.iterate() == again.iterate()
    stored = one.replay.state_dict()
    size = sum(x.numel() * x.element_size() for x in stored.values() if torch.is_tensor(x))
    assert size < one.replay.views.numel() * 4 / 5


def test_sampling_pairs_each_step_with_its_successor():
    one = learner()
    one.iterate(), one.iterate()
    r = one.replay
    views, actions, signals, stored, last, after = r.sample(500, torch.Generator().manual_seed(0))
    where = {tuple(v.flatten().tolist()): (i, t, e) for i in range(2) for t in range(6)
             for e in range(8) for v in [r.views[i, t, e]]}  # fmt: skip
    for k in range(500):
        i, t, e = where[tuple(views[k].flatten().tolist())]
        assert torch.equal(actions[k], r.actions[i, t, e].long())
        assert torch.equal(signals[k], r.signals[i, t, e])
        assert torch.equal(after[k], r.views[i, t + 1, e]) and bool(last[k]) == (t == 5)
        assert torch.equal(stored[k], r.multipliers[i])
    assert len({where[tuple(v.flatten().tolist())] for v in views}) > 90  # of 96: all are drawn


def flags(**settings):
    words = ((f"--{k.replace('_', '-')}", str(v)) for k, v in settings.items())
    return [word for pair in words for word in pair]


@pytest.mark.parametrize("algo", [*ALGOS, "mappo-lagrangian"])
def test_train_evaluate_watch_end_to_end(tmp_path, capsys, algo):
    out = tmp_path / "run"
    small = {"iterations": 2, "num_envs": 8, "eval_episodes": 8}
    main(["train", "navigation", f"--algo={algo}", "--out", str(out), "--episodes", "8",
          "--threads", "1", *flags(**small)])  # fmt: skip
    said = capsys.readouterr().out
    assert "99 % upper bound" in said and "success" not in said  # every episode runs to its end
    names = {"config.json", "progress.csv", "best.pt", "last.pt", "result.json", "certificate.png"}
    assert names <= {path.name for path in out.iterdir()}
    assert any("tfevents" in path.name for path in out.iterdir())
    main(["evaluate", str(out), "--episodes", "8", "--json", "--stochastic"])
    result = json.loads(capsys.readouterr().out)
    assert result["deterministic"] is False and result["task"]["n_agents"] == 5
    assert result["return_mean"] < result["return_discounted"] < 0
    main(["watch", str(out), "--out", str(tmp_path / "play.gif")])
    assert (tmp_path / "play.gif").read_bytes()[:3] == b"GIF"
    policy = safemarl_lite.load(out)
    actions = policy({f"agent_{i}": np.zeros(policy.task.view_size) for i in range(5)})
    assert np.shape(actions["agent_0"]) == (() if algo in ALGOS else (2,))


def test_the_command_line_refuses_in_one_line(tmp_path, capsys):
    run = tmp_path / "run"
    config = MACAACConfig(**SMALL | {"iterations": 1})
    runs.train(NavigationTask(), config, 0, folder=run, quiet=True)
    broken = tmp_path / "broken"
    broken.mkdir()
    stored = json.loads((run / "config.json").read_text())
    stored["config"]["algo"] = "magic"
    (broken / "config.json").write_text(json.dumps(stored))
    wrong = tmp_path / "wrong"
    wrong.mkdir()
    text = (run / "config.json").read_text()
    (wrong / "config.json").write_text(text.replace('"horizon": 25', '"horizon": 0'))
    train, out = ("train", "navigation"), ("--out", tmp_path / "x")
    cases = {
        (*train, "--algo", "magic", *out): "macaac, maddpg-c, maac",
        (*train, "--algo", *out): "--algo must be one of",
        ("train", "swarm", "--algo", "macaac", *out): "--algo must be one of",
        (*train, "--thresholds", "-1", *out): "thresholds",
        (*train, "--actions", "continuous", *out): "actions='discrete'",
        (*train, "--algo", "mappo-lagrangian", "--actions", "discrete", *out): "continuous",
        (*train, "--batch", "0", *out): "batch must be an integer ≥ 1",
        (*train, "--buffer-episodes", "3", *out): "≥ num_envs",
        (*train, "--temperature-end", "0", *out): "temperature",
        (*train, "--target-rate", "1.5", *out): "target_rate",
        (*train, "--eval-episodes", "1", *out): "eval_episodes must be an integer ≥ 2",
        (*train, "--thresholds", "0.2", *out): "leaves nothing of the threshold",
        (*train, "--hidden-critic", "30", *out): "multiple of attention_heads",
        (*train, "--out", run): "holds a run already",
        (*train, "--resume", "--out", run): "another task, seed or config",
        ("evaluate", run, "--n-drones", "7"): "exactly 5 agents",
        ("evaluate", broken): "damaged",
        ("evaluate", wrong): "config.json is damaged: ValueError horizon must be",
        ("evaluate", run, "--episodes", "1"): "an integer ≥ 2",
    }
    for words, reason in cases.items():
        with pytest.raises(SystemExit) as stop:
            main([str(w) for w in words])
        said = capsys.readouterr()
        lines = [line for line in said.err.splitlines() if "build time" not in line]
        assert stop.value.code == 2 and len(lines) == 1 and reason in lines[0], (words, lines)
        assert not said.out and not (tmp_path / "x").exists()


@pytest.mark.parametrize("field, bad", [("algo", "x"), ("updates", 0), ("batch", 2.0),
    ("learning_rate_actor", float("nan")), ("tighten", -1.0), ("iterations", True)])  # fmt: skip
def test_a_wrong_setting_is_refused(field, bad):
    with pytest.raises(ValueError, match=field):
        MACAACConfig(**{field: bad})


def test_no_violation_is_no_proof_of_zero_and_costs_what_the_task_can():
    task = NavigationTask(n_agents=1, n_landmarks=1)  # nobody to collide with
    still = lambda v: np.zeros(v.shape[:2], int)  # noqa: E731
    result = evaluate(still, task, 50, 0)
    bound = clopper_pearson(0, 50, 0.995)
    assert result["constraints"][0]["upper99"] == pytest.approx(bound * task.cost_cap)


def test_the_best_checkpoint_of_an_unconstrained_learner_is_the_one_of_most_return():
    def result(cost, gain):
        bound = {"mean": cost, "upper95": cost + 0.1, "threshold": 3.0}
        return {"return_mean": gain, "constraints": [bound]}

    safe, good = result(1.0, -60.0), result(5.0, -30.0)
    assert runs.rank(safe) > runs.rank(good) and runs.rank(safe, False) < runs.rank(good, False)


def test_a_recorded_rollout_shows_the_landmarks():
    env = NavigationVectorEnv(TASK, 4, 0, autoreset=False)
    flown = rollout(lambda v: np.zeros(v.shape[:2], int), env, record=True)
    assert flown["positions"].shape == (7, 4, 3, 2) and flown["landmarks"].shape == (4, 2, 2)
    assert "obstacles" not in flown
