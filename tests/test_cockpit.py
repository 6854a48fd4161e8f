"""The training that is driven by hand: it is the training, it stops and goes on, it stays out of
the way where nobody is there."""

import _thread
import threading
import time

import numpy as np
import pytest
import torch

from safemarl_lite import runs
from safemarl_lite.lessons import cockpit, player, scenes
from safemarl_lite.lessons.cockpit import Cockpit, steered
from safemarl_lite.macaac import MACAACConfig
from safemarl_lite.mappo import MAPPOConfig
from safemarl_lite.navigation import NavigationTask
from safemarl_lite.pair import Pair
from safemarl_lite.swarm import SwarmTask

FLYING = MAPPOConfig(iterations=4, num_envs=4, epochs=1, minibatches=2, eval_episodes=2, hold=0)
MOVING = MACAACConfig(iterations=4, num_envs=4, updates=2, batch=32, buffer_episodes=16,
                      multiplier_start=1.0, eval_episodes=2)  # fmt: skip
BOTH = pytest.mark.parametrize(
    ("task", "config"), [(SwarmTask(horizon=40), FLYING), (NavigationTask(), MOVING)],
    ids=["05", "06"],
)  # fmt: skip


def rests(drive):
    while drive.running:
        time.sleep(0.02)
    return drive


def weights(folder):
    return runs.read_checkpoint(folder, "last.pt")["actor"]


def same(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


@BOTH
def test_driven_in_pieces_it_is_the_training(tmp_path, task, config):
    runs.train(task, config, folder=tmp_path / "whole", quiet=True)
    drive = Cockpit(task, config, folder=tmp_path / "driven")
    drive.step()
    assert rests(drive).iteration == 1 and drive.state == "paused" and not drive.error
    drive.run(1)
    drive.close()
    assert drive.iteration == 2 and len(drive.flight["positions"]) > 1
    again = Cockpit(task, config, folder=tmp_path / "driven")  # as after a restart of the kernel
    assert again.iteration == 2
    again.step()
    assert rests(again).iteration == 3
    again.start()
    rests(again).close()
    assert again.state == "finished" and again.iteration == 4
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "driven"))


@BOTH
def test_a_stopped_cell_leaves_a_folder_that_goes_on(tmp_path, task, config):
    drive = Cockpit(task, config, folder=tmp_path / "run")
    drive.publish = lambda now: (
        now.iteration == 1
        and now.running
        and threading.Thread(target=_thread.interrupt_main).start()
    )
    drive.run(4)  # interrupted: pauses, and saves
    assert drive.state == "paused" and 1 <= drive.iteration < 4
    drive.publish = lambda now: None
    drive.run(1)  # still usable
    done = drive.iteration
    drive.close()
    assert runs.read_checkpoint(tmp_path / "run", "last.pt")["iteration"] == done
    log = runs.train(task, config, folder=tmp_path / "run", resume=True, quiet=True)
    assert log["iteration"] == 4


@BOTH
def test_the_rule_changes_while_it_runs(tmp_path, task, config):
    drive, prices = Cockpit(task, config, folder=tmp_path / "run"), {}
    for rule, value in (("none", None), ("fixed", 7.0), ("projected", None)):
        drive.steer(rule, value)
        drive.run(1)
        prices[rule] = drive.rows[-1]["lambda_0"]
    drive.close()
    assert prices["none"] == 0 and prices["fixed"] == 7
    assert prices["projected"] != 7 and abs(prices["projected"] - 7) < 1  # goes on from there
    with pytest.raises(ValueError, match="rule must be one of none, fixed, printed"):
        drive.steer("wish")


def test_pi_feels_what_is_off_now_and_the_printed_rule_moves_no_policy():
    price, policy, task = {}, {}, SwarmTask(horizon=40)
    for rule in cockpit.RULES:
        seeds = np.random.SeedSequence(0).spawn(2)
        with Pair(steered(FLYING), task, FLYING, seeds) as pair:
            pair.call("steer", rule, 1.0)
            price[rule] = pair.iterate()["lambda_0"]
            policy[rule] = {k: v.clone() for k, v in pair.learner.actor.state_dict().items()}
    assert price["PI"] == pytest.approx(price["projected"] + 0.5)  # the violation is at its cap
    assert same(policy["printed"], policy["none"]) and price["printed"] > price["none"] == 0
    assert not same(policy["projected"], policy["none"])


