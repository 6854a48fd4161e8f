"""Run folders under attack: death at any moment, two at a time, NaN, full disks, damage, absurd
sizes. One clear line, and nothing lost."""

import gc
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import torch

import safemarl_lite
from safemarl_lite import folders, runs
from safemarl_lite.__main__ import main
from safemarl_lite.macaac import MACAAC, MACAACConfig
from safemarl_lite.mappo import MAPPO, MAPPOConfig
from safemarl_lite.navigation import NavigationEnv, NavigationTask, NavigationVectorEnv
from safemarl_lite.swarm import InfeasibleTask, SwarmEnv, SwarmTask, SwarmVectorEnv
from safemarl_lite.swarm.engine import bullet

TASK = NavigationTask(
    n_agents=2, n_landmarks=2, horizon=6, thresholds=(50.0,), actions="continuous"
)
SMALL = {"iterations": 3, "num_envs": 4, "epochs": 1, "minibatches": 2, "hidden_actor": 8,
         "hidden_critic": 8, "eval_episodes": 4, "eval_every": 1}  # fmt: skip
CONFIG = MAPPOConfig(**SMALL)
BOTH = {name: value for name, value in SMALL.items() if name not in ("epochs", "minibatches")}
DISCRETE = MACAACConfig(**BOTH, batch=8, updates=1, buffer_episodes=8)
SHIPPED = Path(__file__).parent.parent / "figures/runs/swarm"
FEW = ["train", "navigation", "--algo", "mappo-lagrangian", "--iterations", "2", "--num-envs", "4",
       "--epochs", "1", "--minibatches", "2", "--hidden-actor", "8", "--hidden-critic", "8",
       "--eval-episodes", "4", "--episodes", "4", "--workers", "1", "--out"]  # fmt: skip


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def train(folder, **given):
    return runs.train(TASK, CONFIG, 0, folder=folder, quiet=True, **given)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "whole"
    train(folder)
    return folder


# ------------------------------------------------------------------ what is not finite


@pytest.mark.parametrize(
    ("task", "config", "learner"),
    [(TASK, CONFIG, MAPPO),
     (NavigationTask(horizon=6, n_agents=2, n_landmarks=2), DISCRETE, MACAAC)],
)  # fmt: skip
@pytest.mark.parametrize("part", ["actor", "critic", "log"])
def test_a_training_that_is_no_longer_finite_stops_and_keeps_its_last_checkpoint(
    tmp_path, monkeypatch, task, config, learner, part
):
    iterate = learner.iterate

    def spoilt(me):
        log = iterate(me)
        if me.iteration == 2 and part == "log":
            return log | {"cost_0": float("nan")}
        if me.iteration == 2:
            next(getattr(me, part).parameters()).data[0] = float("nan")
        return log

    monkeypatch.setattr(learner, "iterate", spoilt)
    with pytest.raises(runs.RunError, match=r"^iteration 2 of .*run: .* not finite") as stop:
        runs.train(task, config, 0, folder=tmp_path / "run", quiet=True)
    said = str(stop.value)
    assert "learning_rate" in said and "best.pt and last.pt stay" in said and "\n" not in said
    assert {"log": "cost_0", "actor": "actor's", "critic": "critic's"}[part] in said
    assert runs.read_checkpoint(tmp_path / "run", "last.pt")["iteration"] == 1
    policy = safemarl_lite.load(tmp_path / "run")
    assert all(weight.isfinite().all() for weight in policy.actor.parameters())
    monkeypatch.setattr(learner, "iterate", iterate)
    runs.train(task, config, 0, folder=tmp_path / "run", quiet=True, resume=True)  # it goes on


