"""Advantages, multipliers, certificates, and runs that stop and go on."""

import csv
import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import safemarl_lite
from safemarl_lite import runs
from safemarl_lite.__main__ import main
from safemarl_lite.as_printed import PrintedConfig
from safemarl_lite.cmdp import evaluate as evaluate_cmdp
from safemarl_lite.evaluate import (
    bernstein_bound,
    clopper_pearson,
    evaluate,
    rollout,
    skewed_mean_bound,
    upper_bound,
)
from safemarl_lite.lagrangian import (
    Multipliers,
    clipped_loss,
    combined_advantage,
    gae,
)
from safemarl_lite.lessons.lesson_05 import episodes_needed
from safemarl_lite.lessons.tasks import random_cmdp
from safemarl_lite.mappo import MAPPO, MAPPOConfig
from safemarl_lite.navigation import NavigationTask
from safemarl_lite.step import episode_means
from safemarl_lite.swarm import SwarmTask, SwarmVectorEnv

SMALL = {"iterations": 3, "num_envs": 4, "eval_every": 2, "eval_episodes": 4,
         "hold": 0, "minibatches": 2}  # fmt: skip


@given(st.integers(1, 12), st.integers(0, 2**31), st.floats(0, 0.999), st.floats(0, 1))
@settings(deadline=None, max_examples=60)
def test_gae_is_the_sum_of_discounted_td_errors(T, seed, discount, trace):
    rng = np.random.default_rng(seed)
    x, v, after = (torch.tensor(rng.normal(size=(T, 3, 2))) for _ in range(3))
    terminated = torch.tensor(rng.random((T, 3)) < 0.2)
    ended = terminated | torch.tensor(rng.random((T, 3)) < 0.2)
    given = gae(x, v, after, terminated, ended, discount, trace)
    for e in range(3):
        for t in range(T):
            total, weight = 0.0, 1.0
            for k in range(t, T):  # O(T²), from the definition
                goes_on = 0.0 if terminated[k, e] else 1.0
                total = total + weight * (x[k, e] + discount * goes_on * after[k, e] - v[k, e])
                if ended[k, e]:
                    break
                weight *= discount * trace
            assert torch.allclose(given[t, e], total, atol=1e-10)


def test_gae_refuses_a_silent_broadcast():
    with pytest.raises(ValueError, match="one shape"):
        gae(torch.zeros(4), torch.zeros(4, 1), torch.zeros(4, 1), torch.zeros(4), torch.zeros(4))


@pytest.mark.parametrize("seed", range(5))
def test_the_mean_cost_advantage_of_a_policy_is_zero(seed):
    cmdp = random_cmdp(np.random.default_rng(seed), 6, 3, 2)
    policy = np.random.default_rng(seed).dirichlet(np.ones(3), 6)
    advantages = evaluate_cmdp(cmdp, policy).a_c
    assert np.abs((policy * advantages).sum(-1)).max() < 1e-12
    assert np.abs(advantages).max() > 1e-2  # the control: it is not zero action by action


def test_multipliers_step_project_and_fall():
    λ = Multipliers((1.0, 2.0), rate=0.5)
    assert np.allclose(λ.update([3.0, 0.0]), [1.0, 0.0])
    assert np.allclose(λ.update([0.0, 3.0]), [0.5, 0.5])
    assert np.allclose(λ.update([-9.0, 2.0]), [0.0, 0.5])
    pid = Multipliers(1.0, rate=0.5, proportional=2.0, derivative=3.0, cap=1.0)
    assert np.allclose(pid.update([9.0]), [0.5 + 2.0])
    assert np.allclose(pid.update([10.0]), [1.0 + 2.0 + 3.0])
    grows = Multipliers(0.0, rate=0.1, growth=0.5, initial=2.0)
    assert np.allclose(grows.update([1.0]), [2.0 + 0.1 + 1.0])
    bounded = Multipliers([0.0, 0.0], rate=2.0, initial=1.0, proportional=1.0, most=2.5)
    assert bounded.update([1.0, 0.5]).tolist() == [2.5, 2.5] and bounded.integral[1] == 2.0
    assert bounded.update([0.0, 0.0]).tolist() == [2.5, 2.0]
    again = Multipliers(0.0, rate=0.1, growth=0.5)
    again.load_state_dict(json.loads(json.dumps(grows.state_dict())))
    assert np.allclose(again.update([1.0]), grows.update([1.0]))
    for bad in ([np.nan, 1.0], [1.0]):
        with pytest.raises(ValueError, match="finite"):
            λ.update(bad)
    with pytest.raises(ValueError, match="≥ 0"):
        Multipliers(-1.0)


