"""The numbers that lesson 07 quotes, and where each comes from."""

import json
import re
import sys
from functools import cache
from pathlib import Path
from statistics import mean

import numpy as np

from safemarl_lite import cmdp, statewise
from safemarl_lite.lessons import tasks
from safemarl_lite.swarm import SwarmTask, SwarmTasks
from safemarl_lite.swarm.view import CROWD as PAIRS

ROOT = Path(__file__).parents[2]


def read(name):
    return json.loads((ROOT / f"figures/{name}.json").read_text())


MEASURED = (ROOT / "figures/07_swarm.json").is_file()
SWARM = read("07_swarm") if MEASURED else None
FLOWN, TABLE = read("any_swarm")["drawn"], read("benchmark")
CROWD = TABLE["crowd"]
SAID = {}  # numbers as they are printed → their values, of the text that is being made


def num(x, places=0):
    printed = f"{x:,.{places}f}".replace("-", "−")
    SAID[printed] = x
    return printed


def pct(x, places=1):
    printed = f"{100 * x:.{places}f} %"
    SAID[printed] = x
    return printed


def said(*texts):
    """The numbers that these texts print, as a row of `QUOTED`."""
    SAID.clear()
    for text in texts:
        text()
    counted = {n: x for n, x in SAID.items() if len(re.findall(r"\d", n)) > 1 or "%" in n}
    return {printed: lambda value=value: value for printed, value in counted.items()}


def clean(pilot, n, part="all"):
    """Share of flights without a violation."""
    return FLOWN[pilot][str(n)][part]["clean"][0]


def drone(pilot, n):
    """Share of drones that come home and are never too near to anything."""
    return FLOWN[pilot][str(n)]["all"]["agent"][0]


def flights(pilot, n):
    return FLOWN[pilot][str(n)]["all"]["flights"]


def verdict():
    """What the trainings of the swarm say, by the means over their seeds."""
    runs = [[row[key] for row in SWARM[name]] for key in ("above", "violating flights", "return")
            for name in ("scalar", "statewise")]  # fmt: skip
    (a, b), (v, w), (r, q) = (map(mean, runs[k : k + 2]) for k in (0, 2, 4))
    apart = all(x > y for x, y in zip(*runs[:2], strict=True))
    letter = "c" if not apart else "a" if q > r - 0.2 else "b"
    worst = [max(row["worst start"] for row in SWARM[name]) for name in ("scalar", "statewise")]
    words = {
        "a": "In every seed fewer, at the same return.",
        "b": "In every seed fewer, and the return pays for it.",
        "c": "But the seeds differ more than the learners do, and not all of them the same way: "
        "so few say nothing more.",
    }[letter]
    return (
        f"**({letter}).** Above τ are {pct(a, 2)} of the visited states with the scalar price and "
        f"{pct(b, 2)} with λ(o), on the mean over the seeds; flights with a violation are "
        f"{pct(v, 2)} and {pct(w, 2)}, the returns {num(r, 2)} and {num(q, 2)}. {words} The worst "
        f"start of all costs {num(worst[0], 1)} and {num(worst[1], 1)}, far above τ = 0.1 in "
        f"{'both' if min(worst) > 0.2 else 'one of them'}."
    )


def ratios(word):
    """Cost of a drone's step against the number of drones, or of swarms."""
    return {int(name.split()[0]): row["ratio"] for name, row in CROWD.items() if word in name}


def crowd_words():
    """What the table says of large swarms and of many."""
    drones, swarms = ratios("drones in"), ratios("swarms of")
    wins = {int(re.search(r"\d+", name)[0]): row["ratio"] for name, row in TABLE["search"].items()}
    first = min(n for n in wins if all(x > 1 for m, x in wins.items() if m >= n))
    within = [n for n, x in drones.items() if x <= 1.25]
    return (
        f"With 500 drones a drone's step costs {num(drones[500], 1)} of that, with 128 "
        f"{num(drones[128], 1)}; within a quarter it stays up to {num(max(within))} drones. One "
        f"swarm alone pays {num(swarms[1], 1)}, because a step of the arrays has a price of its "
        f"own; 512 swarms {num(swarms[512], 1)}. To find the neighbours alone, the tree is faster "
        f"than all pairs from {num(first)} drones on, with 500 by a factor of {num(wins[500])}."
    )


@cache
def wall():
    """The passage: its two optima, each as exact values."""
    task = tasks.passage()
    return cmdp.evaluate(task, cmdp.solve_lp(task).policy), statewise.solve_states(task).exact


@cache
def courier():
    task = tasks.courier()
    return statewise.solve_states(task).exact


@cache
def mixture():
    """The dual's mixture: its reward, and V^c of the policy that flies and works."""
    task, working = tasks.courier(), np.array([[0, 1.0], [0, 1]])
    exact = cmdp.evaluate(task, working)
    share = task.thresholds[0] / exact.v_c[0].max()  # the rest of the flights stays at home
    return share * exact.J_r, exact.v_c[0].max(), share


def above(states=slice(-1)):
    """Share of the discounted visits above τ, budget kept in expectation; in the air."""
    visits, over = wall()[0].occupancy.sum(1)[states], wall()[0].v_c[0, states] > 0.3 + 1e-9
    return visits[over].sum() / visits.sum()


