"""What a researcher and another library rely on: costs that arrive, own tasks, spaces, `with`."""

import json
from dataclasses import dataclass, make_dataclass

import numpy as np
import pytest

import safemarl_lite
from safemarl_lite import settings
from safemarl_lite.mappo import MAPPOConfig
from safemarl_lite.navigation import (
    NavigationEnv,
    NavigationTask,
    NavigationVectorEnv,
    TreasureEnv,
    TreasureTask,
)
from safemarl_lite.runs import RunError
from safemarl_lite.swarm import SwarmEnv, SwarmTask, SwarmVectorEnv

SMALL = MAPPOConfig(iterations=2, num_envs=4, epochs=1, minibatches=2, eval_every=1,
                    eval_episodes=4, hold=0)  # fmt: skip
ENVS = {"swarm": SwarmEnv, "navigation": NavigationEnv, "treasure": TreasureEnv}


@pytest.mark.parametrize("env_type", ENVS.values(), ids=ENVS)
def test_infos_of_reset_have_the_keys_and_shapes_of_step(env_type):
    env = env_type()
    _, first = env.reset(seed=0)
    acts = {agent: env.action_space(agent).sample() for agent in env.agents}
    *_, later = env.step(acts)
    for agent, info in later.items():
        assert first[agent].keys() == info.keys() == {"cost", "costs", "contacts"}
        assert first[agent]["costs"].shape == info["costs"].shape
        assert first[agent]["cost"] == 0 and not first[agent]["costs"].any()
        assert type(first[agent]["cost"]) is type(info["cost"])
    env.close()


@pytest.mark.parametrize("env_type", ENVS.values(), ids=ENVS)
def test_torchrl_carries_the_cost(env_type):
    """It builds its specification of infos from those of `reset`."""
    wrappers = pytest.importorskip("torchrl.envs.libs.pettingzoo")
    crowds = {
        NavigationEnv: NavigationTask(n_agents=12),
        TreasureEnv: TreasureTask(n_collectors=40),
    }
    raw = env_type(crowds.get(env_type))
    group = {"agents": list(raw.possible_agents)}
    env = wrappers.PettingZooWrapper(raw, group_map=group, use_mask=False)
    flown = env.rollout(30)["next", "agents", "info"]
    assert flown["cost"].shape[:2] == (len(flown), len(raw.possible_agents))
    assert flown["costs"].sum().item() == pytest.approx(flown["cost"].sum().item())
    assert env_type is SwarmEnv or flown["cost"].sum() > 0  # a crowd collides
    env.close()


@pytest.mark.parametrize(
    "task",
    [SwarmTask(), NavigationTask(), NavigationTask(actions="continuous"), TreasureTask()],
    ids=str,
)
def test_a_batch_has_spaces_and_closes_itself(task):
    with task.vector_env(3, 0) as env:
        views, _ = env.reset()
        acts = env.action_space.sample()
        step = env.step(acts)
        assert env.observation_space.contains(views)
        assert env.observation_space.contains(step.observations)
        assert env.action_space.shape == acts.shape
        assert env.agent_observation_space.shape == views.shape[2:]
    if task.kind == "swarm":
        assert env.client is None


def test_a_swarm_that_is_dropped_frees_its_world():
    first = SwarmVectorEnv(SwarmTask(), 1)
    client = first.client
    del first
    with SwarmVectorEnv(SwarmTask(), 1) as second:
        assert second.client == client


@dataclass(frozen=True)
class WindyTask(SwarmTask):
    """A task of one's own, with a field of its own."""

    wind: float = 0.5


def test_a_task_of_ones_own_is_trained_certified_and_loaded(tmp_path):
    folder = tmp_path / "run"
    log = safemarl_lite.train(
        WindyTask(horizon=30, wind=0.7), SMALL, seed=1, folder=folder, quiet=True
    )
    assert log["iteration"] == 2
    result = safemarl_lite.certify(folder, episodes=4, task_type=WindyTask)
    assert json.loads((folder / "result.json").read_text()) == json.loads(json.dumps(result))
    assert result["task"]["wind"] == 0.7
    assert safemarl_lite.load(folder, task_type=WindyTask).task == WindyTask(horizon=30, wind=0.7)
    with pytest.raises(RunError, match="wind, which SwarmTask does not have; give your own class"):
        safemarl_lite.load(folder)


