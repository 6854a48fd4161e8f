"""Run folders: config, log, checkpoints, resume; and the loop that trains into one.

A folder holds `config.json` (kind, seed, task, config), `progress.csv` (a row an iteration),
TensorBoard events, `best.pt` and `last.pt` (all that is needed to go on), `result.json`.
Checkpoints are written to a temporary name first, and read without unpickling code.
"""

import csv
import json
import os
import time
from dataclasses import asdict, fields, replace
from numbers import Integral
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

import numpy as np
import torch
from tqdm.auto import tqdm

from .actors import Policy, actor_of
from .as_printed import PrintedConfig, PrintedMAPPO
from .evaluate import evaluate, rank
from .macaac import MACAAC, MACAACConfig
from .mappo import MAPPO, MAPPOConfig
from .mappo_statewise import StatewiseConfig, StatewiseMAPPO
from .navigation import NavigationTask, TreasureTask
from .pair import Pair
from .swarm import InfeasibleTask, OpenTask, SwarmTask, SwarmTasks

WORLDS = SwarmTask, OpenTask, SwarmTasks, NavigationTask, TreasureTask
TASKS = {task.kind: task for task in WORLDS}
LEARNERS = {MAPPOConfig: MAPPO, StatewiseConfig: StatewiseMAPPO}
LEARNERS |= {PrintedConfig: PrintedMAPPO, MACAACConfig: MACAAC}
UNPRICED = ("mappo", "maac")  # learners without λ: their checkpoints are ranked by return alone
CERTIFICATE_SEED = 12345
Config = MAPPOConfig | MACAACConfig
Task = SwarmTask | NavigationTask | TreasureTask


class RunError(ValueError):
    """A run folder is missing, damaged or of another kind; one line says which."""


def algos(config_type: type) -> tuple[str, ...]:
    """The values of `algo` that a settings class knows."""
    return get_args(get_type_hints(config_type)["algo"])


def write(path: str | Path, content: Any) -> None:
    """Write text, or save a state with torch, whole or not at all."""
    path = Path(path)
    temporary = path.with_name(path.name + ".part")
    if isinstance(content, str):
        temporary.write_text(content)
    else:
        torch.save(content, temporary)
    os.replace(temporary, path)