def test_combined_advantage_keeps_the_price():
    torch.manual_seed(0)
    r, c = 3 * torch.randn(500) + 7, torch.randn(500, 2) - 5
    λ = torch.tensor([2.0, 0.5])
    given = combined_advantage(r, c, λ)
    wanted = ((r - c @ λ) - (r - c @ λ).mean()) / r.std() / 3.5
    assert torch.allclose(given, wanted, atol=1e-5)


def test_clipped_loss_by_hand_and_its_sign():
    log_ratio = torch.log(torch.tensor([1.5, 0.5, 1.5, 0.5])).requires_grad_()
    gain = torch.tensor([1.0, 1.0, -1.0, -1.0])
    loss = clipped_loss(log_ratio, gain, 0.2)
    assert loss.item() == pytest.approx(-(1.2 + 0.5 - 1.5 - 0.8) / 4)
    loss.backward()
    assert log_ratio.grad[0] == 0 and log_ratio.grad[1] < 0 < log_ratio.grad[2]


@pytest.mark.parametrize("p", [0.9, 0.02, 0.005])
def test_upper_bound_covers_a_skewed_cost_where_student_does_not(p):
    rng = np.random.default_rng(0)
    mean, n, missed, student = 5.0, 2000, 0, 0
    for _ in range(400):
        costs = (rng.random(n) < p) * (1 + rng.exponential(mean - 1, n))
        missed += upper_bound(costs, costs.max()) < p * mean
        error = costs.std(ddof=1) / n**0.5
        student += costs.mean() + stats.t.ppf(0.99, n - 1) * error < p * mean
    assert missed <= 4  # 1 %, the level
    if p < 0.1:
        assert student > 8  # the control


def test_upper_bound_by_hand():
    costs, k = np.zeros(2000), np.arange(13)
    often = stats.beta.ppf(0.995, k + 1, 2000 - k)
    for few in (0, 1, 2, 9):  # how they spread says nothing yet: the cap
        costs[:few] = 2
        assert upper_bound(costs, 10) == pytest.approx(10 * often[few])
    costs[8] = 10.001  # one refutes the cap: what no episode exceeds is left, or nothing
    assert upper_bound(costs, 10, most=300) == pytest.approx(300 * often[9])
    assert upper_bound(costs, 10) == np.inf
    costs[:12] = 4
    assert upper_bound(costs, 10) == pytest.approx(4 * often[12])  # no spread
    costs[:12] = np.repeat([2, 4, 6], 4)
    error = costs[:12].std(ddof=1) / 12**0.5
    mean = 4 + error * stats.t.ppf(0.995, 11)  # no skew
    assert upper_bound(costs, 10) == pytest.approx(often[12] * mean)
    assert upper_bound(costs, 6) == pytest.approx(often[12] * min(mean, 6))
    costs[:12] = 2
    costs[11] = 10
    assert skewed_mean_bound(costs[:12], 0.995) > 5 and upper_bound(costs, 10) <= 10 * often[12]
    assert clopper_pearson(0, 100, 0.99) == pytest.approx(1 - 0.01 ** (1 / 100))


def test_a_refuted_cap_certifies_nothing():
    """Taking the dearest flight that was seen for the cap, as if it were one, would not cover."""
    rng, n, missed, naive = np.random.default_rng(0), 2000, 0, 0
    true = 0.0015 * 12 + 0.0005 * 250
    for _ in range(400):
        u = rng.random(n)
        costs = np.where(u < 0.0015, 12.0, 0) + np.where(u > 1 - 0.0005, 250.0, 0)
        if 0 < (hits := int((costs > 0).sum())) < 10:
            missed += upper_bound(costs, 10, most=2219) < true
            naive += clopper_pearson(hits, n, 0.995) * costs.max() < true
    assert missed == 0 and naive > 100