def test_certify_writes_what_the_command_line_writes(tmp_path):
    folder, task = tmp_path / "run", NavigationTask(actions="continuous", thresholds=(8.0,))
    config = MAPPOConfig(iterations=1, num_envs=4, epochs=1, minibatches=1, eval_episodes=2)
    safemarl_lite.train(task, config, folder=folder, quiet=True)
    result = safemarl_lite.certify(folder, episodes=10, seed=3)
    policy = safemarl_lite.load(folder)
    assert safemarl_lite.certify(policy, episodes=10, seed=3) == result
    assert json.loads((folder / "result.json").read_text())["episodes"] == 10
    views = NavigationEnv(task).reset(seed=0)[0]
    with NavigationVectorEnv(task, 1, 0) as env:
        assert np.allclose(
            policy.act(env.reset(seed=0)[0])[0], np.stack(list(policy(views).values()))
        )


@pytest.mark.parametrize("bad", ["0.1", True, None, [], (1, 2, 3), [0.1, np.nan], {}])
def test_thresholds_are_numbers(bad):
    for make in (lambda: SwarmTask(threshold=bad), lambda: NavigationTask(thresholds=bad)):
        with pytest.raises(ValueError, match="one or two finite numbers"):
            make()


def test_thresholds_are_stored_plainly():
    assert SwarmTask(threshold=np.float32(0.5)).threshold == 0.5
    assert SwarmTask(threshold=[0.1, 0.2]) == SwarmTask(threshold=np.array([0.1, 0.2]))
    assert hash(SwarmTask(threshold=[0.1, 0.2])) and NavigationTask(thresholds=2).thresholds == (2,)
    with pytest.raises(ValueError, match="target must be three finite numbers"):
        SwarmTask(target="123")


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        (
            {"task": SMALL},
            "train needs one of SwarmTask, OpenTask, SwarmTasks, NavigationTask, TreasureTask, "
            "got MAPPOConfig",
        ),
        ({"config": None}, "got NoneType"),
        ({"seed": -1}, "seed must be an integer ≥ 0, got -1"),
        ({"stop": 0}, "stop must be an integer ≥ 1, got 0"),
    ],
)
def test_train_refuses_before_it_writes(tmp_path, wrong, line):
    given = {"task": SwarmTask(), "config": SMALL, "seed": 0} | wrong
    with pytest.raises(RunError, match=line):
        safemarl_lite.train(given.pop("task"), given.pop("config"), **given, folder=tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_the_package_names_its_version():
    assert safemarl_lite.__version__.count(".") == 2
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        _ = safemarl_lite.lode


@pytest.mark.parametrize(
    ("kind", "least", "most", "below", "above"),
    [
        (settings.Natural, 0, 10**9, -1, None), (settings.Count, 1, 10**6, 0, 10**6 + 1),
        (settings.Several, 2, 10**6, 1, 10**6 + 1), (settings.Width, 1, 4096, 0, 4097),
        (settings.Amount, 0.0, 1e300, -1e-300, np.inf), (settings.Share, 0.0, 1.0, -1e-9, 1.001),
        (settings.Positive, 1e-300, 1e300, 0.0, np.inf), (settings.Discount, 1e-9, 0.99, 0.0, 1.0),
        (settings.Above, 1e-300, np.inf, 0.0, None),
    ],
)  # fmt: skip
def test_a_setting_may_be_all_up_to_its_limits(kind, least, most, below, above):
    made = make_dataclass("Made", [("x", kind)], namespace={"__post_init__": settings.check_fields})
    assert made(least).x == least and made(most).x == most
    for bad in (below, above, np.nan, "1", True):
        if bad is not None:
            with pytest.raises(ValueError, match="x must be"):
                made(bad)
