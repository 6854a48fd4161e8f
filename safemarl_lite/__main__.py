"""The command line: train, sweep, evaluate, watch, assignment; `--help` lists all fields.

Bad input gets one line on stderr and exit code 2.
"""

import contextlib
import io
import json
import os
import re
import signal
import sys
from argparse import ArgumentParser
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar

if __name__ == "__main__":  # while modules load, Ctrl-C ends without a traceback
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from tyro.conf import OmitArgPrefixes, Positional, arg
from tyro.extras import SubcommandApp

from . import runs
from .as_printed import PrintedConfig
from .lessons.assignment import Assignment
from .macaac import ON_TREASURE, MACAACConfig
from .mappo import ON_ANY_SWARM, ON_NAVIGATION, MAPPOConfig
from .mappo_statewise import StatewiseConfig
from .navigation import NavigationTask, TreasureTask
from .settings import Count, Natural, Several, Width, check_fields
from .swarm import SwarmTask, SwarmTasks

HINTS = {"swarm": "--any: one policy for any swarm, on tasks drawn anew in every episode."}
T, C = TypeVar("T"), TypeVar("C")
TRAININGS = {  # of each world: the learners' settings, the usual one first
    "swarm": [
        (SwarmTask(), MAPPOConfig()),
        (SwarmTask(), StatewiseConfig()),
        (SwarmTask(), PrintedConfig()),
    ],
    "swarm-any": [(SwarmTasks(), ON_ANY_SWARM)],  # also `train swarm --any`
    "navigation": [
        (NavigationTask(), MACAACConfig()),
        (NavigationTask(actions="continuous"), ON_NAVIGATION),
    ],
    "treasure": [
        (TreasureTask(), ON_TREASURE),
        (TreasureTask(actions="continuous"), ON_NAVIGATION),
    ],
}


@dataclass(frozen=True)
class Train(Generic[T, C]):
    """Train on a task, then certify the result; --algo decides which settings there are."""

    out: Path
    """Run folder to make."""
    task: T
    config: C
    seed: Natural = 0
    resume: bool = False
    """Go on from last.pt of the folder, to the numbers of a run that was never stopped."""
    workers: Literal[1, 2] = min(2, os.cpu_count() or 1)
    """Processes that share the learning; the numbers do not depend on it."""
    threads: Width = 1
    """Torch threads of each process: more than one is slow beside any other busy program."""
    episodes: Several = 2000
    """Held-out episodes of the certificate."""

    def __call__(self) -> None:
        import torch

        from .lessons.lesson_05 import certificate

        check_fields(self)
        torch.set_num_threads(self.threads)
        options = {"folder": self.out, "resume": self.resume, "workers": self.workers}
        runs.train(self.task, self.config, self.seed, certificate=self.episodes, **options)
        print_result(json.loads((self.out / "result.json").read_text()))
        certificate(self.out).savefig(self.out / "certificate.png", dpi=110)
        print(f"picture: {self.out / 'certificate.png'}")


@dataclass(frozen=True)
class Sweep(Generic[T, C]):
    """Train with many seeds and settings, each in its folder; --algo decides which settings."""

    out: Path
    """Folder of the run folders; what is there already goes on or is kept."""
    task: T
    config: C
    seeds: Count = 10
    """How many seeds, from --seed on."""
    seed: Natural = 0
    vary: tuple[str, ...] = ()
    """Fields and their values, as tighten=0.06,0.08 num_envs=64,128; every combination is run."""
    jobs: Count = 2
    """Runs at a time."""
    threads: Width = 1
    """Torch threads of each."""
    episodes: Several = 2000
    backend: Literal["processes", "ray"] = "processes"
    address: str | None = None
    """Of a running Ray cluster; without it --backend ray takes the one that Ray finds."""

    def __call__(self) -> None:
        from .sweep import plan, sweep

        check_fields(self)
        seeds = range(self.seed, self.seed + self.seeds)
        vary = dict(map(values_of, self.vary))
        planned = plan(self.task, self.config, seeds, self.out, vary, self.episodes)
        results = sweep(planned, self.jobs, self.threads, self.backend, self.address)
        for folder, result in results.items():
            print(f"{folder}: {in_short(result)}")
        runs.write(self.out / "sweep.json", json.dumps({str(k): r for k, r in results.items()}))
        certified = sum(result.get("certified", False) for result in results.values())
        print(f"{certified} of {len(results)} certified: {self.out / 'sweep.json'}")
        if any("error" in result for result in results.values()):
            raise SystemExit(1)


@dataclass(frozen=True)
class Evaluate:
    """Evaluate a trained run on held-out episodes."""

    run: Positional[Path]
    episodes: Several = 2000
    seed: Natural = 12345
    deterministic: Annotated[bool, arg(help="Fly the mean action; --stochastic samples.")] = True
    stochastic: bool = False
    n_drones: int | None = None
    """Fly another number of drones than in training."""
    as_json: Annotated[bool, arg(name="json")] = False
    """Print one JSON object."""

    def __call__(self) -> None:
        check_fields(self)
        mean = self.deterministic and not self.stochastic
        policy = runs.load(self.run, self.n_drones, mean, self.seed)
        result = runs.certify(policy, self.episodes, self.seed)
        if self.as_json:
            print(json.dumps(result))
        else:
            print_result(result)