def test_an_absurd_rate_says_so_before_anything_is_kept(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        main([*FEW, str(tmp_path / "run"), "--learning-rate", "1e30"])
    said = capsys.readouterr().err.splitlines()[-1]
    assert stop.value.code == 2 and "learning_rate=1e+30" in said and "nothing was saved" in said
    assert not (tmp_path / "run/best.pt").exists()


# ------------------------------------------------------------------ death at any moment


class Death(BaseException):
    pass


@pytest.mark.parametrize("after", [False, True])
def test_death_at_any_write_leaves_a_folder_that_goes_on_to_the_same_numbers(
    tmp_path, monkeypatch, whole, after
):
    """The n-th file of a training dies half written, or just when it is whole, for every n."""
    replace, last = os.replace, runs.read_checkpoint(whole, "last.pt")
    for nth in count():
        folder, calls = tmp_path / f"{nth}", count()

        def dies(old, new, nth=nth, calls=calls):
            if (dead := next(calls) == nth) and not after:
                raise Death
            replace(old, new)
            if dead:
                raise Death

        monkeypatch.setattr(os, "replace", dies)
        try:
            train(folder)
        except Death:
            monkeypatch.setattr(os, "replace", replace)
            train(folder, resume=(folder / "config.json").exists())
        else:
            break
        again = runs.read_checkpoint(folder, "last.pt")
        assert all(torch.equal(x, again["actor"][k]) for k, x in last["actor"].items()), nth
        assert len(again["rows"]) == 3
    assert nth >= 8  # config, and of three iterations: best, progress, last


def test_a_killed_process_leaves_a_folder_that_goes_on(tmp_path):
    words = [*FEW, str(tmp_path / "run")]
    words[words.index("--iterations") + 1] = "40"
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "-m", "safemarl_lite", *words, "--eval-every", "1"],
                               env=env, stderr=subprocess.DEVNULL)  # fmt: skip
    while not (tmp_path / "run/last.pt").exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.wait()
    stood = runs.read_checkpoint(tmp_path / "run", "last.pt")["iteration"]
    seed, task, config = runs.read_config(tmp_path / "run")
    options = {"folder": tmp_path / "run", "resume": True, "quiet": True}
    assert runs.train(task, config, seed, stop=stood + 1, **options)["iteration"] == stood + 1


def test_a_folder_with_a_best_and_no_last_starts_anew(tmp_path, whole):
    train(tmp_path / "run", stop=1)
    (tmp_path / "run/last.pt").unlink()
    train(tmp_path / "run", resume=True)
    one, other = (runs.read_checkpoint(x, "last.pt") for x in (tmp_path / "run", whole))
    assert all(torch.equal(x, one["actor"][k]) for k, x in other["actor"].items())


# ------------------------------------------------------------------ two on one folder


def test_a_second_training_on_a_folder_is_refused_and_the_first_is_not_disturbed(
    tmp_path, monkeypatch
):
    iterate, refused = MAPPO.iterate, []

    def meanwhile(me):
        if me.iteration == 1 and not me.half.second:
            code = "import sys; from safemarl_lite.__main__ import main; main(sys.argv[1:])"
            words = [*FEW, str(tmp_path / "run"), "--resume"]
            other = [sys.executable, "-c", code, *words]
            refused.append(subprocess.run(other, capture_output=True, text=True))
        return iterate(me)

    monkeypatch.setattr(MAPPO, "iterate", meanwhile)
    words = [*FEW, str(tmp_path / "run"), "--eval-every", "1"]
    with pytest.raises(runs.RunError, match="another process is training in"):
        with folders.locked(tmp_path / "run"):
            train(tmp_path / "run")  # in one process too
    main(words)
    (other,) = refused
    assert other.returncode == 2 and other.stderr.count("\n") == 1, other.stderr
    assert "another" in other.stderr
    assert runs.read_checkpoint(tmp_path / "run", "last.pt")["iteration"] == 2


def test_where_a_file_system_knows_no_locks_a_training_goes_on(tmp_path, monkeypatch):
    def unknown(*given):
        raise OSError(9, "Bad file descriptor")

    monkeypatch.setattr(folders.fcntl, "flock", unknown)
    with folders.locked(tmp_path / "run"), folders.locked(tmp_path / "run"):
        pass
    monkeypatch.setattr(folders, "fcntl", None)  # Windows
    with folders.locked(tmp_path / "other"):
        assert (tmp_path / "other").is_dir()


# ------------------------------------------------------------------ disks


def in_a_process(words, limit=None, cwd=None):
    """`python -m safemarl_lite words`, where no file may grow beyond `limit` bytes: a full disk."""

    def full():
        if limit:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "safemarl_lite", *map(str, words)]
    return subprocess.run(command, env=env, cwd=cwd, capture_output=True, text=True,
                          preexec_fn=full, timeout=300)  # fmt: skip


def last_line(done):
    """stderr without the progress bar."""
    assert "Traceback" not in done.stderr, done.stderr
    return done.stderr.replace("\r", "\n").rstrip("\n").splitlines()[-1]


@pytest.mark.parametrize("room", [10, 6_000])
def test_a_full_disk_ends_in_one_line_and_the_folder_goes_on(tmp_path, room):
    done = in_a_process([*FEW, tmp_path / "run"], limit=room)
    assert done.returncode == 2 and last_line(done).startswith("error: "), done.stderr
    assert "File too large" in last_line(done) or "could not be written" in last_line(done)
    again = (tmp_path / "run/config.json").exists()
    assert again == (room > 10)
    seed, task, config = runs.read_config(tmp_path / "run") if again else (0, TASK, CONFIG)
    runs.train(task, config, seed, folder=tmp_path / "run", quiet=True, resume=again)


