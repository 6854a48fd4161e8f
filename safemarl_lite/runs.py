"""Run folders: config, log, checkpoints, resume; and the loop that trains into one.

A folder holds `config.json` (kind, seed, task, config), `progress.csv` (a row an iteration),
TensorBoard events, `best.pt` and `last.pt` (all that is needed to go on), `result.json`. How they
are written and read: `folders.py`.
"""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from numbers import Integral
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

import numpy as np
from tqdm.auto import tqdm

from .actors import Policy, actor_of
from .as_printed import PrintedConfig, PrintedMAPPO
from .evaluate import evaluate, rank
from .folders import RunError, check_finite, locked, read_checkpoint, write, write_progress
from .macaac import MACAAC, MACAACConfig
from .mappo import MAPPO, MAPPOConfig
from .mappo_statewise import StatewiseConfig, StatewiseMAPPO
from .navigation import NavigationTask
from .pair import Pair
from .swarm import InfeasibleTask, OpenTask, SwarmTask, SwarmTasks

TASKS = {task.kind: task for task in (SwarmTask, OpenTask, SwarmTasks, NavigationTask)}
LEARNERS = {MAPPOConfig: MAPPO, StatewiseConfig: StatewiseMAPPO}
LEARNERS |= {PrintedConfig: PrintedMAPPO, MACAACConfig: MACAAC}
UNPRICED = ("mappo", "maac")  # learners without λ: their checkpoints are ranked by return alone
CERTIFICATE_SEED = 12345
LARGEST = 4e9  # numbers in a batch of training
Config = MAPPOConfig | MACAACConfig
Task = SwarmTask | NavigationTask


def algos(config_type: type) -> tuple[str, ...]:
    """The values of `algo` that a settings class knows."""
    return get_args(get_type_hints(config_type)["algo"])


def read_config(folder: str | Path, task_type: type | None = None) -> tuple[int, Task, Config]:
    """`config.json` of a run → (seed, task, config); `task_type` if the task is of your own class.

    Raises `RunError`.
    """
    path = Path(folder) / "config.json"
    if not path.is_file():  # a pipe would never end
        raise RunError(f"{folder} is no run folder: it has no config.json")
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
    except InfeasibleTask as error:
        raise RunError(f"{path} holds an infeasible task: {error}") from None
    except RunError:
        raise
    except StopIteration:
        raise RunError(f"{path} is damaged: no algo {stored['config']['algo']!r}") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise RunError(f"{path} is damaged: {type(error).__name__} {error}") from None


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

    Of a folder it is written to `result.json` there as well; `task_type` as in `load`. Its level
    is that of one policy, fixed before anybody looked at these flights: who tunes by them, or takes
    the best of many runs, certifies with another seed.
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
    drive: Callable[[Pair, list[dict[str, float]], Callable[[], None]], bool] | None = None,
    learner_type: type | None = None,
) -> dict[str, float]:
    """Train into `folder` (until iteration `stop`, if given) and return the learner's last log.

    Every `config.eval_every` iterations flies held-out episodes, `config.eval_episodes` in the last
    quarter, a tenth before; `best.pt` is the best by `rank`, `last.pt` the last. `resume` goes on
    from `last.pt`, to the same numbers; a run stopped before its first checkpoint starts anew.
    `workers=2` learns in two processes, to the same numbers (`WorkerLost` where one is killed). At
    the end `best.pt` flies `certificate` episodes, as in `certify`. `drive(pair, log, save)` is
    asked before each iteration whether to go on; `save` writes `last.pt`; `learner_type`, a
    subclass of the config's learner, takes its place. Raises `RunError`.
    """
    folder = Path(folder)
    _check(task, config, seed, stop, folder)
    state = _resumed(folder, (seed, task, config)) if resume else _unused(folder)
    *seeds, held_out = np.random.SeedSequence(seed).spawn(3)
    eval_seed = int(held_out.generate_state(1)[0])
    known = next(LEARNERS[c] for c in type(config).__mro__ if c in LEARNERS)
    pair = Pair(learner_type or known, task, config, seeds, workers)
    from torch.utils.tensorboard import SummaryWriter  # slow: while the second half starts

    with pair, locked(folder):
        learner = pair.learner
        best, rows = None, []
        if state is not None:
            best, rows = _restore(pair, state, folder)
        else:
            parts = {"task": asdict(task), "config": asdict(config)}
            kept = {"kind": task.kind, "seed": int(seed)} | parts
            write(folder / "config.json", json.dumps(kept, indent=1))

        def save():
            learned = {"learner": pair.state_dict(), "best": best, "rows": rows}
            write(folder / "last.pt", learner.checkpoint() | learned)

        last = min(config.iterations, stop or config.iterations)
        bar = tqdm(range(learner.iteration, last), disable=quiet, unit="iteration", mininterval=1)
        with SummaryWriter(str(folder), purge_step=learner.iteration if resume else None) as board:
            for _ in bar:
                if drive is not None and not drive(pair, rows, save):
                    break
                began = time.perf_counter()
                log = pair.iterate()
                check_finite(learner, log, folder)
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
                    save()
                shown = {"success": "success", "return": "return", "cost": "Ĵ_c", "lambda_0": "λ"}
                bar.set_postfix_str(", ".join(f"{s} {log[name]:.3g}" for name, s in shown.items()))
        if certificate and learner.iteration == config.iterations:
            result = pair.evaluate(read_checkpoint(folder)["actor"], certificate, CERTIFICATE_SEED)
            _certified(result, task, CERTIFICATE_SEED, folder)
    return rows[-1] if rows else {}


def _check(task, config, seed, stop, folder):
    for given, allowed in (task, tuple(TASKS.values())), (config, tuple(LEARNERS)):
        if not isinstance(given, allowed):
            names = ", ".join(x.__name__ for x in allowed)
            raise RunError(f"train needs one of {names}, got {type(given).__name__}")
    batch = 2 * task.horizon * config.num_envs * task.n_agents * task.view_size
    if batch > LARGEST:
        raise RunError(f"horizon × num_envs × agents × view make a batch of {batch:.1e} numbers, "
                       f"at most {LARGEST:.1e}: choose fewer")  # fmt: skip
    if folder == Path():
        raise RunError("out must name a folder of the run's own, not the one that you are in")
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
    return read_checkpoint(folder, "last.pt") if (folder / "last.pt").exists() else None


def _restore(pair, state, folder):
    """Put the learner where it was stopped → the best evaluation and the log until then."""
    try:
        done, best, rows = (state[name] for name in ("iteration", "best", "rows"))
        if type(done) is not int or not 0 <= done == len(rows) <= pair.learner.config.iterations:
            raise ValueError(f"{len(rows)} rows of log at iteration {done!r}")
        if not all(isinstance(x, float | int) for row in rows for x in row.values()):
            raise ValueError("its log holds more than numbers")
        if best is not None:
            rank(best)
        pair.load_state_dict(state["learner"])
        if pair.learner.iteration != done:
            raise ValueError(f"its learner stands at iteration {pair.learner.iteration!r}")
        return best, rows
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        reason = f"it has no {reason}" if isinstance(error, KeyError) else reason[:80]
        raise RunError(f"{folder}/last.pt cannot be resumed: {reason}") from None
