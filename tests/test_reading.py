"""The reading of a view as lists: what it may not depend on, what it must hold."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from safemarl_lite import runs
from safemarl_lite.actors import Actor, actor_of
from safemarl_lite.macaac import MACAACConfig
from safemarl_lite.navigation import NavigationTask, TreasureTask
from safemarl_lite.reading import Reading, nearest_first

SMALL = {"iterations": 3, "num_envs": 4, "updates": 2, "batch": 16, "buffer_episodes": 8,
         "hidden_critic": 16, "hidden_actor": 16, "eval_every": 2, "eval_episodes": 4}  # fmt: skip
TASKS = [NavigationTask(view="paper"), NavigationTask(n_agents=3, n_landmarks=4), TreasureTask()]
each_task = pytest.mark.parametrize("task", TASKS, ids=["paper", "relational", "treasure"])


def views_of(task, seed=0, worlds=6):
    with task.vector_env(worlds, seed) as env:
        rng = np.random.default_rng(seed)
        for _ in range(3):
            views = env.step(rng.integers(0, 5, (worlds, task.n_agents))).observations
    return torch.as_tensor(views)


def lists(task, views):
    """The rows of landmarks (…, L, e) and of others (…, J, f)."""
    own, (L, e), (J, f) = task.layout
    _, x, y = views[..., : own + L * e + J * f].split([own, L * e, J * f], -1)
    return x.unflatten(-1, (L, e)), y.unflatten(-1, (J, f))


def exchanged(task, views, which):
    """The views with the rows of list `which` in another order."""
    own, (L, e), (J, f) = task.layout
    start, size = ((own, L * e), (own + L * e, J * f))[which]
    out = views.clone()
    out[..., start : start + size] = lists(task, views)[which].roll(1, -2).flatten(-2)
    return out


@each_task
def test_the_order_of_a_list_is_not_seen_and_the_plain_network_sees_it(task):
    torch.manual_seed(0)
    views = views_of(task)
    sizes = task.view_size, 5, task.n_agents, 32, True
    read, plain = Actor(*sizes, Reading(task.layout)), Actor(*sizes)
    for which in (0, 1):
        other = exchanged(task, views, which)
        assert not torch.equal(other, views)
        with torch.no_grad():
            assert torch.equal(read(views), read(other))
            assert (plain(views) - plain(other)).abs().max() > 1e-4


@each_task
def test_it_is_the_views_own_numbers_in_the_order_of_loops(task):
    views = views_of(task)
    found = nearest_first(views, task.layout)
    own, (L, e), (J, f) = task.layout
    assert found.shape == (6, task.n_agents, task.view_size + L)
    marks, others = (x.flatten(0, 1).tolist() for x in lists(task, views))
    for view, row, x, y in zip(views.flatten(0, 1).tolist(), found.flatten(0, 1).tolist(), marks,
                               others, strict=True):  # fmt: skip
        rows = [[*a, min(np.hypot(a[0] - b[0], a[1] - b[1]) for b in y)] for a in x]
        right = view[:own]
        for things in (rows, y):
            for thing in sorted(things, key=lambda z: np.hypot(z[0], z[1])):
                right += thing
        np.testing.assert_allclose(row, right + view[own + L * e + J * f :], atol=1e-6)


def test_it_finds_the_rivals_that_the_relational_view_hands_out():
    paper, relational = (NavigationTask(view=v) for v in ("paper", "relational"))
    views, hints = views_of(paper, 3, 40), views_of(relational, 3, 40)
    found = nearest_first(views, paper.layout)
    assert torch.allclose(found[..., :4], hints[..., :4])
    assert torch.allclose(found[..., 4:19], hints[..., 5:20], atol=1e-6)  # landmarks with rivals
    to_others = hints[..., 20:].unflatten(-1, (4, 4))[..., :2].flatten(-2)
    assert torch.allclose(found[..., 19:27], to_others, atol=1e-6)


def test_the_other_scales_are_steep_near_zero_and_flat_far_off():
    x = torch.tensor([[0.0, 0.01, 0.5, -2.0]])
    assert torch.equal(Reading()(x), x) and Reading().size(4) == 4
    found = Reading(zoom=True)(x)
    assert torch.allclose(found, torch.cat([x, (3 * x).tanh(), (12 * x).tanh()], -1))
    both = Reading(TASKS[0].layout, True)
    assert both(views_of(TASKS[0])).shape[-1] == both.size(TASKS[0].view_size) == 3 * 35


@pytest.mark.parametrize("algo", ["macaac", "maddpg-c", "maac"])
def test_a_stopped_run_with_entities_and_a_clock_goes_on_to_the_same_numbers(tmp_path, algo):
    task = NavigationTask(n_agents=2, n_landmarks=2, horizon=5, view="paper")
    settings = {"algo": algo, "network": "entities", "critic_clock": True}
    config = MACAACConfig(**SMALL | settings)
    whole = runs.train(task, config, 3, folder=tmp_path / "whole", quiet=True)
    runs.train(task, config, 3, folder=tmp_path / "parts", quiet=True, stop=2)
    parts = runs.train(task, config, 3, folder=tmp_path / "parts", quiet=True, resume=True)
    assert whole | {"seconds": 0} == parts | {"seconds": 0}
    assert runs.load(tmp_path / "whole").actor.reading == Reading(task.layout, config.zoom)


def learner(**settings):
    world, learning = np.random.SeedSequence(0).spawn(2)
    task = NavigationTask(view="paper", horizon=5)
    one = runs.MACAAC(task.vector_env(4, world), MACAACConfig(**SMALL | settings), learning)
    one.iterate()
    return one


@pytest.mark.parametrize("network", ["plain", "entities"])
def test_the_critics_clock_is_the_time_left_and_the_actor_does_not_read_it(network):
    one = learner(critic_clock=True, network=network)
    views = one.replay.views
    assert torch.allclose(views[0, :, 0, 0, -1], torch.linspace(1, 0, 6))
    later = views.clone()
    later[..., -1] += 1
    assert torch.equal(one.actor(views), one.actor(later))
    actions = torch.zeros(2, 6, 4, 5, dtype=torch.int64)
    a, b = (one.values(one.critic, x, actions) for x in (views, later))
    assert not torch.allclose(a, b)


@pytest.mark.parametrize("algo", ["macaac", "maddpg-c"])
def test_the_critics_of_entities_see_no_order_and_the_plain_ones_do(algo):
    actions = torch.zeros(6, 5, dtype=torch.int64)
    for network, same in (("entities", True), ("plain", False)):
        one = learner(algo=algo, network=network)
        views = views_of(one.task)
        value = one.values if one.attends else one.joint
        with torch.no_grad():
            a, b = (value(one.critic, x, actions) for x in (views, exchanged(one.task, views, 0)))
        assert torch.equal(a, b) == same


def test_one_agent_has_no_others_to_read():
    task = NavigationTask(n_agents=1)
    with pytest.raises(ValueError, match="two agents"):
        actor_of(task, replace(MACAACConfig(), network="entities"))
