"""What each interactive picture is given: exact tables that its script only looks up and mixes.

`front`, `dual` (01) · `flight` (00, 02, 05) · `feasible` (02) · `attention` (03, 06) · `price` (04)
· flights and logs of trainings (05, 06; see `cockpit.py`).
"""

import numpy as np
import torch

from .. import cmdp
from ..cmdp import TabularCMDP
from ..swarm.task import GRAVITY, SwarmTask, formation, least_goal_radius, lengths
from ..swarm.tasks import AWAY
from .tasks import delivery, grid_world


def corners(task: TabularCMDP, steepest: float = 1e5) -> list[cmdp.Evaluation]:
    """The deterministic policies at the corners of the front, by rising cost (one budget).

    Between two neighbours the line of their crossing price is tried: a best response above it is a
    corner in between, none means that the front is straight there.
    """

    def between(low, high):
        price = (high.J_r - low.J_r) / (high.J_c[0] - low.J_c[0])
        bound, found = cmdp.dual_function(task, [price])
        on_line = low.J_r - price * (low.J_c[0] - task.thresholds[0])
        if bound - on_line <= 1e-9 * (1 + abs(on_line)):
            return []
        return [*between(low, found), found, *between(found, high)]

    ends = [cmdp.dual_function(task, [price])[1] for price in (steepest, 1e-7)]
    return [ends[0], *between(*ends), ends[1]]


def front(threshold: float = 0.5) -> dict:
    """Lesson 01's corridor: corners of its front, the flight of a drone, the first cut at λ = 0."""
    task = grid_world(threshold)
    rows = [
        {
            "J_c": e.J_c[0],
            "J_r": e.J_r,
            "action": e.occupancy.argmax(1),
            "visits": e.occupancy.sum(1),
        }
        for e in corners(task)
    ]
    P = task.transition.reshape(8, 8, 3, 3, 8, 8)
    fly = np.stack([P[:, 0, :, 0].sum(-1), P[0, :, 0].sum(-2)])  # one drone's moves: (2, 8, 3, 8)
    first = cmdp.dual_function(task, [0.0])[1]
    first = {"J_c": first.J_c[0], "J_r": first.J_r}
    return {"corners": rows, "fly": fly, "first": first, "budget": threshold, "discount": 0.95}


def price() -> dict:
    """Lesson 04's delivery: its tables, optimum, and C, the cost of a flight by the corridor."""
    task = delivery()
    best = cmdp.solve_lp(task)
    C = task.discount / (1 - 0.2 * task.discount)
    tables = {"transition": task.transition, "reward": task.reward, "cost": task.costs[0]}
    numbers = {"τ": task.thresholds[0], "star": best.multipliers[0], "share": best.policy[0, 0]}
    return {**tables, **numbers, "C": C, "discount": task.discount}


def one_flight(task, one: dict[str, np.ndarray], title: str = "") -> dict:
    """Swarm 0 of what `evaluate.rollout(record=True)` gave, until it ended.

    `drift` (M, 3) in m/s, if given, is that of the obstacles; they are recorded where they ended.
    """
    length = int(one["length"][0])
    told = {
        "title": title,
        "positions": one["positions"][: length + 1, 0].round(2),
        "arrived": bool(one["success"][0]),
        "costs": one["costs"][:length, 0].sum(-1),
    }
    if task.kind == "navigation":
        return told | {"landmarks": one["landmarks"][0].round(2)}
    balls = one["obstacles"][0]
    if "drift" in one:
        there = balls[:, 2] < AWAY
        ago = task.dt * (len(one["positions"]) - 1 - np.arange(length + 1))
        balls = balls[there] - ago[:, None, None] * one["drift"][there]
    return told | {"obstacles": balls.round(2)}


def about(task) -> dict:
    """What the pictures of a task's flights must know, in m and s."""
    names = "target goal_radius d_safe obstacle_radius dt" * (task.kind != "navigation")
    names = [*names.split(), "threshold", "discount"]
    return {"kind": task.kind} | {name: getattr(task, name) for name in names}


def flight(task, flown: dict[str, dict[str, np.ndarray]], start: int = 0, words: str = "") -> dict:
    """Flights to play side by side; title → what `evaluate.rollout(record=True)` gave (swarm 0).
    `start` is the step that is shown first, `words` say how several flights differ."""
    flights = [one_flight(task, one, title) for title, one in flown.items()]
    return {"flights": flights, "start": start, "words": words} | about(task)


def last_flights(watched: dict, start: int = 0, words: str = "") -> dict:
    """Of recorded trainings (`tests/benchmarks/watched.py`) the last flights, side by side."""
    told = {name: part for name, part in watched.items() if name != "runs"}
    runs = [run for run in watched["runs"] if run["flights"]]
    flights = [run["flights"][-1] | {"title": run["name"]} for run in runs]
    return told | {"flights": flights, "start": start, "words": words}


def log_of(task, rows: list[dict[str, float]]) -> dict[str, list[float]]:
    """A training's log → what is won (arrivals, or the cost of an episode), Ĵ_c, λ."""
    first = "return" if task.kind == "navigation" else "success"
    names = {"won": first, "cost": "cost", "price": "lambda_0"}
    log = {name: [float(row[column]) for row in rows] for name, column in names.items()}
    return log if first == "success" else log | {"won": [-x for x in log["won"]]}


def feasible(most: int = 12) -> dict:
    """The draft's swarm to be mended: tightest places of 1 … `most` drones 1 m apart, the task."""
    task, tables = SwarmTask(), []
    for n in range(1, most + 1):
        places = formation(n, 1.0)
        reach = lengths(places).max()
        row = {"places": places, "least": least_goal_radius(n, 1.0), "room": reach, "reach": reach}
        tables.append(row)
    names = {"mass": task.mass, "d_safe": task.d_safe, "jitter": task.start_jitter}
    return {**names, "gravity": GRAVITY, "tables": tables}


def attention(critic, views, places, discs, signal, scale=1.0, shift=0.0) -> dict:
    """One flight under an `AttentionCritic` without actions: views (T, N, O), places (T, N, 2),
    discs [x, y, radius, kind]. The critic is asked with all agents, and without each of them."""

    def asked(keep):
        with torch.no_grad():
            values, weights = critic(views[:, keep], return_weights=True)
        values = values[..., signal] * scale + shift
        return {"values": values.numpy().round(4), "weights": weights.numpy().round(3)}

    agents = list(range(views.shape[1]))
    without = [asked([i for i in agents if i != j]) for j in agents]
    return {**asked(agents), "without": without, "places": places.round(2), "discs": discs}