def test_the_most_that_a_flight_can_cost_is_what_a_heap_of_drones_costs():
    task = SwarmTask(n_drones=3, n_obstacles=2, horizon=40)
    heap = {
        "positions": np.full((2, 3, 3), 5.0) + 0.7 * np.eye(3),
        "obstacles": np.full((2, 2, 3), 5.0),
    }
    with task.vector_env(2, 0, autoreset=False) as env:
        reset = env.reset
        env.reset = lambda seed: reset(seed, heap)
        env._fly = lambda actions: None
        flown = rollout(lambda views: np.zeros((2, 3, 3)), env, 0)
    assert flown["discounted"] == pytest.approx(task.cost_most)
    assert flown["episode"].max() <= task.cost_most * task.discount ** (1 - task.horizon)


def test_bernstein_covers_where_the_asymptotic_bound_does_not():
    rng, missed, bernstein = np.random.default_rng(0), 0, 0
    for _ in range(400):  # many cheap violations, and a dear kind that most samples do not show
        u = rng.random(2000)
        costs = np.where(u < 0.01, 0.1, 0) + np.where(u > 1 - 0.0008, 9.5, 0)
        true = 0.01 * 0.1 + 0.0008 * 9.5
        missed += upper_bound(costs, 10) < true
        bernstein += bernstein_bound(costs, 10) < true
    assert bernstein <= 4 < 40 < missed  # 1 % is the level; the control


def test_bernstein_by_hand_and_what_it_refuses():
    costs, doubt = np.repeat([0.0, 4.0], [990, 10]), np.log(2 / 0.05)
    given = 0.04 + (2 * costs.var(ddof=1) * doubt / 1000) ** 0.5 + 7 * 10 * doubt / (3 * 999)
    assert (
        bernstein_bound(costs, 10, 0.95) == pytest.approx(given) == pytest.approx(0.160, abs=1e-3)
    )
    for bad in ([0, 10.1], [np.nan, 0], [0.0], [-1, 0]):
        with pytest.raises(ValueError, match=r"in \[0, 10\]"):
            bernstein_bound(np.array(bad), 10)


def test_episodes_needed_by_each_bound():
    product, bernstein = (partial(bound, cap=10) for bound in (upper_bound, bernstein_bound))
    for bound in (product, bernstein):
        n = episodes_needed(bound, 0.005, 4, 0.1)
        few, enough = (np.zeros(k) for k in (n - 100, n))
        for costs in few, enough:
            hit = costs[: round(0.005 * len(costs))]
            hit[::2], hit[1::2] = 2, 6
        assert bound(enough) <= 0.1 < bound(few)
    assert episodes_needed(bernstein, 0.0, 4, 0.1) > 2 * episodes_needed(product, 0.0, 4, 0.1)
    assert episodes_needed(product, 0.03, 4, 0.1) is None  # its mean is above the threshold


def test_the_cap_of_navigation_is_proved_and_that_of_the_swarm_refuses():
    task = NavigationTask()
    assert task.cost_cap == pytest.approx(sum(0.99**t for t in range(25)))
    result = evaluate(lambda views: np.zeros(views.shape[:2], int), task, 20, 3)["discounted_cost"]
    assert result["upper99"] < result["upper99_bernstein"]
    straight = evaluate(lambda views: views[..., 3:6], SwarmTask(), 6, 3)["discounted_cost"]
    assert straight["mean"] > straight["cap"] and straight["upper99_bernstein"] is None


@pytest.mark.parametrize("costs", [[np.nan] * 50, [0, np.inf], [], [1.0], [-1] * 50])
def test_what_is_not_finite_is_never_bounded(costs):
    with pytest.raises(ValueError, match="two or more finite costs") as stop:
        upper_bound(np.array(costs), 10)
    assert "\n" not in str(stop.value)


