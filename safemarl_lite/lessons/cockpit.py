"""A training that is driven by hand, and its recording: lessons 05 and 06.

`show` displays recorded trainings to be scrubbed. Where somebody sits at the page, controls follow:
start, pause, one step, reset, and the rule of λ, which may change while it runs; the picture then
follows the live training. That is `runs.train` in a thread, so that the page stays free, into a run
folder that is saved at every pause and goes on from there, here or with `train --resume`.
"""

import atexit
import html
import json
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import ipywidgets as widgets
import numpy as np
from IPython import get_ipython
from IPython.display import display

from .. import runs
from ..actors import Policy
from ..as_printed import PrintedMAPPO
from ..evaluate import rollout
from ..macaac import MACAAC, MACAACConfig
from ..mappo import MAPPO
from . import player, scenes

RULES = ("none", "fixed", "printed", "projected", "PI")
FLIGHT = 5  # seed of the start that is flown again and again


class Steered:
    """A learner whose rule for λ may change between two iterations; λ goes on from where it is."""

    rule = "projected"

    def steer(self, rule: str, value: float) -> None:
        """`rule` in RULES; `value` is λ under "fixed"; ValueError on another rule."""
        if rule not in RULES:
            raise ValueError(f"rule must be one of {', '.join(RULES)}, got {rule!r}")
        c, λ, self.rule = self.config, self.multipliers, rule
        moves = rule in ("projected", "PI") or (rule == "printed" and isinstance(self, MACAAC))
        λ.rate = c.multiplier_rate * moves
        λ.growth = getattr(c, "multiplier_growth", 0.0) * moves
        λ.proportional = 0.5 / c.violation_cap * (rule == "PI")
        if rule in ("none", "fixed"):
            λ.values = np.full_like(λ.values, value * (rule == "fixed"))
        λ.integral = λ.values.copy()


class SteeredMAPPO(Steered, PrintedMAPPO):
    """The rule "printed" is the draft's: λ rises with max(0, E[A^c] − τ), no policy pays it."""

    def price(self, data, log, values, after):
        owner = PrintedMAPPO if self.rule == "printed" else MAPPO
        return owner.price(self, data, log, values, after)


class SteeredMACAAC(Steered, MACAAC):
    """The rule "printed" is the authors' program's: λ follows the mean Q^c of replayed steps."""

    def steer(self, rule: str, value: float) -> None:
        super().steer(rule, value)
        self.config = replace(self.config, replayed_constraint=rule == "printed")


def steered(config) -> type:
    """The learner of a config, steered."""
    return SteeredMACAAC if isinstance(config, MACAACConfig) else SteeredMAPPO


def flown(actor, env) -> dict[str, np.ndarray]:
    """A flight of the deterministic policy now, from the start of seed FLIGHT."""
    return rollout(Policy(actor, env.task, 0.0, True).act, env, FLIGHT, record=True)


class Cockpit:
    """A training that stands still until `start` or `step`; nothing is written before.

    `publish(cockpit)` is called in the training's thread whenever there is something new. A second
    one for the same folder, as when its cell is run again, ends the first.
    """

    flying: ClassVar[dict[Path, "Cockpit"]] = {}

    def __init__(self, task, config, seed: int = 0, folder: str | Path = "runs/cockpit") -> None:
        self.task, self.config, self.seed, self.folder = task, config, seed, Path(folder)
        self.rule, self.value = "projected", config.multiplier_start
        self.publish: Callable[[Cockpit], None] = lambda cockpit: None
        self.thread, self.wake, self.state, self.error = None, threading.Event(), "ready", ""
        self.busy = False
        if before := self.flying.get(self.folder.resolve()):
            before.close()
        self.flying[self.folder.resolve()] = self
        self._clear()
        if (self.folder / "last.pt").exists():
            self.rows = runs.read_checkpoint(self.folder, "last.pt")["rows"]
        atexit.register(self.close)

    def _clear(self):
        self.rows, self.flight, self.until, self.began = [], None, 0, None
        self.closed, self.pace = False, 0.0

    @property
    def iteration(self) -> int:
        """Iterations that are done."""
        return len(self.rows)

    @property
    def running(self) -> bool:
        """Whether an iteration is going on, or about to."""
        return self.busy and self.thread is not None and self.thread.is_alive()

    def start(self, until: int | None = None) -> None:
        """Train on, to iteration `until` or the end; returns at once."""
        self.until = min(until or self.config.iterations, self.config.iterations)
        self.busy = True
        if self.thread is None or not self.thread.is_alive():
            self.closed, self.error, self.state = False, "", "starting"
            self.thread = threading.Thread(target=self._train, daemon=True)
            self.thread.start()
        self.wake.set()

    def step(self) -> None:
        """One iteration more."""
        self.start(self.iteration + 1)

    def pause(self) -> None:
        """Stop after the iteration that is going on, and save."""
        self.until = self.iteration

    def steer(self, rule: str, value: float | None = None) -> None:
        """Another rule for λ from the next iteration on; `value` is λ under "fixed"."""
        if rule not in RULES:
            raise ValueError(f"rule must be one of {', '.join(RULES)}, got {rule!r}")
        self.rule, self.value = rule, self.value if value is None else float(value)

    def run(self, iterations: int) -> None:
        """Train for so many iterations, and wait; stopping the cell pauses and saves."""
        self.start(self.iteration + iterations)
        try:
            while self.running:
                time.sleep(0.05)
        except KeyboardInterrupt:
            self.pause()
            while self.running:
                time.sleep(0.05)

    def close(self) -> None:
        """End the thread; what is trained is saved in the folder."""
        self.closed = True
        self.wake.set()
        if self.thread is not None:
            self.thread.join()

    def reset(self) -> None:
        """Throw the run folder away: the next start begins anew."""
        self.close()
        if (self.folder / "config.json").exists():
            shutil.rmtree(self.folder)
        self._clear()
        self.thread, self.state = None, "ready"
        self.publish(self)

    def _train(self):
        given = self.task, self.config, self.seed
        options = {"folder": self.folder, "quiet": True, "learner_type": steered(self.config)}
        options["resume"] = (self.folder / "config.json").exists()
        try:
            with self.task.vector_env(1, FLIGHT, autoreset=False) as self.env:
                runs.train(*given, drive=self._drive, **options)
                if not self.closed:
                    self.flight = flown(runs.load(self.folder).actor, self.env)
                    self.state = "finished"
        except Exception as error:
            self.state, self.error = "stopped", str(error)
        self.publish(self)

    def _drive(self, pair, rows, save):
        """Asked before each iteration; the training waits in here while it is paused."""
        self.rows, now = rows, time.perf_counter()
        if self.began is not None:
            took = now - self.began
            self.pace += (0.3 if self.pace else 1.0) * (took - self.pace)
        pausing = len(rows) >= self.until
        if rows and (pausing or self.flight is None or now - self.flew > 1):
            self.flight, self.flew = flown(pair.learner.actor, self.env), time.perf_counter()
        if pausing or self.closed:
            save()
        while len(rows) >= self.until and not self.closed:
            self.state = "paused"
            self.publish(self)
            self.busy = len(rows) < self.until  # not, unless it was started in between
            self.wake.wait()
            self.wake.clear()
        self.state = "paused" if self.closed else "running"
        self.publish(self)
        pair.call("steer", self.rule, self.value)
        self.began = time.perf_counter()
        return not self.closed


