"""Many trainings through joblib: plans, folders that go on, and workers that are killed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from safemarl_lite import runs
from safemarl_lite.__main__ import main
from safemarl_lite.mappo import MAPPOConfig
from safemarl_lite.navigation import NavigationTask
from safemarl_lite.sweep import finish, plan, sweep

ROOT = Path(__file__).parent.parent
TASK = NavigationTask(actions="continuous", horizon=5)
SMALL = {"iterations": 2, "num_envs": 4, "epochs": 1, "minibatches": 1, "eval_every": 1,
         "eval_episodes": 2, "hold": 0}  # fmt: skip


def test_a_plan_is_every_seed_with_every_setting(tmp_path):
    vary = {"std_end": [0.2, 0.3], "horizon": [5, 6]}
    planned = plan(TASK, MAPPOConfig(**SMALL), (3, 4), tmp_path, vary, 9)
    assert len(planned) == 8 and len({run.folder for run in planned}) == 8
    assert {(run.config.std_end, run.task.horizon, run.seed) for run in planned} == {
        (s, h, n) for s in (0.2, 0.3) for h in (5, 6) for n in (3, 4)
    }
    assert planned[0].folder == tmp_path / "std_end=0.2,horizon=5" / "seed3"
    assert plan(TASK, MAPPOConfig(), [7], tmp_path)[0].folder == tmp_path / "seed7"
    with pytest.raises(ValueError, match="neither the task nor the settings have a field 'spee'"):
        plan(TASK, MAPPOConfig(), [0], tmp_path, {"spee": [1]})


def test_what_is_finished_is_kept_and_a_failure_stops_no_other(tmp_path):
    planned = plan(TASK, MAPPOConfig(**SMALL), range(3), tmp_path, episodes=4)
    planned[1].folder.mkdir(parents=True)
    (planned[1].folder / "config.json").write_text("{")
    results = sweep(planned, jobs=2)
    good = [results[planned[k].folder] for k in (0, 2)]
    assert [r["episodes"] for r in good] == [4, 4] and [r["resumed"] for r in good] == [0, 0]
    assert list(results[planned[1].folder]) == ["error"]
    assert "is damaged" in results[planned[1].folder]["error"]
    alone = runs.train(TASK, MAPPOConfig(**SMALL), 0, folder=tmp_path / "alone", quiet=True)
    row = (planned[0].folder / "progress.csv").read_text().splitlines()[-1].split(",")
    assert float(row[2]) == pytest.approx(alone["return"])  # what `train` does with this seed
    written = (planned[0].folder / "result.json").stat().st_mtime_ns
    assert finish(planned[0])["resumed"] == 2
    assert (planned[0].folder / "result.json").stat().st_mtime_ns == written


def holds(process, folder):
    """Whether a process, a folder of /proc, has a file in `folder` open just now."""
    try:
        return any(str(folder) in os.readlink(x) for x in (process / "fd").iterdir())
    except OSError:  # it closed one while we looked, or is gone
        return False


def kill_one(folder, found):
    """Kill the process that trains in `folder`, once it has saved something."""
    while not (folder / "last.pt").is_file():
        time.sleep(0.05)
    while not found and not (folder / "result.json").is_file():
        for process in Path("/proc").glob("[0-9]*"):
            if int(process.name) != os.getpid() and holds(process, folder):
                found.append((process / "cmdline").read_text().replace("\0", " ").strip())
                os.kill(int(process.name), signal.SIGKILL)
                break


LONG = {**SMALL, "iterations": 60}


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="looks into /proc for the process")
def test_a_killed_process_costs_only_what_it_had_not_saved(tmp_path, capfd):
    planned = plan(TASK, MAPPOConfig(**LONG), range(2), tmp_path, episodes=4)
    killed = []
    killer = threading.Thread(target=kill_one, args=(planned[0].folder, killed), daemon=True)
    killer.start()
    results = sweep(planned, jobs=2)
    killer.join()
    lines = capfd.readouterr().err.strip().splitlines()
    assert len(killed) == 1 and len(lines) == 1 and "its process was killed; it goes on" in lines[0]
    again, other = (results[run.folder] for run in planned)
    assert 0 < again["resumed"] < LONG["iterations"] and other["resumed"] == 0
    whole = tmp_path / "whole"
    runs.train(TASK, MAPPOConfig(**LONG), 0, folder=whole, quiet=True)
    same = [runs.read_checkpoint(x, "last.pt")["actor"] for x in (whole, planned[0].folder)]
    assert all((same[0][name] == same[1][name]).all() for name in same[0])


RAY = """
import sys, threading, warnings
sys.path.insert(0, "tests")
import ray
from test_sweep import LONG, TASK, kill_one
from safemarl_lite.mappo import MAPPOConfig
from safemarl_lite.sweep import plan, sweep
ray.init(num_cpus=2, include_dashboard=False)
planned, killed = plan(TASK, MAPPOConfig(**LONG), range(2), sys.argv[1], episodes=4), []
killer = threading.Thread(target=kill_one, args=(planned[0].folder, killed), daemon=True)
killer.start()
results = sweep(planned, 2, backend="ray")
killer.join()
print("RESUMED", *(results[run.folder]["resumed"] for run in planned), *killed)
ray.shutdown()
"""


ALONE = ["unshare", "--map-root-user", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "-"]


def test_ray_starts_a_killed_worker_again(tmp_path):
    """A real local Ray with two workers, in a process of its own; one is killed.

    Ray listens on all interfaces: it runs in a network that has none but loopback.
    """
    pytest.importorskip("ray", reason="Ray is not installed here")
    if not shutil.which("unshare") or subprocess.run([*ALONE, "true"]).returncode:
        pytest.skip("no network namespace can be made here, and Ray would listen to the network")
    quiet = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS": "0"}
    env = os.environ | quiet | {"RAY_worker_niceness": "0"}  # 15 starves on a busy machine
    env["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "tests"), env.get("PYTHONPATH", "")])
    words = [*ALONE, sys.executable, "-c", RAY, str(tmp_path)]
    done = subprocess.run(words, env=env, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    first, second, *killed = done.stdout.split("RESUMED")[1].splitlines()[0].split()
    assert 0 < int(first) < LONG["iterations"] and int(second) == 0
    assert "ray::" in " ".join(killed)  # a worker of Ray's, and no process of our own


def test_the_command_line_sweeps(tmp_path, capsys):
    words = [sys.executable, "-m", "safemarl_lite", "sweep", "navigation"]
    flags = [f"--{k.replace('_', '-')}={v}" for k, v in SMALL.items() if k != "hold"]
    flags += ["--horizon=5", "--episodes=4", "--seeds=2", "--vary", "std_end=0.2,0.3"]
    flags += ["--algo=mappo-lagrangian", f"--out={tmp_path}"]
    done = subprocess.run([*words, *flags], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("99 % upper bound") == 4 and "of 4 certified" in done.stdout
    assert len(json.loads((tmp_path / "sweep.json").read_text())) == 4
    bad = {"std_end": "field=value,value", "speed=1": "neither the task nor the settings"}
    for given, line in bad.items():
        changed = [given if flag.startswith("std_end=") else flag for flag in flags]
        with pytest.raises(SystemExit) as stop:
            main(["sweep", "navigation", *changed])
        said = capsys.readouterr().err
        assert stop.value.code == 2 and line in said and said.count("\n") == 1
