"""The command line: `python -m safemarl_lite {train,evaluate,watch} …`; `--help` lists all fields.

Bad input gets one line on stderr and exit code 2.
"""

import contextlib
import io
import json
import re
import sys
from dataclasses import dataclass, field, make_dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, get_args

import tyro
from tyro.conf import OmitArgPrefixes, Positional, arg

from . import mappo
from .runs import KINDS, LEARNERS, ON_NAVIGATION


@dataclass(frozen=True)
class Train:
    """Train on a task, then certify the result."""

    out: Path
    """Run folder to make."""
    seed: int = 0
    resume: bool = False
    """Go on from last.pt of the folder, to the numbers of a run that was never stopped."""
    threads: int = 2
    """Torch threads of the update."""
    episodes: int = 2000
    """Held-out episodes of the certificate."""

    def __call__(self):
        import torch

        from . import runs, show

        if self.threads < 1 or self.episodes < 2 or self.seed < 0:
            raise ValueError("train needs threads ≥ 1, episodes ≥ 2 and seed ≥ 0; got "
                             f"{self.threads}, {self.episodes} and {self.seed}")  # fmt: skip
        torch.set_num_threads(self.threads)
        kind = runs.kind_of(self.task)
        runs.train(kind, self.task, self.config, self.seed, self.out, self.resume)
        result = runs.certify(runs.load(self.out), self.episodes)
        runs.write(self.out / "result.json", json.dumps(result, indent=1))
        show.certificate(self.out).savefig(self.out / "certificate.png", dpi=110)
        print_result(result)
        print(f"picture: {self.out / 'certificate.png'}")


def train_command(kind, words):
    """`Train` with the fields of the task and of the learner that `words` ask for."""
    words = [part for word in words for part in word.split("=", 1)]
    default = "mappo-lagrangian" if kind == "swarm" else "macaac"
    algo = dict(zip(words, words[1:], strict=False)).get("--algo", default)
    on_policy = algo in get_args(mappo.Algo)
    on_swarm_only = ("mappo-fixed-penalty", "as-printed")  # lesson 05's comparison
    allowed = [
        a
        for a in LEARNERS
        if (a not in on_swarm_only if kind == "navigation" else a in get_args(mappo.Algo))
    ]
    if algo not in allowed:
        fail(f"--algo must be one of {', '.join(allowed)}, got {algo!r}")
    task, config = KINDS[kind][0](), LEARNERS[algo][0]()
    if kind == "navigation" and on_policy:
        task, config = replace(task, actions="continuous"), ON_NAVIGATION
    fields = [(x, type(v), field(default=v)) for x, v in (("task", task), ("config", config))]
    about = f"{Train.__doc__} --algo {{{','.join(allowed)}}} decides which options there are."
    return make_dataclass(
        "Train", fields, bases=(Train,), frozen=True, namespace={"__doc__": about}
    )


@dataclass(frozen=True)
class Evaluate:
    """Evaluate a trained run on held-out episodes."""

    run: Positional[Path]
    episodes: int = 2000
    seed: int = 12345
    deterministic: Annotated[bool, arg(help="Fly the mean action; --stochastic samples.")] = True
    stochastic: bool = False
    n_drones: int | None = None
    """Fly another number of drones than in training."""
    as_json: Annotated[bool, arg(name="json")] = False
    """Print one JSON object."""

    def __call__(self):
        from . import runs

        check_seed(self.seed)
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
    seed: int = 0
    n_drones: int | None = None

    def __call__(self):
        from . import runs, show

        check_seed(self.seed)
        if not self.out.parent.is_dir():
            raise ValueError(f"--out {self.out}: there is no folder {self.out.parent}")
        frames = show.fly(runs.load(self.run, self.n_drones), self.seed)
        frames[0].save(self.out, save_all=True, append_images=frames[1:], duration=100, loop=0)
        print(f"{len(frames)} frames: {self.out}")


def check_seed(seed):
    if seed < 0:
        raise ValueError(f"--seed must be at least 0, got {seed}")


def print_result(r):
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


def main(argv=None):
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        command = parse(argv)
        command()
    except (ValueError, OSError) as error:
        fail(str(error))
    except KeyboardInterrupt:
        print("stopped; a training goes on with --resume from its last evaluation", file=sys.stderr)
        raise SystemExit(130) from None


def parse(argv):
    """The command object of the given words; `--help` prints and exits 0."""
    train = {kind: partial(train_command, kind) for kind in KINDS}
    tree = {"train": train, "evaluate": Evaluate, "watch": Watch}
    path = []
    while isinstance(tree, dict):
        word = argv[len(path)] if len(path) < len(argv) else ""
        if word in ("", "-h", "--help"):
            allowed = ", ".join(tree)
            text = f"usage: python -m safemarl_lite {' '.join(path)} {{{allowed}}} … [--help]"
            if word == "":
                fail(text)
            print(re.sub(" +", " ", text))
            raise SystemExit(0)
        if word not in tree:
            fail(f"{word!r} is not a command; choose from {', '.join(tree)}")
        path.append(word)
        tree = tree[word]
    if isinstance(tree, partial):
        tree = tree(argv[len(path) :])
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(OmitArgPrefixes[tree], args=argv[len(path) :],
                            prog=f"python -m safemarl_lite {' '.join(path)}")  # fmt: skip
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        words = [
            re.sub(r"\x1b\[[0-9;]*m|[╭╮╰╯│─]", "", line).strip()
            for line in said.getvalue().splitlines()
        ]
        fail(" ".join(w for w in words if w and not w.startswith("For full helptext")))


def fail(message):
    """One line on stderr, exit code 2."""
    print("error: " + " ".join(message.split()), file=sys.stderr)
    raise SystemExit(2)


if __name__ == "__main__":
    main()