def test_a_policy_of_nan_weights_is_refused_in_one_line(tmp_path):
    for name in ("config.json", "best.pt"):
        (tmp_path / name).write_bytes(Path("figures/runs/navigation", name).read_bytes())
    state = torch.load(tmp_path / "best.pt", weights_only=True)
    next(iter(state["actor"].values()))[0] = float("nan")
    torch.save(state, tmp_path / "best.pt")
    with pytest.raises(ValueError, match="not finite"):
        safemarl_lite.certify(tmp_path, episodes=2)


def test_evaluation_draws_from_no_stream_of_a_training():
    training = [s.generate_state(4).tolist() for s in np.random.SeedSequence(3).spawn(3)]
    drawn = []

    class Watched(NavigationTask):
        def vector_env(self, count, seed, **options):
            env = super().vector_env(count, seed, **options)
            reset = env.reset
            env.reset = lambda seed: [drawn.append(tuple(seed.generate_state(4))), reset(seed)][1]
            return env

    evaluate(lambda views: np.zeros(views.shape[:2], int), Watched(), 4, 3, wave=2)
    assert len(drawn) == 2 and not set(drawn) & set(map(tuple, training))


def test_episode_means_count_first_episodes_only():
    T, E = 6, 2
    zeros = torch.zeros(T, E)
    data = {"terminated": zeros.clone(), "truncated": zeros.clone(),
            "costs": torch.ones(T, E, 3, 1), "rewards": torch.ones(T, E, 3)}  # fmt: skip
    data["terminated"][2, 0] = 1
    log = episode_means(data, 0.5)
    assert log["cost"] == pytest.approx(3 * (1.75 + 1.96875) / 2)
    assert log["length"] == 4.5 and log["success"] == 0.5 and log["return"] == 4.5


@pytest.mark.parametrize("algo", ["mappo-lagrangian", "mappo", "mappo-fixed-penalty", "as-printed"])
def test_a_stopped_run_goes_on_to_the_same_numbers(tmp_path, algo):
    torch.set_num_threads(1)
    config_type = PrintedConfig if algo == "as-printed" else MAPPOConfig
    config = config_type(algo=algo, multiplier_start=0.5, **SMALL)
    task = SwarmTask(horizon=30, threshold=(0.1, 0.1))
    runs.train(task, config, 3, folder=tmp_path / "whole", quiet=True)
    runs.train(task, config, 3, folder=tmp_path / "parts", quiet=True, stop=1)
    runs.train(task, config, 3, folder=tmp_path / "parts", resume=True, quiet=True)
    logs = [list(csv.DictReader(open(tmp_path / x / "progress.csv"))) for x in ("whole", "parts")]
    assert len(logs[0]) == len(logs[1]) == 3
    for a, b in zip(*logs, strict=True):
        assert {k: v for k, v in a.items() if k != "seconds"} == {
            k: v for k, v in b.items() if k != "seconds"
        }
    moved = [float(logs[0][-1][f"lambda_{j}"]) for j in (0, 1)]
    still = {"mappo": 0.0, "mappo-fixed-penalty": 0.5}
    if algo in still:
        assert moved == [still[algo]] * 2
    elif algo == "as-printed":
        assert min(moved) >= 0.5  # it can only rise
    else:
        assert moved != [0.5, 0.5]
    states = [runs.read_checkpoint(tmp_path / x, "last.pt") for x in ("whole", "parts")]
    for name, weight in states[0]["actor"].items():
        assert torch.equal(weight, states[1]["actor"][name])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "small"
    runs.train(SwarmTask(), MAPPOConfig(**SMALL), 0, folder=folder, quiet=True)
    return folder


def test_load_flies_any_number_that_fills_the_view(run):
    policy = safemarl_lite.load(run)
    views = {f"drone_{i}": np.zeros(policy.task.view_size) for i in range(5)}
    actions = policy(views)
    assert list(actions) == list(views) and actions["drone_0"].shape == (3,)
    assert safemarl_lite.load(run, n_drones=7).task.n_drones == 7
    with pytest.raises(ValueError, match="at least 5 drones, got 3"):
        safemarl_lite.load(run, n_drones=3)
    result = runs.certify(policy, episodes=4, seed=1)
    assert result == runs.certify(policy, episodes=4, seed=1)
    keys = {"episodes", "success_rate", "discounted_cost", "episode_cost", "violation_rate",
            "cost_per_step", "contacts", "return_mean", "episode_length_mean", "threshold",
            "certified", "task"}  # fmt: skip
    assert keys <= set(result)
    assert result["certified"] == (result["discounted_cost"]["upper99"] <= result["threshold"])