def test_a_second_one_for_the_folder_ends_the_first(tmp_path):
    first = Cockpit(SwarmTask(horizon=40), FLYING, folder=tmp_path / "run")
    first.start()
    second = Cockpit(SwarmTask(horizon=40), FLYING, folder=tmp_path / "run")
    assert not first.thread.is_alive() and second.iteration == first.iteration
    second.run(1)
    second.close()
    assert second.iteration == min(first.iteration + 1, 4) and not second.error


def test_reset_begins_anew_and_touches_no_other_folder(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter").write_text("dear")
    drive = Cockpit(SwarmTask(horizon=40), FLYING, folder=tmp_path / "mine")
    drive.reset()
    assert (tmp_path / "mine" / "letter").exists() and drive.state == "ready"
    drive = Cockpit(SwarmTask(horizon=40), FLYING, folder=tmp_path / "run")
    drive.run(1)
    drive.reset()
    assert not (tmp_path / "run").exists() and drive.iteration == 0


def test_another_run_in_the_folder_is_said_in_one_line(tmp_path):
    runs.train(SwarmTask(horizon=40), FLYING, 3, folder=tmp_path, quiet=True, stop=1)
    drive = Cockpit(SwarmTask(horizon=40), FLYING, 0, tmp_path)
    drive.run(1)
    assert drive.state == "stopped" and "another task, seed or config" in cockpit.line(drive)


def test_where_nobody_is_there_it_is_a_picture(monkeypatch, tmp_path):
    shown, made = [], []
    monkeypatch.setattr(player, "display", lambda data, raw, metadata=None: shown.append(data))
    monkeypatch.setattr(cockpit, "display", lambda data, raw: made.append(data))
    recorded = tmp_path / "watched.json"
    recorded.write_text('{"runs": []}')
    given = (
        SwarmTask(),
        FLYING,
        recorded,
        b"png",
        "a still of a training",
    )
    drive = cockpit.show(*given, folder=tmp_path / "run")
    assert [set(x) for x in shown] == [{"image/png", "text/plain"}, {"text/html", "text/plain"}]
    assert not made and drive.thread is None and not (tmp_path / "run").exists()
    monkeypatch.setattr(cockpit, "somebody_is_there", lambda: True)
    cockpit.show(*given, folder=tmp_path / "run")
    assert len(made) == 1 and not (tmp_path / "run").exists()
    assert "application/vnd.jupyter.widget-view+json" in made[0]
    assert "VBox" not in made[0]["text/plain"]


def test_the_controls_do_what_they_say(tmp_path):
    drive = Cockpit(SwarmTask(horizon=40), FLYING, folder=tmp_path / "run")
    (start, pause, step, reset), (rule, value), (bar, said), feed = [
        getattr(row, "children", row) for row in cockpit.controls(drive).children
    ]
    rule.value, value.value = "fixed", 3.0
    step.click()
    rests(drive)
    assert drive.rows[0]["lambda_0"] == 3 and bar.value == 1 and "iteration 1 of 4" in said.value
    assert "safemarl-feed" in feed.value and "positions" in feed.value
    start.click()
    pause.click()
    assert 1 <= rests(drive).iteration <= 4
    reset.click()
    assert bar.value == 0 and not (tmp_path / "run").exists()


def test_moving_obstacles_are_where_they_were():
    task = SwarmTask()
    flown = {
        "length": [2],
        "success": [True],
        "costs": np.zeros((4, 1, 1)),
        "positions": np.zeros((5, 1, 1, 3)),
        "obstacles": np.array([[[4.0, 0, 1], [0, 0, 900]]]),
        "drift": np.array([[1.0, 0, 0], [0, 0, 0]]),
    }
    balls = scenes.one_flight(task, flown)["obstacles"]  # after 4 steps the first is at x = 4
    assert balls[:, :, 0].ravel() == pytest.approx([3.6, 3.7, 3.8])