def test_a_folder_that_cannot_be_written_to_is_one_line(tmp_path, monkeypatch, capsys, whole):
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # a read-only disk; for root too
    with pytest.raises(runs.RunError, match="cannot be written to"):
        train(tmp_path / "run")
    monkeypatch.undo()
    for out in ("/proc/nothing/run", str(whole / "config.json")):
        with pytest.raises(SystemExit) as stop:
            main([*FEW, out])
        said = capsys.readouterr().err
        assert stop.value.code == 2 and said.count("\n") == 1


def test_the_current_folder_is_no_run_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main([*FEW, ""])
    said = capsys.readouterr().err
    assert stop.value.code == 2 and "a folder of the run's own" in said and said.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_pipe_does_not_hang(tmp_path, capsys):
    (tmp_path / "run").mkdir()
    for name in ("config.json", "best.pt"):
        os.mkfifo(tmp_path / "run" / name)
    os.mkfifo(tmp_path / "fifo")
    began = time.perf_counter()
    for words, line in ((["evaluate", tmp_path / "run"], "no run folder"),
                        ([*FEW, tmp_path / "run", "--resume"], "no run folder"),
                        ([*FEW, tmp_path / "fifo"], "fifo is no folder")):  # fmt: skip
        with pytest.raises(SystemExit) as stop:
            main([str(word) for word in words])
        said = capsys.readouterr().err
        assert stop.value.code == 2 and said.count("\n") == 1 and line in said, said
    assert time.perf_counter() - began < 60


# ------------------------------------------------------------------ damage


def damaged(folder, whole, **changes):
    """A copy of a run whose `last.pt` holds other things."""
    folder.mkdir()
    for name in ("config.json", "best.pt", "last.pt"):
        (folder / name).write_bytes((whole / name).read_bytes())
    state = torch.load(folder / "last.pt", weights_only=True)
    for name, value in changes.items():
        if name in state:
            state[name] = value
        else:
            state["learner"][name] = value
    torch.save(state, folder / "last.pt")
    return folder


@pytest.mark.parametrize(
    "changes",
    [{"iteration": -5}, {"iteration": "3"}, {"iteration": 10**6}, {"iteration": 2.0}, {"rows": 7},
     {"rows": [1, 2, 3]}, {"rows": [{"a": "b"}] * 3}, {"best": 5}, {"best": {"return_mean": None}},
     {"multipliers": None}, {"multipliers": {"update": 1}}, {"learner": []}, {"world": "{}"},
     {"multipliers": {"integral": [float("nan")], "previous": [0.0], "values": [0.0]}},
     {"generator": torch.zeros(3)}, {"actor": {}}, {"optimizer": {"state": 1}}],
    ids=str,
)  # fmt: skip
def test_a_damaged_checkpoint_is_refused_in_one_line(tmp_path, whole, changes):
    folder = damaged(tmp_path / "run", whole, **changes)
    if changes.keys() <= {"actor"}:  # that of `best.pt` is the one that flies
        state = torch.load(folder / "last.pt", weights_only=True)
        state["learner"]["actor"] = {}
        torch.save(state, folder / "last.pt")
    with pytest.raises(runs.RunError, match=r"last\.pt cannot be resumed: .* ") as stop:
        train(folder, resume=True)
    assert "\n" not in str(stop.value) and len(str(stop.value)) < 300


def test_zeroed_bytes_and_archives_that_unfold_are_refused(tmp_path, whole):
    folder = damaged(tmp_path / "run", whole)
    bytes_ = bytearray((folder / "best.pt").read_bytes())
    with zipfile.ZipFile(folder / "best.pt") as parts:
        weights = max(parts.infolist(), key=lambda part: part.file_size)
    at = bytes_.index(zipfile.ZipFile(folder / "best.pt").read(weights))
    bytes_[at : at + 64] = bytes(64)
    (folder / "best.pt").write_bytes(bytes_)
    with pytest.raises(runs.RunError, match=r"best\.pt is damaged"):
        safemarl_lite.load(folder)
    with zipfile.ZipFile(folder / "last.pt", "w", zipfile.ZIP_DEFLATED) as parts:
        parts.writestr("archive/data.pkl", bytes(10**8))
    began = time.perf_counter()
    with pytest.raises(runs.RunError, match=r"last\.pt is damaged: its parts"):
        runs.read_checkpoint(folder, "last.pt")
    assert time.perf_counter() - began < 5
    assert runs.read_checkpoint(whole)["iteration"] >= 1  # the control