def read_config(folder: str | Path, task_type: type | None = None) -> tuple[int, Task, Config]:
    """`config.json` of a run → (seed, task, config); `task_type` if the task is of your own class.

    Raises `RunError`.
    """
    path = Path(folder) / "config.json"
    try:
        stored = json.loads(path.read_text())
        if stored["kind"] not in TASKS:
            raise RunError(
                f"{folder} is a run of {stored['kind']!r}, not one of {', '.join(TASKS)}"
            )
        config_type = next(c for c in LEARNERS if stored["config"]["algo"] in algos(c))
        given = {k: tuple(v) if isinstance(v, list) else v for k, v in stored["task"].items()}
        task_type = task_type or TASKS[stored["kind"]]
        if foreign := sorted(given.keys() - {f.name for f in fields(task_type)}):
            unknown = f"{path} holds {', '.join(foreign)}, which {task_type.__name__} does not have"
            raise RunError(f"{unknown}; give your own class of task as task_type")
        return stored["seed"], task_type(**given), config_type(**stored["config"])
    except (FileNotFoundError, NotADirectoryError):
        raise RunError(f"{folder} is no run folder: it has no config.json") from None
    except InfeasibleTask as error:
        raise RunError(f"{path} holds an infeasible task: {error}") from None
    except RunError:
        raise
    except StopIteration:
        raise RunError(f"{path} is damaged: no algo {stored['config']['algo']!r}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(f"{path} is damaged: {type(error).__name__} {error}") from None


def read_checkpoint(folder: str | Path, name: str = "best.pt") -> Any:
    """The state in `best.pt` or `last.pt`, read without running code that it may hold."""
    path = Path(folder) / name
    if not path.is_file():
        raise RunError(f"{folder} holds no checkpoint {name}; train it first")
    try:
        return torch.load(path, weights_only=True)
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise RunError(f"{path} is damaged: {reason[:100]}") from None


def load(
    folder: str | Path,
    n_drones: int | None = None,
    deterministic: bool = True,
    seed: int = 0,
    name: Literal["best.pt", "last.pt"] = "best.pt",
    task_type: type | None = None,
) -> Policy:
    """The trained policy of a run folder; raises `RunError`, in one line.

    `n_drones` flies it with another number of drones; `seed` is that of a stochastic policy's
    draws; `task_type` is the class of the task where it is a subclass of your own.
    """
    _, task, config = read_config(folder, task_type)
    state = read_checkpoint(folder, name)
    if n_drones is not None and n_drones != task.n_agents:
        task = _with_drones(task, config, n_drones, folder)
    try:
        actor = actor_of(task, config)
        actor.load_state_dict(state["actor"])
        std = float(state["std"])
    except (LookupError, TypeError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise RunError(f"{folder}/{name} does not fit its config.json: {reason[:80]}") from None
    if not all(weight.isfinite().all() for weight in actor.parameters()):
        raise RunError(f"{folder}/{name} holds weights that are not finite: its training diverged")
    return Policy(actor, task, std, deterministic, seed)


def _with_drones(task, config, n, folder):
    """The task with `n` drones, if the actor's views allow it."""
    if not isinstance(task, SwarmTask):
        raise RunError(f"{folder} is no swarm: its views hold exactly {task.n_agents} agents")
    if not config.shared_actor:
        raise RunError(f"{folder} has an actor for each of {task.n_drones} drones, not {n}")
    full = 1 if task.equivariant else min(task.n_drones, task.n_neighbours + 1)
    if type(n) is not int or n < full:
        seen = f"was trained with {full - 1} neighbours in view"
        raise RunError(f"{folder} {seen}: it needs at least {full} drones, got {n!r}")
    try:
        return replace(task, n_drones=n)
    except InfeasibleTask as error:
        raise RunError(f"{folder} with {n} drones: {error}") from None


def certify(
    run: Policy | str | Path,
    episodes: int = 2000,
    seed: int = CERTIFICATE_SEED,
    task_type: type | None = None,
) -> dict[str, Any]:
    """The certificate of a policy, or of a run folder's best one, on its own task.

    Of a folder it is written to `result.json` there as well; `task_type` as in `load`.
    """
    policy = run if isinstance(run, Policy) else load(run, task_type=task_type)
    result = evaluate(policy.act, policy.task, episodes, seed)
    return _certified(result, policy.task, seed, policy is not run and run, policy.deterministic)


def _certified(result, task, seed, folder, deterministic=True):
    """A result with what it is about, written into `folder` if there is one."""
    result |= {"deterministic": deterministic, "seed": seed, "task": asdict(task)}
    if folder:
        write(Path(folder) / "result.json", json.dumps(result, indent=1))
    return result


def train(
    task: Task,
    config: Config,
    seed: int = 0,
    *,
    folder: str | Path,
    resume: bool = False,
    quiet: bool = False,
    stop: int | None = None,
    workers: int = 1,
    certificate: int | None = None,
) -> dict[str, float]:
    """Train into `folder` (until iteration `stop`, if given) and return the learner's last log.

    Every `config.eval_every` iterations flies held-out episodes, `config.eval_episodes` in the last
    quarter, a tenth before; `best.pt` is the best by `rank`, `last.pt` the last. `resume` goes on
    from `last.pt`, to the same numbers; a run stopped before its first checkpoint starts anew.
    `workers=2` learns in two processes, to the same numbers (`WorkerLost` where one is killed). At
    the end `best.pt` flies `certificate` episodes, as in `certify`. Raises `RunError`.
    """
    from torch.utils.tensorboard import SummaryWriter  # slow, and only training needs it

    folder = Path(folder)
    _check(task, config, seed, stop)
    state = _resumed(folder, (seed, task, config)) if resume else _unused(folder)
    *seeds, held_out = np.random.SeedSequence(seed).spawn(3)
    eval_seed = int(held_out.generate_state(1)[0])
    learner_type = next(LEARNERS[c] for c in type(config).__mro__ if c in LEARNERS)
    with Pair(learner_type, task, config, seeds, workers) as pair:
        learner = pair.learner
        best, rows = None, []
        if state is not None:
            best, rows = _restore(pair, state, folder)
        else:
            parts = {"task": asdict(task), "config": asdict(config)}
            folder.mkdir(parents=True, exist_ok=True)
            kept = {"kind": task.kind, "seed": int(seed)} | parts
            write(folder / "config.json", json.dumps(kept, indent=1))
        last = min(config.iterations, stop or config.iterations)
        bar = tqdm(range(learner.iteration, last), disable=quiet, unit="iteration", mininterval=1)
        with SummaryWriter(str(folder), purge_step=learner.iteration if resume else None) as board:
            for _ in bar:
                began = time.perf_counter()
                log = pair.iterate()
                checkpoint = learner.checkpoint()
                ends = learner.iteration == config.iterations
                due = ends or learner.iteration % config.eval_every == 0
                if due:
                    late = 4 * learner.iteration > 3 * config.iterations
                    flights = config.eval_episodes if late else max(2, config.eval_episodes // 10)
                    result = pair.evaluate(checkpoint["actor"], flights, eval_seed)
                    log |= {f"eval_{k}": result[k] for k in ("success_rate", "return_mean")}
                    log["eval_cost"] = result["discounted_cost"]["mean"]
                    log["eval_violation_rate"] = result["violation_rate"]["mean"]
                    by = config.algo not in UNPRICED, learner.price_of_cost
                    if best is None or rank(result, *by) >= rank(best, *by):
                        best = result
                        write(folder / "best.pt", checkpoint)
                log["seconds"] = time.perf_counter() - began
                rows.append(log)
                for name, value in log.items():
                    board.add_scalar(name, value, learner.iteration)
                write_progress(folder / "progress.csv", rows)
                if due or learner.iteration == last:
                    learned = {"learner": pair.state_dict(), "best": best, "rows": rows}
                    write(folder / "last.pt", checkpoint | learned)
                shown = {"success": "success", "return": "return", "cost": "Ĵ_c", "lambda_0": "λ"}
                bar.set_postfix_str(", ".join(f"{s} {log[name]:.3g}" for name, s in shown.items()))
        if certificate and learner.iteration == config.iterations:
            result = pair.evaluate(read_checkpoint(folder)["actor"], certificate, CERTIFICATE_SEED)
            _certified(result, task, CERTIFICATE_SEED, folder)
    return rows[-1] if rows else {}


def _check(task, config, seed, stop):
    for given, allowed in (task, tuple(TASKS.values())), (config, tuple(LEARNERS)):
        if not isinstance(given, allowed):
            names = ", ".join(x.__name__ for x in allowed)
            raise RunError(f"train needs one of {names}, got {type(given).__name__}")
    for name, given, least in ("seed", seed, 0), ("stop", stop, 1):
        if given is not None and (not isinstance(given, Integral) or given < least):
            raise RunError(f"{name} must be an integer ≥ {least}, got {given!r}")


def _unused(folder):
    if (folder / "config.json").exists():
        raise RunError(f"{folder} holds a run already; choose another --out, or --resume it")


def _resumed(folder, given):
    """What `last.pt` holds; None where the run has saved nothing yet."""
    if read_config(folder, type(given[1])) != given:
        raise RunError(f"{folder} was trained with another task, seed or config; see config.json")
    saved = any((folder / name).exists() for name in ("best.pt", "last.pt"))
    return read_checkpoint(folder, "last.pt") if saved else None


def _restore(pair, state, folder):
    """Put the learner where it was stopped → the best evaluation and the log until then."""
    try:
        pair.load_state_dict(state["learner"])
        return state["best"], state["rows"]
    except (LookupError, TypeError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise RunError(f"{folder}/last.pt cannot be resumed: {reason[:80]}") from None


def write_progress(path: Path, rows: list[dict[str, float]]) -> None:
    """The log as CSV; columns that an iteration lacks stay empty."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    part = Path(path).with_suffix(".part")
    with part.open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)
    os.replace(part, path)