@dataclass(frozen=True)
class Watch:
    """Render one episode of a trained run as an animated GIF."""

    run: Positional[Path]
    out: Path = Path("flight.gif")
    seed: Natural = 0
    n_drones: int | None = None

    def __call__(self) -> None:
        from .lessons.lesson_02 import fly

        check_fields(self)
        if not self.out.parent.is_dir():
            raise ValueError(f"--out {self.out}: there is no folder {self.out.parent}")
        frames = fly(runs.load(self.run, self.n_drones), self.seed)
        frames[0].save(self.out, save_all=True, append_images=frames[1:], duration=100, loop=0)
        print(f"{len(frames)} frames: {self.out}")


def values_of(words: str) -> tuple[str, list[Any]]:
    """`tighten=0.06,0.08` → its name and values; what is no JSON is taken as words."""
    name, equals, values = words.partition("=")
    if not (name and equals and values):
        raise ValueError(f"--vary takes field=value,value, got {words!r}")
    try:
        return name, json.loads(f"[{values}]")
    except json.JSONDecodeError:
        return name, values.split(",")


def in_short(r: dict[str, Any]) -> str:
    """The result of a run of a sweep, in one line."""
    if "error" in r:
        return f"failed: {r['error']}"
    again = f", from iteration {r['resumed']} on" if r["resumed"] else ""
    verdict = "certified" if r["certified"] else "NOT certified"
    bound = f"{r['discounted_cost']['upper99']:.4f}"
    return f"{verdict}, 99 % upper bound {bound}, success {r['success_rate']:.4f}{again}"


def print_result(r: dict[str, Any]) -> None:
    """The certificate in words."""
    cost, rate = r["discounted_cost"], r["violation_rate"]
    done = f"return {r['return_mean']:.3f}"
    if "n_drones" in r["task"]:  # navigation has no place to reach: its episodes all run to the end
        done = f"success {r['success_rate']:.4f}, {done}"
    print(f"{r['episodes']} held-out episodes, seed {r['seed']}: {done}, contacts {r['contacts']}")
    print(f"discounted cost {cost['mean']:.4f}, 99 % upper bound {cost['upper99']:.4f}")
    for j, c in enumerate(r["constraints"] if len(r["constraints"]) > 1 else ()):
        print(f"constraint {j}: {c['mean']:.4f}, bound {c['upper99']:.4f}, τ = {c['threshold']}")
    print(f"episodes with a violation {rate['mean']:.4f}, 99 % upper bound {rate['upper99']:.4f}")
    verdict = "CERTIFIED: expected cost within" if r["certified"] else "NOT certified for"
    print(f"{verdict} the threshold τ = {r['threshold']}, at {done.split(',')[0]}")


def train_command(command: type, world: str, words: list[str]) -> tuple[Any, str]:
    """`Train` or `Sweep` with the fields of the task and of --algo's learner, and its help."""
    known = {algo: pair for pair in TRAININGS[world] for algo in runs.algos(type(pair[1]))}
    if world in ("navigation", "treasure"):
        del known["mappo-fixed-penalty"]  # there its price would start at 0: that is `mappo`
    look = ArgumentParser(add_help=False, allow_abbrev=False)
    look.add_argument("--algo", nargs="?", default=next(iter(known)))
    algo = look.parse_known_args(words)[0].algo
    if algo not in known and words[:2] == [command.__name__.lower(), world]:
        raise ValueError(f"--algo must be one of {', '.join(known)}, got {algo!r}")
    defaults = known.get(algo, TRAININGS[world][0])
    fields = [Annotated[type(x), arg(default=x), OmitArgPrefixes] for x in defaults]
    about = f"{command.__doc__.split(';')[0]}. --algo decides which settings there are, and is one "
    return command[*fields], f"{about}of {', '.join(known)}. {HINTS.get(world, '')}"


def parse(words: list[str]) -> Any:
    """The command object of the given words; `--help` prints and exits 0."""
    if words[1:2] == ["swarm"] and "--any" in words:
        words = [words[0], "swarm-any", *(word for word in words[2:] if word != "--any")]
    app = SubcommandApp()
    for command in (Train, Sweep):
        worlds = SubcommandApp()
        for world in TRAININGS:
            filled, about = train_command(command, world, words)
            worlds.command(name=world, help=about)(filled)
        app.command(worlds, name=command.__name__.lower(), help=command.__doc__)
    app.command(Evaluate, name="evaluate")
    app.command(Watch, name="watch")
    app.command(Assignment, name="assignment")
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return app.cli(prog="python -m safemarl_lite", args=words)
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        lines = re.sub(r"\x1b\[[0-9;]*m|\[/?bold\]|[╭╮╰╯│─]", "", said.getvalue()).splitlines()
        plain = re.sub(r"Error parsing __tyro\S+:", "", " ".join(lines[1:]))  # without the title
        raise ValueError(plain.split("For full helptext")[0]) from None


def main(argv: list[str] | None = None) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        command = parse(list(sys.argv[1:] if argv is None else argv))
        command()
    except (ValueError, OSError, ImportError) as error:
        print("error: " + " ".join(str(error).split()), file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("stopped; a training goes on with --resume from its last evaluation", file=sys.stderr)
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