@cache
def table():
    return read("07_statewise")


def counted(name):
    return lambda: table()[name]


def oracles():
    sys.path.insert(0, str(ROOT / "tests"))
    from benchmarks import statewise_oracles

    return statewise_oracles


def last():
    return np.loadtxt(ROOT / "figures/07_colleague.csv", delimiter=",", skiprows=1)[-1]


TASK = tasks.passage()
ORACLES = (ROOT / "tests/benchmarks/statewise_oracles.py").read_text()
STEPS = int(re.search(r"steps: int = ([\d_]+)", ORACLES)[1])
QUOTED = {
    "title": {
        "0.3": lambda: TASK.thresholds[0],
        "13": lambda: SwarmTasks().n_drones,
        "128": lambda: max(map(int, FLOWN["learned"])),
        **said(lambda: pct(clean("learned", 128))),
    },
    "hides": {"0.1": lambda: TASK.costs.max(), "0.3": lambda: TASK.thresholds[0]},
    "hides-answer": {
        "0.736": lambda: wall()[0].v_c[0, 0],
        "0.757": lambda: wall()[0].v_c[0].max(),
        "20.5 %": above,
        "−5.72": lambda: wall()[0].J_r,
        "−6.70": lambda: wall()[1].J_r,
        "0.1": lambda: SwarmTask().threshold,
    },
    "ex-1-end": {
        "0.757": lambda: wall()[0].v_c[0].max(),
        "0.020": lambda: above(slice(None)),
        "0.205": above,
    },
    "feasible": {"0.8": lambda: tasks.courier().discount},
    "feasible-text": {"1.001": lambda: 1 + oracles().chords(tasks.courier())[0].max()},
    "dual": {"0.678": lambda: courier().J_r},
    "dual-answer": {
        "1.597": lambda: mixture()[0],
        "0.2": lambda: mixture()[2],
        "0.678": lambda: courier().J_r,
    },
    "price": {"60": counted("problems")},
    "price-answer": {
        "26": counted("price at the state alone at the optimum"),
        "60": counted("problems"),
        "13": counted("state alone: ends within the budget, below the optimum"),
        "21": counted("state alone: over the budget"),
        "49": counted("carried price at the optimum"),
        "11": lambda: table()["problems"] - table()["carried price at the optimum"],
        "5,000": lambda: STEPS,
        "53": counted("mixture in one state"),
    },
    "ex-2-end": {"12": lambda: 4 + 8},
    "ex-3-end": {
        "0.05": lambda: 0.5 * 0.1,  # λ that a flight without a cost brings to 0
        "0.1": lambda: 0.05 / 0.5,
        "0.5": lambda: 0.05 / 0.1,
        "100": lambda: 4 / 0.04,
        "0.04": lambda: 4 / 100,
    },
    "numbers": {
        "0.99": lambda: 0.92 ** (1 / 8),
        "0.92": lambda: 0.99**8,
        "128": lambda: 128,
        "0.28": lambda: 0.99**128,
        "13": lambda: SwarmTasks().n_drones,
        "16": lambda: 16,
        **said(
            lambda: pct(drone("learned", 16), 2),
            lambda: pct(drone("learned", 16) ** 128, 0),
        ),
    },
    "ex-4": {
        "95 %": lambda: 0.95,  # the level of any_swarm.py's bands
        "100 %": lambda: 1.0,
        "200": lambda: flights("learned", 128),
        "20": lambda: flights("cbf-qp", 128),
        "40": lambda: flights("pilot", 128),
        "128": lambda: max(map(int, FLOWN["pilot"])),
        **said(
            lambda: pct(clean("learned", 128)),
            lambda: pct(clean("learned", 128, "moving")),
            lambda: pct(drone("learned", 128), 2),
            lambda: pct(drone("learned", 128) ** 128),
            lambda: pct(clean("straight", 128)),
            lambda: pct(clean("cbf-qp", 128)),
            lambda: pct(clean("pilot", 128)),
            lambda: pct(clean("by hand", 128)),
            lambda: pct(drone("straight", 128)),
        ),
    },
    "ex-4-end": {
        "0.9": lambda: 0.9992**128,
        "128": lambda: 128,
        "0.9992": lambda: 0.9 ** (1 / 128),
        "24": lambda: PAIRS,
        "64": lambda: 64,  # of `crowd` in table.py
    },
    "sweep": {
        **said(crowd_words),
        **{str(n): lambda n=n: n for n in (128, 500, 512)},
    },
    "bug-answer": {"0.610": lambda: last()[0], "0.678": lambda: courier().J_r},
    "limits": {"99 %": lambda: 0.28 ** (1 / 128), "128": lambda: 128, "28 %": lambda: 0.99**128},
}
QUOTED["crowd-text"] = {"13": lambda: SwarmTasks().n_drones, "64": lambda: 64}  # of its cell
if MEASURED:
    QUOTED |= {
        "network-table": said(
            lambda: num(SWARM["settings"]["iterations"]),
            lambda: num(SWARM["settings"]["num_envs"]),
            lambda: num(SWARM["flights"]),
        ),
        "network-answer": {
            **said(verdict, lambda: num(SWARM["flights"])),
            "0.1": lambda: SwarmTask().threshold,
            "0.73": lambda: 2 * 0.99**100,
        },
    }
