"""Run folders: config, log, checkpoints, resume; and the loop that trains into one.

A folder holds `config.json` (kind, seed, task, config), `progress.csv` (a row an iteration),
TensorBoard events, `best.pt` and `last.pt` (all that is needed to go on), `result.json`.
Checkpoints are written to a temporary name first, and read without unpickling code.
"""

import csv
import json
import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from torch.utils.tensorboard import SummaryWriter
from tqdm.auto import tqdm

from . import macaac, mappo
from .evaluate import Policy, evaluate
from .navigation import NavigationEnv, NavigationTask, NavigationVectorEnv
from .swarm import InfeasibleTask, SwarmEnv, SwarmTask, SwarmVectorEnv

KINDS = {  # of task: its settings, a batch of it, one of it
    "swarm": (SwarmTask, SwarmVectorEnv, SwarmEnv),
    "navigation": (NavigationTask, NavigationVectorEnv, NavigationEnv),
}
LEARNERS = dict.fromkeys(get_args(mappo.Algo), (mappo.MAPPOConfig, mappo.MAPPO))
LEARNERS |= dict.fromkeys(get_args(macaac.Algo), (macaac.MACAACConfig, macaac.MACAAC))
ON_NAVIGATION = mappo.MAPPOConfig(  # what suits 25 steps without a place to reach
    iterations=110,
    num_envs=512,
    hold=0,
    multiplier_start=0.0,
    multiplier_rate=0.03,
    multiplier_growth=0.0,
    violation_cap=1.0,
    std_end=0.2,
    tighten=0.4,
    eval_every=5,
    eval_episodes=1000,
)


class RunError(ValueError):
    """A run folder is missing, damaged or of another kind; one line says which."""


def write(path, content):
    """Write text, or save a state with torch, whole or not at all."""
    path = Path(path)
    temporary = path.with_name(path.name + ".part")
    if isinstance(content, str):
        temporary.write_text(content)
    else:
        torch.save(content, temporary)
    os.replace(temporary, path)


def read_config(folder):
    """`config.json` of a run → (kind, seed, task, config)."""
    path = Path(folder) / "config.json"
    try:
        stored = json.loads(path.read_text())
        if stored["kind"] not in KINDS:
            allowed = ", ".join(KINDS)
            raise RunError(f"{folder} is a run of {stored['kind']!r}, not one of {allowed}")
        task_type, config_type = KINDS[stored["kind"]][0], LEARNERS[stored["config"]["algo"]][0]
        task = task_type(**{k: _tuple(v) for k, v in stored["task"].items()})
        return stored["kind"], stored["seed"], task, config_type(**stored["config"])
    except FileNotFoundError:
        raise RunError(f"{folder} is no run folder: it has no config.json") from None
    except InfeasibleTask as error:
        raise RunError(f"{path} holds an infeasible task: {error}") from None
    except RunError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(f"{path} is damaged: {type(error).__name__} {error}") from None


def _tuple(value):
    return tuple(value) if isinstance(value, list) else value


def read_checkpoint(folder, name="best.pt"):
    """The state in `best.pt` or `last.pt`, read without running code that it may hold."""
    path = Path(folder) / name
    if not path.is_file():
        raise RunError(f"{folder} holds no checkpoint {name}; train it first")
    try:
        return torch.load(path, weights_only=True)
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise RunError(f"{path} is damaged: {reason[:100]}") from None