@pytest.mark.parametrize(
    "text", ["[" * 10**5, '{"kind": "swarm", "task": {"mass": Infinity}}', "", "null", "\x00" * 99]
)
def test_a_damaged_config_is_one_line(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(runs.RunError, match="damaged") as stop:
        runs.read_config(tmp_path)
    assert len(str(stop.value)) < 400


@pytest.mark.parametrize(
    ("field", "value"),
    [("mass", float("inf")), ("threshold", "9"), ("threshold", float("nan")), ("horizon", 10**9),
     ("n_drones", 2.5), ("control", "magic")],
)  # fmt: skip
def test_a_task_that_cannot_be_is_refused_from_a_config(tmp_path, field, value):
    folder = tmp_path / "run"
    shutil.copytree(SHIPPED, folder)
    stored = json.loads((folder / "config.json").read_text())
    stored["task"][field] = value
    (folder / "config.json").write_text(json.dumps(stored))
    with pytest.raises(runs.RunError, match=field):
        safemarl_lite.load(folder)


# ------------------------------------------------------------------ absurd sizes, dropped worlds


@pytest.mark.parametrize(
    "make",
    [lambda: SwarmTask(horizon=10**9), lambda: SwarmTask(mass=1e-300),
     lambda: SwarmTask(drag=1e-300), lambda: SwarmTask(max_thrust=1e300),
     lambda: SwarmVectorEnv(SwarmTask(n_obstacles=10**7), 1),
     lambda: SwarmVectorEnv(SwarmTask(), 10**6), lambda: NavigationTask(n_landmarks=10**7),
     lambda: NavigationVectorEnv(NavigationTask(n_agents=3000), 128),
     lambda: MAPPOConfig(num_envs=10**9), lambda: MAPPOConfig(hidden_actor=10**6),
     lambda: runs.train(SwarmTask(horizon=10**6), MAPPOConfig(num_envs=1000), folder="x")],
)  # fmt: skip
def test_absurd_sizes_are_refused_within_seconds(make):
    began = time.perf_counter()
    with pytest.raises(ValueError) as stop:
        make()
    assert time.perf_counter() - began < 10 and "\n" not in str(stop.value)
    assert isinstance(stop.value, InfeasibleTask | ValueError) and not Path("x").exists()


def test_absurd_words_are_refused_within_seconds(tmp_path, capsys):
    for words in (["--threads", "10000"], ["--num-envs", str(10**9)], ["--horizon", str(10**9)]):
        began = time.perf_counter()
        with pytest.raises(SystemExit) as stop:
            main([*FEW, str(tmp_path / "run"), *words])
        said = capsys.readouterr().err
        assert stop.value.code == 2 and said.count("\n") == 1 and words[0][2:5] in said
        assert time.perf_counter() - began < 20 and not (tmp_path / "run").exists()


def test_dropped_worlds_are_freed_and_closed_ones_close_again():
    env = SwarmEnv()
    client = env.batch.client
    env.reset(seed=0)
    del env
    gc.collect()
    assert not bullet.isConnected(client)
    with pytest.raises(ValueError, match="lost"), SwarmVectorEnv(SwarmTask(), 2) as batch:
        client = batch.client
        raise ValueError("lost")
    assert not bullet.isConnected(client)
    batch.close()
    env = NavigationEnv()
    env.close()
    env.close()


PRESSED = """
import os, runpy, signal, sys

class Press:
    def find_spec(self, name, *given):
        if name == sys.argv[1]:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Press())
runpy.run_module("safemarl_lite", run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize("module", ["tyro", "numpy", "torch"])
def test_ctrl_c_while_modules_load_is_no_traceback(module):
    """Pressed just when the module is looked for."""
    words = [sys.executable, "-c", PRESSED, module]
    done = subprocess.run(words, capture_output=True, text=True)
    assert not done.stderr and done.returncode == -signal.SIGINT


def test_a_large_swarm_is_not_absurd():
    """The control of the limits."""
    with SwarmVectorEnv(SwarmTask(n_drones=128, goal_radius=12, start=(-40, -40, 30), n_obstacles=0,
                                  target=(40, 40, 20), horizon=400), 2) as batch:  # fmt: skip
        batch.reset(seed=0)
        assert batch.step(np.zeros((2, 128, 3))).rewards.shape == (2, 128)
