"""Many trainings: seeds × settings through joblib, each in its own run folder.

Notebook: `07_scaling_and_guarantees`. A run is what `runs.train` and `runs.certify` make of a task,
settings and a seed; it goes on from what its folder holds, so that a sweep may be stopped and
called again. Here every run has a process of its own: one that is killed costs what it had not
saved, and the others do not notice (joblib's own pool of processes gives up all of them). On a
cluster `backend="ray"` hands the runs to Ray through its joblib backend, and Ray restarts a killed
worker. The folders must lie where every machine of the cluster sees them.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, fields, replace
from functools import partial
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

from . import runs

ATTEMPTS = 4  # processes that one run may lose


@dataclass(frozen=True)
class Run:
    """One training and its certificate."""

    task: runs.Task
    config: runs.Config
    seed: int
    folder: Path
    episodes: int = 2000


def plan(
    task: runs.Task,
    config: runs.Config,
    seeds: Sequence[int],
    folder: str | Path,
    vary: Mapping[str, Sequence[Any]] | None = None,
    episodes: int = 2000,
) -> list[Run]:
    """Every seed with every combination of `vary`: field of the task or the settings → its values.

    Folders are `folder/field=value,…/seed3`. Raises `ValueError` on a field that neither has.
    """
    vary, found = vary or {}, []
    for name in vary:
        if not any(name == field.name for x in (task, config) for field in fields(x)):
            raise ValueError(f"vary: neither the task nor the settings have a field {name!r}")
    for values in product(*vary.values()):
        chosen = dict(zip(vary, values, strict=True))
        part = ",".join(f"{name}={value}".replace("/", "_") for name, value in chosen.items())
        varied = [
            replace(x, **{f.name: chosen[f.name] for f in fields(x) if f.name in chosen})
            for x in (task, config)
        ]
        found += [Run(*varied, s, Path(folder) / part / f"seed{s}", episodes) for s in seeds]
    return found


def finish(run: Run, threads: int = 1) -> dict[str, Any]:
    """Train a run to its end, from where its folder stands, and certify it → its result.

    The result holds `resumed`, the iteration that the folder stood at (0: it was new).
    """
    import torch

    torch.set_num_threads(threads)
    resumed, last = 0, run.folder / "last.pt"
    if last.is_file():
        resumed = int(runs.read_checkpoint(run.folder, "last.pt")["iteration"])
    again = (run.folder / "config.json").is_file()
    runs.train(run.task, run.config, run.seed, folder=run.folder, resume=again, quiet=True)
    done = run.folder / "result.json"
    result = json.loads(done.read_text()) if done.is_file() else {}
    if result.get("episodes") != run.episodes or resumed < run.config.iterations:
        result = runs.certify(run.folder, run.episodes)
    return result | {"resumed": resumed}


def in_own_process(run: Run, threads: int) -> dict[str, Any]:
    """`finish` in a new process; where that is killed, once more from what it had saved."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
                return process.submit(finish, run, threads).result()
        except BrokenProcessPool:
            if attempt == ATTEMPTS:
                raise runs.RunError(f"{run.folder}: its process died {ATTEMPTS} times") from None
            print(f"{run.folder}: its process was killed; it goes on", file=sys.stderr, flush=True)


def outcome(work: Any, run: Run) -> dict[str, Any]:
    """What `work(run)` returns, or `{"error": its one line}`: one failure stops no other run."""
    try:
        return work(run)
    except (ValueError, OSError) as error:
        return {"error": " ".join(str(error).split())}


def sweep(
    planned: Sequence[Run],
    jobs: int = 2,
    threads: int = 1,
    backend: Literal["processes", "ray"] = "processes",
    address: str | None = None,
) -> dict[Path, dict[str, Any]]:
    """Finish all runs, `jobs` at a time → folder: its result, or {"error": one line}.

    backend "ray": on the running cluster at `address`, or the one that Ray finds by itself.
    """
    from joblib import Parallel, delayed, parallel_config

    settings, work = {"backend": "threading"}, partial(in_own_process, threads=threads)
    if backend == "ray":
        settings, work = _ray(address), partial(finish, threads=threads)
    with parallel_config(**settings):
        results = Parallel(jobs, batch_size=1)(delayed(outcome)(work, run) for run in planned)
    return {run.folder: result for run, result in zip(planned, results, strict=True)}


def _ray(address):
    """Connect to a running Ray → joblib's settings; a killed worker starts again with its run."""
    try:
        import ray
        from ray.util.joblib import register_ray
    except ImportError:
        raise ImportError("--backend ray needs Ray: pip install ray") from None
    register_ray()
    if not ray.is_initialized():  # never starts one: Ray's own ports are open to the network
        ray.init(address=address or "auto")
    retry = {"max_restarts": ATTEMPTS - 1, "max_task_retries": ATTEMPTS - 1}
    return {"backend": "ray", "ray_remote_args": retry}