def test_separate_actors_fly_their_own_number_only(tmp_path):
    config = MAPPOConfig(shared_actor=False, **SMALL)
    runs.train(SwarmTask(), config, 0, folder=tmp_path / "own", quiet=True)
    assert len(safemarl_lite.load(tmp_path / "own").actor.nets) == 5
    with pytest.raises(ValueError, match="an actor for each of 5"):
        safemarl_lite.load(tmp_path / "own", n_drones=6)


def test_a_run_stopped_before_its_first_checkpoint_starts_anew(tmp_path, monkeypatch):
    torch.set_num_threads(1)
    config, iterate = MAPPOConfig(**SMALL | {"eval_every": 3}), MAPPO.iterate
    whole = runs.train(SwarmTask(), config, 0, folder=tmp_path / "whole", quiet=True)

    def interrupted(learner):
        if learner.iteration == 1 and not learner.half.second:
            raise KeyboardInterrupt
        return iterate(learner)

    monkeypatch.setattr(MAPPO, "iterate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        runs.train(SwarmTask(), config, 0, folder=tmp_path / "cut", quiet=True)
    monkeypatch.setattr(MAPPO, "iterate", iterate)
    again = runs.train(SwarmTask(), config, 0, folder=tmp_path / "cut", resume=True, quiet=True)
    assert {**again, "seconds": 0} == {**whole, "seconds": 0}


@pytest.mark.parametrize(
    "field",
    [{"algo": "magic"}, {"iterations": 0}, {"eval_episodes": 1}, {"trace": 2.0},
     {"multiplier_start": -1.0}, {"tighten": float("nan")}, {"hidden_actor": 0}, {"hold": -1}],
)  # fmt: skip
def test_bad_settings_are_refused(field):
    with pytest.raises(ValueError, match=f"{next(iter(field))} must"):
        MAPPOConfig(**field)


def command(*words):
    return subprocess.run(
        [sys.executable, "-m", "safemarl_lite", *map(str, words)], capture_output=True, text=True
    )


def test_the_command_line_refuses_in_one_line(run, tmp_path, capfd):
    broken, other, empty = tmp_path / "broken", tmp_path / "other", tmp_path / "empty"
    for folder in (broken, other, empty):
        folder.mkdir()
        (folder / "config.json").write_text((run / "config.json").read_text())
    (broken / "best.pt").write_bytes((run / "best.pt").read_bytes()[:500])
    other.joinpath("best.pt").write_bytes((run / "best.pt").read_bytes())
    config = json.loads((run / "config.json").read_text())
    foreign, odd, cut = (tmp_path / name for name in ("foreign", "odd", "cut"))
    for folder in (foreign, odd, cut):
        folder.mkdir()
        kind = {"kind": "cars"} if folder == foreign else {}
        (folder / "config.json").write_text(json.dumps(config | kind))
    torch.save([1.0], odd / "best.pt")  # loads, and is no checkpoint
    torch.save({"actor": {}}, cut / "last.pt")
    flags = [x for k, v in SMALL.items() for x in (f"--{k.replace('_', '-')}", v)]
    config["task"]["control"] = "attitude"  # weights that do not fit this task
    (other / "config.json").write_text(json.dumps(config))
    cases = {
        ("train", "swarm", "--algo", "magic", "--out", tmp_path / "x"): "magic",
        ("train", "swarm", "--goal-radius", "1", "--out", tmp_path / "x"): "1.414",
        ("train", "swarm", "--out", run): "holds a run already",
        ("train", "swarm", "--resume", "--seed", "9", "--out", run): "another task, seed or config",
        ("train", "swarm", "--resume", "--out", tmp_path / "none"): "no run folder",
        ("train", "cars"): "Available subcommands: swarm, swarm-any, navigation, treasure",
        ("evaluate", tmp_path / "none"): "no run folder",
        ("evaluate", empty): "no checkpoint",
        ("evaluate", broken): "damaged",
        ("evaluate", other): "does not fit",
        ("evaluate", foreign): "is a run of 'cars'",
        ("evaluate", odd): "does not fit",
        ("train", "swarm", "--resume", "--out", cut, *flags): "cannot be resumed",
        ("train", "swarm", "--threads", "0", "--out", tmp_path / "x"): "threads must be",
        ("train", "swarm", "--episodes", "1", "--out", tmp_path / "x"): "episodes must be",
        ("evaluate", run, "--n-drones", "2"): "at least 5 drones",
        ("evaluate", run, "--episodes", "1"): "an integer ≥ 2",
        ("watch", run, "--n-drones", "3"): "at least 5 drones",
    }
    for words, reason in cases.items():
        with pytest.raises(SystemExit) as stop:
            main(list(map(str, words)))
        said = capfd.readouterr()
        assert stop.value.code == 2 and not said.out, (words, said)
        assert said.err.count("\n") == 1 and reason in said.err, (words, said)
    done = command("train", "cars")  # in a process of its own: the exit code, and nothing around
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and not done.stdout


def test_train_evaluate_and_watch_end_to_end(tmp_path, capsys):
    words = [f"--{name.replace('_', '-')}" for name in SMALL]
    flags = [x for pair in zip(words, SMALL.values(), strict=True) for x in pair]
    done = command("train", "swarm", "--out", tmp_path / "run", "--episodes", 4, *flags)
    assert done.returncode == 0, done.stderr
    assert "99 % upper bound" in done.stdout and "certificate.png" in done.stdout
    names = {"config.json", "progress.csv", "best.pt", "last.pt", "result.json", "certificate.png"}
    assert names <= {path.name for path in (tmp_path / "run").iterdir()}
    assert any("tfevents" in path.name for path in (tmp_path / "run").iterdir())
    main(["evaluate", str(tmp_path / "run"), "--episodes", "4", "--json", "--stochastic"])
    assert json.loads(capsys.readouterr().out)["deterministic"] is False
    main(["watch", str(tmp_path / "run"), "--out", str(tmp_path / "flight.gif")])
    assert (tmp_path / "flight.gif").read_bytes()[:3] == b"GIF"


def test_the_price_waits_for_the_skill_and_not_for_ever():
    with SwarmVectorEnv(SwarmTask(), 2) as env:
        learner = MAPPO(env, MAPPOConfig(hold=5, skill=0.8), np.random.SeedSequence(0))
        for iteration, success, moves in (0, 0.7, False), (0, 0.8, True), (5, 0.0, True):
            learner.iteration = iteration
            before = float(learner.multipliers.values[0])
            price = learner.price({}, {"success": success, "cost_0": 9.0}, None, None)
            assert (price[0] > before) == moves


def test_checkpoints_rank_by_return_less_the_price_of_their_cost():
    def result(value, cost, bound=0.05):
        one = {"mean": cost, "upper95": bound, "threshold": 0.1}
        return {"return_mean": value, "constraints": [one]}

    rank, λ = runs.rank, np.array([10.0])
    assert rank(result(21.9, 0.0), True, λ) > rank(result(22.0, 0.02), True, λ)
    assert rank(result(21.9, 0.0), True, 0) < rank(result(22.0, 0.02), True, 0)  # the control
    assert rank(result(1.0, 0.0), True, λ) > rank(result(22.0, 0.02, 0.2), True, λ)
    assert rank(result(1.0, 0.2, 0.3), True, λ) > rank(result(2.0, 0.3, 0.4), True, λ)


def test_a_learner_that_leaves_nothing_of_the_budget_is_refused():
    env = SwarmVectorEnv(SwarmTask(threshold=0.05), 2)
    with pytest.raises(ValueError, match="leaves nothing of the threshold 0.05"):
        MAPPO(env, MAPPOConfig(), np.random.SeedSequence(0))
    MAPPO(env, MAPPOConfig(tighten=0.04), np.random.SeedSequence(0))
    env.close()