def load(folder, n_drones=None, deterministic=True, seed=0, name="best.pt"):
    """The trained policy of a run folder; `n_drones` flies it with another number of drones."""
    kind, _, task, config = read_config(folder)
    state = read_checkpoint(folder, name)
    if n_drones is not None and n_drones != task.n_agents:
        if kind != "swarm":
            raise RunError(f"{folder} is no swarm: its views hold exactly {task.n_agents} agents")
        full = min(task.n_drones, task.n_neighbours + 1)
        if not config.shared_actor:
            raise RunError(
                f"{folder} has an actor for each of {task.n_drones} drones, not {n_drones}"
            )
        if n_drones < full:
            raise RunError(
                f"{folder} was trained with {full - 1} neighbours in view: "
                f"it needs at least {full} drones, got {n_drones}"
            )
        task = type(task)(**asdict(task) | {"n_drones": n_drones})
    try:
        actor = mappo.actor_of(task, config)
        actor.load_state_dict(state["actor"])
        return Policy(actor, task, state["std"], deterministic, seed)
    except (LookupError, TypeError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise RunError(f"{folder}/{name} does not fit its config.json: {reason[:80]}") from None


def kind_of(task):
    """The name in KINDS of a task."""
    return next(kind for kind, (task_type, *_) in KINDS.items() if isinstance(task, task_type))


def certify(policy, episodes=2000, seed=12345):
    """`evaluate` for a loaded policy, on its own task → dict with the task."""
    task = policy.task
    env_type = KINDS[kind_of(task)][1]
    result = evaluate(
        policy.act, lambda n, s: env_type(task, n, s, autoreset=False), episodes, seed
    )
    return result | {"deterministic": policy.deterministic, "seed": seed, "task": asdict(task)}


def rank(result, constrained=True):
    """Order of checkpoints: by return where the 95 % bounds are within budget, else by cost.

    A learner without λ is not `constrained`: by return alone.
    """
    if not constrained:
        return (1.0, result["return_mean"])
    feasible = all(c["upper95"] <= c["threshold"] for c in result["constraints"])
    worst = max(c["mean"] - c["threshold"] for c in result["constraints"])
    return (1.0, result["return_mean"]) if feasible else (0.0, -worst)


def train(kind, task, config, seed, folder, resume=False, quiet=False, stop=None):
    """Train into `folder` (until iteration `stop`, if given) and return the learner's last log.

    Evaluates every `config.eval_every` iterations on held-out episodes; `best.pt` is the best of
    these by `rank`, `last.pt` the last. `resume` goes on from `last.pt`, to the same numbers; a
    run that was stopped before its first checkpoint starts anew.
    """
    folder = Path(folder)
    if resume:
        stored = read_config(folder)
        if (stored[0], stored[1], stored[2], stored[3]) != (kind, seed, task, config):
            raise RunError(
                f"{folder} was trained with another task, seed or config; see config.json"
            )
    elif (folder / "config.json").exists():
        raise RunError(f"{folder} holds a run already; choose another --out, or --resume it")
    saved = any((folder / name).exists() for name in ("best.pt", "last.pt"))
    state = read_checkpoint(folder, "last.pt") if resume and saved else None
    env_type, learner_type = KINDS[kind][1], LEARNERS[config.algo][1]
    world, learning, held_out = np.random.SeedSequence(seed).spawn(3)
    if learner_type is mappo.MAPPO and getattr(task, "actions", "") == "discrete":
        raise ValueError(f"{config.algo} needs actions='continuous', got 'discrete'")
    env = env_type(task, config.num_envs, world)
    learner = learner_type(env, config, learning)
    folder.mkdir(parents=True, exist_ok=True)
    best, rows = (-1.0, 0.0), []
    if state is not None:
        try:
            learner.load_state_dict(state["learner"])
            best, rows = tuple(state["best"]), state["rows"]
        except (LookupError, TypeError, ValueError, RuntimeError) as error:
            env.close()
            reason = str(error).splitlines()[0]
            raise RunError(f"{folder}/last.pt cannot be resumed: {reason[:80]}") from None
    else:
        text = {"kind": kind, "seed": seed, "task": asdict(task), "config": asdict(config)}
        write(folder / "config.json", json.dumps(text, indent=1))
    last = min(config.iterations, stop or config.iterations)
    bar = tqdm(range(learner.iteration, last), disable=quiet, unit="iteration", mininterval=1)
    board = SummaryWriter(str(folder), purge_step=learner.iteration if resume else None)
    eval_seed = int(held_out.generate_state(1)[0])
    try:
        for _ in bar:
            began = time.perf_counter()
            log = learner.iterate()
            due = (
                learner.iteration % config.eval_every == 0 or learner.iteration == config.iterations
            )
            checkpoint = learner.checkpoint()
            if due:
                policy = Policy(learner.actor, task, learner.std)
                result = evaluate(policy.act, lambda n, s: env_type(task, n, s, autoreset=False),
                                  config.eval_episodes, eval_seed)  # fmt: skip
                log |= {f"eval_{k}": result[k] for k in ("success_rate", "return_mean")}
                log["eval_cost"] = result["discounted_cost"]["mean"]
                log["eval_violation_rate"] = result["violation_rate"]["mean"]
                rated = rank(result, config.algo not in ("mappo", "maac"))
                if rated >= best:
                    best = rated
                    write(folder / "best.pt", checkpoint)
            log["seconds"] = time.perf_counter() - began
            rows.append(log)
            for name, value in log.items():
                board.add_scalar(name, value, learner.iteration)
            write_progress(folder / "progress.csv", rows)
            if due or learner.iteration == last:
                write(folder / "last.pt", checkpoint | {
                    "learner": learner.state_dict(), "best": best, "rows": rows})  # fmt: skip
            shown = {"success": "success", "return": "return", "cost": "Ĵ_c", "lambda_0": "λ"}
            bar.set_postfix_str(", ".join(f"{s} {log[name]:.3g}" for name, s in shown.items()))
    finally:
        board.close()
        env.close()
    return rows[-1] if rows else {}


def write_progress(path, rows):
    """The log as CSV; columns that an iteration lacks stay empty."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    part = Path(path).with_suffix(".part")
    with part.open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)
    os.replace(part, path)
