"""What a step of a batch of environments returns; both tasks share it, so one learner reads both.

Axis order: environment E, agent N, then O a view, S a global state, m constraints.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class Step(NamedTuple):
    """What a step of E environments returns."""

    observations: np.ndarray  # (E, N, O), of the new episode where one ended
    state: np.ndarray  # (E, S), likewise
    rewards: np.ndarray  # (E, N)
    costs: np.ndarray  # (E, N, m), each agent's share of each constraint
    terminated: np.ndarray  # (E,) bool
    truncated: np.ndarray  # (E,) bool
    next_observations: np.ndarray  # (E, N, O), of the true successor, for bootstrapping
    next_state: np.ndarray  # (E, S), likewise
    contacts: np.ndarray  # (E,) pairs of bodies that touch
    surrogate: np.ndarray  # (E, N, m) ≥ costs: a ramp of width `margin` in place of the indicator


def first_episodes(data: dict[str, Tensor]) -> Tensor:
    """1 in the first episode of every environment of a batch, 0 after it, (T, E)."""
    ended = data["terminated"] + data["truncated"]
    return (ended.cumsum(0) - ended == 0).float()


def episode_means(data: dict[str, Tensor], discount: float) -> dict[str, float]:
    """Means over the first episode of every environment of a batch.

    data: `rewards` (T, E, N), `costs` (T, E, N, m), `terminated` and `truncated` (T, E). `cost` and
    `cost_j` are Ĵ_c, the discounted cost of the whole team; `return` is the mean over agents.
    """
    first = first_episodes(data)
    weight = first * discount ** torch.arange(len(first))[:, None]
    costs = data["costs"].sum(2)  # (T, E, m), the whole team's
    reward = data["rewards"].mean(2)
    discounted = (costs * weight[..., None]).sum(0).mean(0)
    return {
        "return": float((reward * first).sum(0).mean()),
        "return_discounted": float((reward * weight).sum(0).mean()),
        "cost": float(discounted.sum()),
        **{f"cost_{j}": float(x) for j, x in enumerate(discounted)},
        "violation_rate": float(((costs.sum(-1) * first).sum(0) > 0).float().mean()),
        "success": float((data["terminated"] * first).sum(0).mean()),
        "length": float(first.sum(0).mean()),
    }