def news(cockpit: Cockpit) -> dict[str, Any]:
    """What the picture is told: the log so far and the latest flight."""
    told = {"iteration": cockpit.iteration, "state": cockpit.state, "rule": cockpit.rule}
    flight = cockpit.flight and scenes.one_flight(cockpit.task, cockpit.flight)
    return told | {"log": scenes.log_of(cockpit.task, cockpit.rows), "flight": flight}


def line(cockpit: Cockpit) -> str:
    """The state in words, with the time left."""
    last = cockpit.config.iterations
    if cockpit.error:
        return cockpit.error
    words = f"{cockpit.state}, iteration {cockpit.iteration} of {last}"
    if not cockpit.pace:
        return words
    left = cockpit.pace * (last - cockpit.iteration)
    return f"{words}, {cockpit.pace:.1f} s each, {left // 60:.0f} min {left % 60:.0f} s to the end"


def controls(cockpit: Cockpit) -> widgets.Widget:
    """The cockpit's buttons, its progress, and the feed that the picture reads."""
    names = ("▶ Start", "❚❚ Pause", "One step", "Reset")
    actions = cockpit.start, cockpit.pause, cockpit.step, cockpit.reset
    buttons = [widgets.Button(description=name) for name in names]
    for b, action in zip(buttons, actions, strict=True):
        b.on_click(lambda _, action=action: action())
    rule = widgets.ToggleButtons(options=RULES, value=cockpit.rule, description="rule of λ")
    rule.style.button_width = "82px"
    value = widgets.BoundedFloatText(max(cockpit.value, 1.0), min=0, max=1000, step=0.5,
                                     description="fixed at")  # fmt: skip
    value.layout.width = "170px"
    for control in rule, value:
        control.observe(lambda _: cockpit.steer(rule.value, value.value), "value")
    bar = widgets.IntProgress(0, min=0, max=cockpit.config.iterations)
    said, feed = widgets.Label(line(cockpit)), widgets.HTML()

    def publish(now: Cockpit) -> None:
        bar.value, said.value = now.iteration, line(now)
        told = html.escape(json.dumps(player.plain(news(now)), separators=(",", ":")))
        feed.value = f'<div class="safemarl-feed" hidden>{told}</div>'

    cockpit.publish = publish
    publish(cockpit)
    rows = widgets.HBox(buttons), widgets.HBox([rule, value]), widgets.HBox([bar, said])
    return widgets.VBox([*rows, feed])


def somebody_is_there() -> bool:
    """Whether a person could answer this kernel: not under nbval, nbconvert or a plain Python."""
    kernel = getattr(get_ipython(), "kernel", None)
    return bool(getattr(kernel, "_allow_stdin", False))


def show(task, config, recorded: str | Path, still: str, alt: str, **options) -> Cockpit:
    """Display recorded trainings (a file of `tests/benchmarks/watched.py`), and the controls where
    somebody is there to use them; `options` are those of `Cockpit`."""
    cockpit = Cockpit(task, config, **options)
    watched = json.loads(Path(recorded).read_text())
    player.show("training", watched | {"live": somebody_is_there()}, still, alt)
    if somebody_is_there():
        said = {"text/plain": "(the controls of a training: run this cell)"}  # saved, and reopened
        display(controls(cockpit)._repr_mimebundle_() | said, raw=True)
    return cockpit
