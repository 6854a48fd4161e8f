"""Two halves that learn as one: in a thread or a process, stopped, killed; and rehearsed starts."""

import os
import signal
from dataclasses import replace
from multiprocessing import Pipe
from threading import Thread

import numpy as np
import pytest
import torch

from safemarl_lite import runs
from safemarl_lite.halves import WHOLE, Half, WorkerLost
from safemarl_lite.mappo import MAPPO, MAPPOConfig
from safemarl_lite.pair import Pair
from safemarl_lite.step import episode_means, first_episodes
from safemarl_lite.swarm import SwarmTask, SwarmVectorEnv

SMALL = MAPPOConfig(iterations=3, num_envs=6, eval_every=2, eval_episodes=4, hold=0, minibatches=2)
TASK = SwarmTask(horizon=30, start_spacing=2.2, start_jitter=0.05)  # soon too close


def both(call):
    """What `call` of the first and of the second half returns, each in a thread of its own."""
    answers = {}
    halves = [Half(pipe, second) for pipe, second in zip(Pipe(), (False, True), strict=True)]
    threads = [Thread(target=lambda h=h: answers.update({h.second: call(h)})) for h in halves]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    return answers[False], answers[True]


def test_means_and_rows_of_two_halves():
    def share(half):
        x, y = torch.full((2, 3), 1.0 + 2 * half.second), torch.tensor(float(half.second))
        half.mean_([x, y])
        rows, own = half.join(torch.full((2 + half.second, 3), float(half.second)))
        return x, y, half.mean({"cost": 4.0 * half.second}), rows, own

    for second, (x, y, log, rows, own) in enumerate(both(share)):
        assert (x == 2).all() and y == 0.5 and log == {"cost": 2.0}
        assert rows[:, 0].tolist() == [0, 0, 1, 1, 1] and (rows[own] == second).all()
        assert len(rows[own]) == 2 + second
    x = torch.ones(3)
    WHOLE.mean_([x])
    rows, own = WHOLE.join(x)
    assert (x == 1).all() and (rows[own] == x).all() and WHOLE.mean({"a": 2.0}) == {"a": 2.0}


def test_shared_gradients_are_those_of_the_whole_batch():
    torch.manual_seed(0)
    weight, batch = torch.randn(4, 2), torch.randn(10, 4)

    def gradient(rows):
        w = weight.clone().requires_grad_()
        (rows @ w).pow(2).mean().backward()
        return w.grad

    def share(half):
        mine = gradient(batch[5 * half.second : 5 * half.second + 5])
        half.mean_([mine])
        return mine

    first, second = both(share)
    assert torch.equal(first, second) and torch.allclose(first, gradient(batch), atol=1e-6)
    assert not torch.allclose(first, gradient(batch[:5]), atol=1e-2)  # the control


def same(a, b):
    return {**a, "seconds": 0} == {**b, "seconds": 0}


def test_one_process_or_two_stopped_or_not_the_numbers_are_the_same(tmp_path):
    torch.set_num_threads(1)
    config = replace(SMALL, rehearsed=3)
    whole = runs.train(TASK, config, 3, folder=tmp_path / "one", quiet=True, certificate=4)
    options = {"folder": tmp_path / "two", "quiet": True, "certificate": 4}
    runs.train(TASK, config, 3, **options, stop=1, workers=2)
    assert not (tmp_path / "two/result.json").exists()
    state = runs.read_checkpoint(tmp_path / "two", "last.pt")["learner"]
    assert state["world"] != state["second"]["world"]
    assert not torch.equal(state["generator"], state["second"]["generator"])
    assert state["rehearsed"] and len(state["rehearsed"]) <= 3
    assert same(runs.train(TASK, config, 3, **options, resume=True, workers=2), whole)
    one, two = (runs.read_checkpoint(tmp_path / x, "last.pt")["actor"] for x in ("one", "two"))
    assert all(torch.equal(one[name], two[name]) for name in one)
    one, two = ((tmp_path / x / "result.json").read_text() for x in ("one", "two"))
    assert one == two
    result = runs.certify(tmp_path / "one", 4)
    assert result["discounted_cost"]["mean"] == runs.json.loads(two)["discounted_cost"]["mean"]
    alone = MAPPO(SwarmVectorEnv(TASK, 6, 0), config, np.random.SeedSequence(0))
    assert alone.half is WHOLE
    alone.env.close()


@pytest.mark.parametrize("num_envs, halves", [(1, 1), (3, 1), (4, 2), (7, 1)])
def test_an_odd_number_of_swarms_is_learned_whole(num_envs, halves):
    """Of 3, halves of 2 and 1 would make 16 and 15 minibatches, and wait for each other."""
    torch.set_num_threads(1)
    config = replace(SMALL, num_envs=num_envs, epochs=1, minibatches=16)
    task = replace(TASK, horizon=100)
    with Pair(MAPPO, task, config, np.random.SeedSequence(0).spawn(2)) as pair:
        log = pair.iterate()
        assert pair.env.num_envs * halves == num_envs and np.isfinite(list(log.values())).all()


def test_a_killed_worker_gives_one_line_and_a_folder_that_goes_on(tmp_path, monkeypatch):
    torch.set_num_threads(1)
    config, iterate = replace(SMALL, eval_every=1), Pair.iterate
    whole = runs.train(TASK, config, 0, folder=tmp_path / "whole", quiet=True)

    def killed(pair):
        if pair.learner.iteration == 1:
            os.kill(pair.worker.pid, signal.SIGKILL)
        return iterate(pair)

    monkeypatch.setattr(Pair, "iterate", killed)
    with pytest.raises(WorkerLost, match="go on with --resume") as caught:
        runs.train(TASK, config, 0, folder=tmp_path / "cut", quiet=True, workers=2)
    assert "\n" not in str(caught.value)
    monkeypatch.setattr(Pair, "iterate", iterate)
    runs.certify(tmp_path / "cut", 4)  # usable as it is
    assert same(
        runs.train(TASK, config, 0, folder=tmp_path / "cut", resume=True, quiet=True), whole
    )


def test_starts_that_violated_are_flown_again_and_the_estimate_does_not_see_them():
    config = replace(SMALL, num_envs=8, rehearsed=4)
    with SwarmVectorEnv(SwarmTask(), 8, 0) as env:
        learner = MAPPO(env, config, np.random.SeedSequence(0))
        data = learner.collect()
        starts = learner.starts
        learner.rehearse(data)
        costs = (data["costs"].sum((2, 3)) * first_episodes(data)).sum(0)
        bad = torch.nonzero(costs > 0)[:, 0].tolist()
        assert 0 < len(bad) < 8
        kept = env.rehearsed
        assert len(kept) == min(4, len(bad))
        for start, e in zip(kept, bad[-4:], strict=True):
            assert all((start[name] == starts[name][e]).all() for name in env.DRAWN)
        fresh = [env.positions.copy() for _ in range(20) if env.reset() is not None]
        old = np.array([start["positions"] for start in kept])
        assert not any((at == old[:, None]).all((-2, -1)).any() for at in fresh)  # resets: none
        again = 0
        for _ in range(20):
            env._restart(np.arange(8))
            again += (env.positions == old[:, None]).all((-2, -1)).any(0).sum()
            assert (env.velocities == 0).all() and (env.steps == 0).all()
        assert 50 < again < 110  # half of 160, ± 4 deviations
    data["costs"][40:] += data["costs"][40:] * 0 + 1  # later episodes' costs change nothing
    data["terminated"][30] = 1
    before = episode_means(data, 0.99)["cost"]
    data["costs"][60:] += 1
    assert episode_means(data, 0.99)["cost"] == before
