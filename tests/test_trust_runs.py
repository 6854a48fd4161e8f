"""What mutations of the learner and of the run folders showed that no other test saw."""

import csv
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch

from safemarl_lite import mappo, runs
from safemarl_lite.as_printed import PrintedConfig, PrintedMAPPO
from safemarl_lite.mappo import MAPPO, MAPPOConfig
from safemarl_lite.navigation import NavigationTask, NavigationVectorEnv
from safemarl_lite.swarm import SwarmTask

TASK = NavigationTask(
    n_agents=2, n_landmarks=2, horizon=6, thresholds=(2.0, 1.0), actions="continuous"
)
SMALL = {"iterations": 10, "num_envs": 4, "epochs": 1, "minibatches": 2, "hidden_actor": 8,
         "hidden_critic": 8, "eval_episodes": 4, "eval_every": 2, "tighten": 0.4}  # fmt: skip


def learner(kind=MAPPO, task=TASK, **settings):
    torch.set_num_threads(1)
    world, learning = np.random.SeedSequence(0).spawn(2)
    settings_type = PrintedConfig if kind is PrintedMAPPO else MAPPOConfig
    config = settings_type(**SMALL | settings)
    return kind(NavigationVectorEnv(task, config.num_envs, world), config, learning)


def test_a_trace_of_one_and_of_zero_is_a_trace():
    assert MAPPOConfig(trace=1.0).trace == 1 and MAPPOConfig(trace=0.0).trace == 0
    with pytest.raises(ValueError, match=r"trace must be in \[0, 1\]"):
        MAPPOConfig(trace=1.01)


def test_two_budgets_share_what_the_learner_aims_below():
    assert learner().multipliers.thresholds.tolist() == pytest.approx([1.8, 0.8])


def test_exploration_falls_until_its_share_of_the_iterations():
    agent = learner(std_start=0.9, std_end=0.1, std_until=0.5)
    for iteration, std in ((0, 0.9), (1, 0.74), (4, 0.26), (5, 0.1), (9, 0.1)):
        agent.iteration = iteration
        assert agent.std == pytest.approx(std)


def batch(T=7, E=3, N=2, m=2, seed=0):
    """Made-up data: an end by landing, one by time, views whose first number is their value."""
    rng = np.random.default_rng(seed)
    data = {name: rng.normal(size=(T, E, *shape)) for name, shape in (
        ("view", (N, 4)), ("state", (5,)), ("next_observations", (N, 4)), ("next_state", (5,)),
        ("rewards", (N,)), ("costs", (N, m)), ("surrogate", (N, m)))}  # fmt: skip
    data |= {"terminated": np.zeros((T, E)), "truncated": np.zeros((T, E))}
    data["terminated"][2, 0] = data["truncated"][4, 1] = 1
    for t in range(T - 1):  # inside an episode the successor is the next view
        goes_on = (data["terminated"][t] + data["truncated"][t]) == 0
        data["next_observations"][t][goes_on] = data["view"][t + 1][goes_on]
        data["next_state"][t][goes_on] = data["state"][t + 1][goes_on]
    return {name: torch.tensor(x) for name, x in data.items()}


class Judge(torch.nn.Module):
    """V = three numbers of the view, shifted by the state's first."""

    def forward(self, view, state):
        return view[..., :3] + state[..., None, :1]


def test_advantages_equal_a_loop_over_every_episode():
    agent, data, T = learner(trace=0.8), batch(), 7
    agent.critic = Judge()
    V, after = (
        Judge()(data["view"], data["state"]),
        Judge()(data["next_observations"], data["next_state"]),
    )
    x = torch.cat([data["rewards"][..., None], data["surrogate"]], -1)
    γ, found = TASK.discount, agent.estimate(data)
    for e in range(3):
        ahead = torch.zeros(2, 3, dtype=torch.float64)
        for t in reversed(range(T)):
            landed, timed = data["terminated"][t, e], data["truncated"][t, e]
            δ = x[t, e] + γ * (1 - landed) * after[t, e] - V[t, e]
            ahead = δ + γ * 0.8 * (1 - landed) * (1 - timed) * (t < T - 1) * ahead
            assert torch.allclose(found[0][t, e], ahead), (t, e)
    assert torch.allclose(found[1], found[0] + V) and torch.allclose(found[2], V)
    at_ends = (data["terminated"] + data["truncated"] > 0) | (torch.arange(T) == T - 1)[:, None]
    assert torch.allclose(found[3][at_ends], after[at_ends])


def test_the_price_waits_for_as_many_iterations_as_it_is_held():
    late = replace(TASK, horizon_is_terminal=False)  # nobody ever arrives
    agent = learner(task=late, hold=2, skill=1.0, multiplier_start=0.5)
    prices = [0.5] + [agent.iterate()["lambda_0"] for _ in range(3)]
    assert [a == b for a, b in zip(prices, prices[1:], strict=False)] == [True, True, False]


