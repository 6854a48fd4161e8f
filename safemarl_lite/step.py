"""What a step of a batch of environments returns; both tasks share it, so one learner reads both.

Axis order: environment E, agent N, then O a view, S a global state, m constraints.
"""

from typing import NamedTuple

import numpy as np


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
