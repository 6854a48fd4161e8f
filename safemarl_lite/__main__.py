"""The command line: `python -m safemarl_lite {train,evaluate,watch} …`; `--help` lists all fields.

Bad input gets one line on stderr and exit code 2.
"""

import contextlib
import io
import json
import re
import sys
from argparse import ArgumentParser
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

from tyro.conf import OmitArgPrefixes, Positional, arg
from tyro.extras import SubcommandApp

from . import runs
from .as_printed import PrintedConfig
from .macaac import ON_TREASURE, MACAACConfig
from .mappo import ON_NAVIGATION, MAPPOConfig
from .navigation import NavigationTask, TreasureTask
from .settings import Count, Natural, Several, check_fields
from .swarm import SwarmTask

T, C = TypeVar("T"), TypeVar("C")
TRAININGS = {  # of each world: the learners' settings, the usual one first
    "swarm": [(SwarmTask(), MAPPOConfig()), (SwarmTask(), PrintedConfig())],
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
    threads: Count = 2
    """Torch threads of the update."""
    episodes: Several = 2000
    """Held-out episodes of the certificate."""

    def __call__(self) -> None:
        import torch

        from .lessons.lesson_05 import certificate

        check_fields(self)
        torch.set_num_threads(self.threads)
        options = {"folder": self.out, "resume": self.resume}
        runs.train(self.task, self.config, self.seed, **options)
        print_result(runs.certify(self.out, self.episodes))
        certificate(self.out).savefig(self.out / "certificate.png", dpi=110)
        print(f"picture: {self.out / 'certificate.png'}")


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


def train_command(world: str, words: list[str]) -> tuple[Any, str]:
    """`Train` with the fields of the task and of the learner that --algo asks for, and its help."""
    known = {algo: pair for pair in TRAININGS[world] for algo in runs.algos(type(pair[1]))}
    if world != "swarm":
        del known["mappo-fixed-penalty"]  # there its price would start at 0: that is `mappo`
    look = ArgumentParser(add_help=False, allow_abbrev=False)
    look.add_argument("--algo", nargs="?", default=next(iter(known)))
    algo = look.parse_known_args(words)[0].algo
    if algo not in known and words[:2] == ["train", world]:
        raise ValueError(f"--algo must be one of {', '.join(known)}, got {algo!r}")
    defaults = known.get(algo, TRAININGS[world][0])
    fields = [Annotated[type(x), arg(default=x), OmitArgPrefixes] for x in defaults]
    about = f"{Train.__doc__.split(';')[0]}. --algo decides which settings there are, and is one "
    return Train[*fields], f"{about}of {', '.join(known)}."


def parse(words: list[str]) -> Any:
    """The command object of the given words; `--help` prints and exits 0."""
    app, training = SubcommandApp(), SubcommandApp()
    for world in TRAININGS:
        command, about = train_command(world, words)
        training.command(name=world, help=about)(command)
    app.command(training, name="train", help=Train.__doc__)
    app.command(Evaluate, name="evaluate")
    app.command(Watch, name="watch")
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