def test_the_ratio_is_that_of_the_two_gaussians(monkeypatch):
    agent, seen = learner(), []

    def record(log_ratio, advantage, clip):
        seen.append(log_ratio.detach())
        return log_ratio.sum() * 0

    monkeypatch.setattr(mappo, "clipped_loss", record)
    data = agent.collect()
    advantages, returns, *_ = agent.estimate(data)
    with torch.no_grad():
        for weight in agent.actor.parameters():
            weight.add_(0.05)
    agent.config = MAPPOConfig(**SMALL | {"minibatches": 1})
    order = torch.Generator().set_state(agent.generator.get_state())
    agent.update(data, advantages, returns, np.zeros(2))
    now = torch.distributions.Normal(agent.actor(data["view"]).detach(), agent.std)
    then = torch.distributions.Normal(data["mean"], agent.std)
    right = (now.log_prob(data["action"]) - then.log_prob(data["action"])).sum(-1).flatten(0, 1)
    right = right[torch.randperm(len(right), generator=order)]
    assert torch.allclose(seen[0], right, atol=1e-3) and right.abs().max() > 0.02


def test_gradients_are_clipped_and_the_rate_falls(monkeypatch):
    agent, norms = learner(), []
    actor = next(agent.actor.parameters())
    clip = torch.nn.utils.clip_grad_norm_

    def record(parameters, norm):
        parameters = list(parameters)
        norms.append((parameters[0] is actor, norm))
        return clip(parameters, norm)

    monkeypatch.setattr(mappo.nn.utils, "clip_grad_norm_", record)
    for done in range(3):
        agent.iterate()
        rate = agent.optimizer.param_groups[0]["lr"]
        assert rate == pytest.approx(agent.config.learning_rate * 0.05 ** (done / 10))
    assert set(norms) == {(True, 0.5), (False, 1.0)}


def test_the_critics_normaliser_is_fed_every_batch():
    agent = learner()
    for done in (1, 2):
        agent.iterate()
        assert agent.critic.scale.count.item() >= done * 6 * 4
    assert (agent.critic.scale.var - 1).abs().max() > 1e-3


def test_the_printed_learner_moves_lambda_and_no_policy():
    """As printed, λ grows by the mean of its advantage; the policy is that of λ = 0."""
    one, other = learner(PrintedMAPPO), learner(PrintedMAPPO, multiplier_start=5.0)
    for _ in range(2):
        a, b = one.iterate(), other.iterate()
    assert a["lambda_0"] != b["lambda_0"] and a["kl"] == b["kl"]
    weights = [torch.cat([p.flatten() for p in x.actor.parameters()]) for x in (one, other)]
    assert torch.equal(*weights)


def test_the_printed_price_follows_the_printed_mean_of_the_team():
    agent, data = learner(PrintedMAPPO, multiplier_rate=0.5, hold=0), batch()
    data["costs"] += 5
    agent.critic = Judge()
    _, _, values, after = agent.estimate(data)
    start = agent.multipliers.values.copy()
    agent.price(data, {"cost_0": 0.0, "cost_1": 0.0}, values, after)
    goes_on = (1 - data["terminated"])[..., None]
    for j, τ in enumerate(TASK.thresholds):  # V is the reward's, and a cost the whole team's
        each = data["costs"][..., j] + TASK.discount * goes_on * after[..., 0] - values[..., 0]
        violation = each.sum(-1).mean().item() - τ
        assert violation > 1
        assert agent.multipliers.values[j] == pytest.approx(start[j] + 0.5 * violation)


# ------------------------------------------------------------------------- run folders


def test_a_write_is_whole_or_nothing(tmp_path, monkeypatch):
    path = tmp_path / "last.pt"
    runs.write(path, {"iteration": 1})

    def torn(content, file):
        with open(file, "wb") as out:
            out.write(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(torch, "save", torn)
    with pytest.raises(OSError, match="No space"):
        runs.write(path, {"iteration": 2})
    assert torch.load(path, weights_only=True) == {"iteration": 1}
    monkeypatch.setattr(type(path), "write_text", lambda self, text: torn(text, self))
    with pytest.raises(OSError, match="No space"):
        runs.write(path, "text")
    assert torch.load(path, weights_only=True) == {"iteration": 1}


class Evil:
    def __reduce__(self):
        return exec, ("open('pwned', 'w').write('x')",)


def test_no_code_runs_from_a_checkpoint(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"actor": Evil()}, tmp_path / "best.pt")
    with pytest.raises(runs.RunError, match="damaged"):
        runs.read_checkpoint(tmp_path)
    (tmp_path / "best.pt").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(runs.RunError, match="damaged"):
        runs.read_checkpoint(tmp_path)
    assert not (tmp_path / "pwned").exists()


