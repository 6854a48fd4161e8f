"""The network that reads a view as lists: what it may not depend on, what it must see."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from safemarl_lite import runs
from safemarl_lite.actors import Actor, actor_of
from safemarl_lite.critics import AttentionCritic
from safemarl_lite.entities import Entities
from safemarl_lite.macaac import MACAACConfig
from safemarl_lite.navigation import NavigationTask, TreasureTask

SMALL = {"iterations": 3, "num_envs": 4, "updates": 2, "batch": 16, "buffer_episodes": 8,
         "hidden_critic": 16, "hidden_actor": 16, "eval_every": 2, "eval_episodes": 4}  # fmt: skip
TASKS = [NavigationTask(view="paper"), NavigationTask(n_agents=3, n_landmarks=4), TreasureTask()]


def views_of(task, seed=0):
    with task.vector_env(6, seed) as env:
        rng = np.random.default_rng(seed)
        for _ in range(3):
            views = env.step(rng.integers(0, 5, (6, task.n_agents))).observations
    return torch.as_tensor(views)


def exchanged(task, views, which):
    """The views with the rows of list `which` in another order."""
    own, (L, e), (J, f) = task.layout
    start, rows, size = ((own, L, e), (own + L * e, J, f))[which]
    out = views.clone()
    part = views[..., start : start + rows * size].unflatten(-1, (rows, size))
    out[..., start : start + rows * size] = part.roll(1, -2).flatten(-2)
    return out


@pytest.mark.parametrize("task", TASKS, ids=["paper", "relational", "treasure"])
def test_the_order_of_a_list_is_not_seen_and_the_plain_network_sees_it(task):
    torch.manual_seed(0)
    views = views_of(task)
    sizes = task.view_size, 5, task.n_agents, 32, True
    read, plain = Actor(*sizes, task.layout), Actor(*sizes)
    critic = AttentionCritic(task.view_size, 0, 3, 32, 4, task.layout)
    for which in (0, 1):
        other = exchanged(task, views, which)
        assert not torch.equal(other, views)
        with torch.no_grad():
            assert torch.allclose(read(views), read(other), atol=1e-6)
            assert (plain(views) - plain(other)).abs().max() > 1e-4
            entities = critic.entities
            assert torch.allclose(entities(views), entities(other), atol=1e-5)


@pytest.mark.parametrize("task", TASKS, ids=["paper", "relational", "treasure"])
def test_every_number_of_a_view_but_the_silence_is_used(task):
    torch.manual_seed(0)
    views = views_of(task).requires_grad_()
    Entities(task.layout, 32)(views).square().sum().backward()
    slope = views.grad.abs().amax((0, 1))
    own, (L, e), (J, f) = task.layout
    read = own + L * e + J * f
    assert (slope[:read] > 0).all() and (slope[read:] == 0).all()
    assert task.view_size - read == (2 * J if getattr(task, "view", "") == "paper" else 0)


def test_a_sharp_head_gives_the_distance_of_the_nearest_other_agent(monkeypatch):
    """What the relational view hands out, from the paper's view: the landmark's rival."""
    paper, relational = (NavigationTask(view=v) for v in ("paper", "relational"))
    views, hints = (
        torch.as_tensor(t.vector_env(40, 3).observations()) for t in (paper, relational)
    )
    net, seen = Entities(paper.layout, 8), []
    net.sharpness.data[:] = 9.0
    monkeypatch.setattr(torch, "relu", lambda x: seen.append(x) or x)
    with torch.no_grad():
        for row in (net.first[0].weight, net.first[0].bias):
            row.zero_()
        net.first[0].weight[0, 7] = 1.0  # after own 4, way 2, its length: the first head's d
        net(views)
    found = seen[0][:, 0].t().sort(1).values  # (views, landmarks)
    rivals = hints[..., 5:20].unflatten(-1, (5, 3))[..., 2].flatten(0, 1).sort(1).values
    assert torch.allclose(found, rivals, atol=1e-3)


@pytest.mark.parametrize("algo", ["macaac", "maddpg-c", "maac"])
def test_a_stopped_run_with_entities_and_a_clock_goes_on_to_the_same_numbers(tmp_path, algo):
    task = NavigationTask(n_agents=2, n_landmarks=2, horizon=5, view="paper")
    settings = {"algo": algo, "network": "entities", "critic_clock": True}
    config = MACAACConfig(**SMALL | settings)
    whole = runs.train(task, config, 3, folder=tmp_path / "whole", quiet=True)
    runs.train(task, config, 3, folder=tmp_path / "parts", quiet=True, stop=2)
    parts = runs.train(task, config, 3, folder=tmp_path / "parts", quiet=True, resume=True)
    assert whole | {"seconds": 0} == parts | {"seconds": 0}
    assert runs.load(tmp_path / "whole").actor.nets[0][0].layout == task.layout


def test_the_critics_clock_is_the_time_left_and_the_actor_does_not_read_it():
    task = NavigationTask(view="paper", horizon=5)
    world, learning = np.random.SeedSequence(0).spawn(2)
    config = MACAACConfig(**SMALL | {"critic_clock": True})
    one = runs.MACAAC(task.vector_env(4, world), config, learning)
    one.iterate()
    views = one.replay.views
    assert torch.allclose(views[0, :, 0, 0, -1], torch.linspace(1, 0, 6))
    later = views.clone()
    later[..., -1] += 1
    assert torch.equal(one.actor(views), one.actor(later))
    actions = torch.zeros(2, 6, 4, 5, dtype=torch.int64)
    a, b = (one.values(one.critic, x, actions) for x in (views, later))
    assert not torch.allclose(a, b)


def test_one_agent_has_no_others_to_read():
    task = NavigationTask(n_agents=1)
    with pytest.raises(ValueError, match="two agents"):
        actor_of(task, replace(MACAACConfig(), network="entities"))
