"""The numbers that lesson 03's text quotes: cell → number → how it is computed."""

import inspect
import json
import re
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np

from safemarl_lite.lagrangian import gae
from safemarl_lite.lessons import lesson_03
from safemarl_lite.swarm import SwarmTask

BOOK = Path(__file__).parents[2] / "notebooks/03_centralized_critics.ipynb"
SOURCE = {c["id"]: "".join(c["source"]) for c in json.loads(BOOK.read_text())["cells"]}


def setting(cell, pattern):
    """A setting as the page's own code has it."""
    return lambda: float(re.search(pattern, SOURCE[cell])[1])


def solution(exercise, name, *arguments):
    """What the page's own solution of an exercise gives."""
    space = {"np": np}
    exec(re.search(r"```python\n(.*?)```", SOURCE[f"ex-{exercise}-help"], re.S)[1], space)
    return space[name](*(np.array(x, float) for x in arguments))


def game():
    """The last drone's eight outcomes: hidden x, own coin a, return G."""
    x, a, w = np.array(list(product((0, 1), (0, 1), (-1, 1)))).T
    return x, a, 6 * x + 2 * a + w


def gradient(value_of):
    x, a, G = game()
    return (a - 0.5) * (G - value_of(x))


@cache
def split():
    G, s = [0, 2, 2, 4, 10, 12], [0, 0, 0, 0, 1, 1]
    return solution(2, "split_variance", G, s)


@cache
def two_drones():
    space = {"np": np, "product": product, "print": lambda *a, **k: None}
    for cell in ("two-run", "two-check", "two-solve"):
        exec(SOURCE[cell].split("\nlesson_03.")[0], space)
    return space


def point(rule, k):
    return lambda: two_drones()["points"][rule][k]


def slope_of_own():
    """Of 3 √(τ / 2.5), the reward at which own shares come to rest, at τ = 0.6."""
    τ = two_drones()["τ"]
    (u, v, _, J_r), h = two_drones()["points"]["own shares"], 1e-5
    assert np.isclose(J_r, 3 * (τ / 2.5) ** 0.5) and np.isclose(2 * u**2 + 2 * v**2, τ)
    return 3 * (((τ + h) / 2.5) ** 0.5 - ((τ - h) / 2.5) ** 0.5) / (2 * h)


def state_size():
    task = SwarmTask(n_drones=5, n_obstacles=3)
    return 6 * task.n_drones + 3 * task.n_obstacles + 3


def view_size():
    """Own velocity and way, the nearest drone, the nearest obstacle: the page's `narrow`."""
    space = {"np": np}
    exec(SOURCE["pilot"], space)
    task = SwarmTask(n_drones=5, n_obstacles=3, n_neighbours=4, n_obstacles_seen=3)
    return space["narrow"](np.zeros(task.view_size), 4).shape[-1]


def batch_of_own_shares():
    """Samples of one drone's share in a batch of the race: flights × drones."""
    return float(re.search(r"after 300 batches of (\d+)", SOURCE["toy"])[1]) * 10


def level(figure):
    """The level of the interval whose percentiles a figure asks for."""
    source = inspect.getsource(getattr(lesson_03, figure))
    low, high = re.search(r"percentile\(\S+ \(([\d.]+), ([\d.]+)\)", source).groups()
    return (float(high) - float(low)) / 100


def given(value):
    """A number of a question or an example that is set, not computed."""
    return lambda: value


def terminal_target(column):
    return solution(3, "two_targets", [1], [0], [[10, 3]], [0], 0.9)[0, column]


QUOTED = {
    "cold-open": {
        "2,000": setting("cold-open-figure", r"repeats=(\d+)"),
        "20": setting("cold-open-figure", r"flights=(\d+)"),
    },
    "law": {"11": lambda: game()[2].var()},
    "exact-read": {
        "0.5": lambda: gradient(lambda x: 0).mean(),
        "6.5": lambda: gradient(lambda x: 0).var(),
        "2.5": lambda: gradient(lambda x: 4).var(),
        "0.25": lambda: gradient(lambda x: 6 * x + 1).var(),
        "0.95": lambda: inspect.signature(gae).parameters["trace"].default,
    },
    "ex-1-help": {"0.65": lambda: solution(1, "my_explained_variance", [0, 2, 4, 6], [2, 3, 5, 7])},
    "ex-2-help": {
        "1.667": lambda: split()[0],
        "18": lambda: split()[1],
        "19.667": lambda: sum(split()),
        "10": given(10),  # two returns of the example
        "12": given(12),
    },
    "data": {"17": view_size},
    "fly-text": {"0.3": setting("fly", r"SIGMA = ([\d.]+)")},
    "predict-2": {"42": state_size},
    "gradient-text": {"95 %": lambda: level("critics_figure")},
    "bars-read": {"500": setting("collect", r"fly\(task, (\d+), seed=1")},
    "fault": {"−10": setting("fault-run", r"torch.tensor\(\[(-[\d.]+), 2.0\]")},
    "ex-3-help": {
        "0.9": given(0.9),  # γ and V^r of the example
        "10": lambda: terminal_target(0),
        "2.7": lambda: terminal_target(1),
    },
    "two": {"64": lambda: len(two_drones()["coins"])},
    "two-learn": {
        "0.6": lambda: two_drones()["τ"],
        "1.225": slope_of_own,
        "1.291": point("team cost", 2),
        "1.549": point("team cost", 3),
        "2.041": point("own shares", 2),
        "1.470": point("own shares", 3),
    },
    "snr-text": {"90 %": lambda: level("signal_figure")},
    "away": {
        "0.1": setting("toy", r"budget=([\d.]+)"),
        "300": setting("toy", r"for _ in range\((\d+)\)"),
    },
    "away-read": {"320": batch_of_own_shares},
    "attention": {"42": state_size},
    "summary": {
        "−10": setting("fault-run", r"torch.tensor\(\[(-[\d.]+), 2.0\]"),
        "0.99": given(0.99),  # the imagined critic of question 2
        "0.3": given(0.3),
        "10": given(10),  # the factor of question 4, the drones of the project
    },
}