def test_a_swarm_that_just_fills_the_view_may_fly():
    six = SwarmTask(n_drones=6, n_neighbours=4, goal_radius=3.5, start_spacing=3.5)
    assert runs._with_drones(six, MAPPOConfig(), 5, "run").n_drones == 5
    with pytest.raises(runs.RunError, match="at least 5"):
        runs._with_drones(six, MAPPOConfig(), 4, "run")


def result(value, *costs):
    """costs: (mean, upper95) of each constraint, all thresholds 1."""
    keys = ({"mean": a, "upper95": b, "upper99": 2 * b, "threshold": 1.0} for a, b in costs)
    return {"return_mean": value, "constraints": list(keys)}


def test_checkpoints_are_ranked_by_return_within_the_bounds_and_else_by_the_worst_cost():
    good, better = result(3.0, (0.1, 0.9), (0.2, 1.0)), result(4.0, (0.5, 0.9), (0.2, 0.3))
    half = result(9.0, (0.1, 0.9), (0.2, 1.1))  # one bound is over, though both means are within
    bad, worse = result(9.0, (0.0, 0.1), (1.5, 2.0)), result(9.0, (1.7, 2.0), (0.0, 0.1))
    ranks = [runs.rank(x) for x in (worse, bad, half, good, better)]
    assert ranks == sorted(ranks) and len(set(ranks)) == 5
    assert runs.rank(bad, constrained=False) > runs.rank(better, constrained=False)


@pytest.fixture
def watched(monkeypatch):
    """A training whose evaluations and board are recorded."""
    import torch.utils.tensorboard as board

    calls, boards = [], []
    true = runs.Pair.evaluate

    def evaluated(pair, weights, episodes, seed):
        calls.append((episodes, seed))
        return true(pair, weights, episodes, seed) | {"return_mean": 1.0}

    class Board(board.SummaryWriter):
        def __init__(self, folder, purge_step=None, **options):
            boards.append(purge_step)
            super().__init__(folder, purge_step=purge_step, **options)

    monkeypatch.setattr(runs.Pair, "evaluate", evaluated)
    monkeypatch.setattr(board, "SummaryWriter", Board)
    return calls, boards


def loose(**settings):
    task = NavigationTask(n_agents=2, n_landmarks=2, horizon=6, thresholds=(50.0,),
                          actions="continuous")  # fmt: skip
    return task, MAPPOConfig(**SMALL | settings)


def test_evaluations_are_held_out_come_at_the_end_too_and_the_last_of_equals_is_kept(
    tmp_path, watched
):
    task, config = loose(iterations=3, eval_every=2)
    runs.train(task, config, seed=4, folder=tmp_path / "run", quiet=True)
    world, learning, held_out = np.random.SeedSequence(4).spawn(3)
    seed = int(held_out.generate_state(1)[0])
    assert watched[0] == [(2, seed), (4, seed)]  # early ones fly fewer
    assert seed not in (int(x.generate_state(1)[0]) for x in (world, learning))
    with (tmp_path / "run/progress.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [bool(row["eval_cost"]) for row in rows] == [False, True, True]
    assert runs.read_checkpoint(tmp_path / "run")["iteration"] == 3


def test_a_run_goes_on_only_as_itself_and_its_board_is_cut_where_it_stopped(tmp_path, watched):
    task, config = loose(iterations=4, eval_every=2)
    runs.train(task, config, seed=4, folder=tmp_path / "run", quiet=True, stop=2)
    with pytest.raises(runs.RunError, match="another task, seed or config"):
        runs.train(task, config, seed=5, folder=tmp_path / "run", quiet=True, resume=True)
    runs.train(task, config, seed=4, folder=tmp_path / "run", quiet=True, resume=True)
    assert watched[1] == [None, 2]


def test_learners_without_a_price_keep_the_checkpoint_of_most_return(tmp_path, monkeypatch):
    """The last quarter flies more, and goes before; of equals there the last is kept."""
    returns = iter([99.0] * 12 + [5.0, 9.0, 9.0, 7.0])
    true = runs.Pair.evaluate

    def evaluated(*given):
        found = true(*given) | {"return_mean": next(returns)}
        for c in found["constraints"]:
            c |= {"mean": 99.0 + found["return_mean"], "upper95": 999.0}  # dearer with the return
        return found

    monkeypatch.setattr(runs.Pair, "evaluate", evaluated)
    task, config = loose(iterations=16, eval_every=1, eval_episodes=20, algo="mappo")
    runs.train(task, config, folder=tmp_path / "run", quiet=True)
    assert runs.read_checkpoint(tmp_path / "run")["iteration"] == 15
    assert set(runs.UNPRICED) == {"mappo", "maac"}
