"""Advantages, the clipped objective and the multiplier of a constrained policy-gradient method.

Notebook: `04_cost_advantage_and_lagrangian`, which derives every line beside what the draft prints.
Signs: rewards are maximised, costs are to stay low, λ ≥ 0 is the price of one unit of discounted
cost in units of discounted reward. Symbols: x_t one signal (reward or one cost), V its own critic,
δ its TD error, A its advantage, J_c the discounted cost of an episode, τ its threshold.

Sources: Schulman et al. 2016 (GAE, eq. 16), 2017 (clipping, eq. 7); Altman 1999 (the Lagrangian);
Stooke et al. 2020 (PID multipliers).
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


def gae(
    signal: Tensor,
    values: Tensor,
    next_values: Tensor,
    terminated: Tensor,
    ended: Tensor,
    discount: float = 0.99,
    trace: float = 0.95,
) -> Tensor:
    """Generalised advantage estimates of one or more signals, each with its own critic.

    δ_t = x_t + γ (1 − terminated_t) V(s_{t+1}) − V(s_t)
    A_t = δ_t + γ · trace · (1 − ended_t) · A_{t+1}

    signal, values, next_values: (T, …); next_values[t] = V of the true successor of s_t, also
    where the episode was cut off (truncated: bootstrap). terminated, ended: (T, …) bool that
    broadcast from the left; ended = terminated or truncated. Returns (T, …).
    """
    if not signal.shape == values.shape == next_values.shape:
        shapes = [tuple(x.shape) for x in (signal, values, next_values)]
        raise ValueError(f"signal, values and next_values must have one shape, got {shapes}")
    if not (0 <= discount <= 1 and 0 <= trace <= 1):
        raise ValueError(f"discount and trace lie in [0, 1], got {discount} and {trace}")

    def unless(mask):
        mask = torch.as_tensor(mask, dtype=signal.dtype)
        return 1.0 - mask.reshape(*mask.shape, *[1] * (signal.dim() - mask.dim()))

    goes_on, carries = unless(terminated), unless(ended)
    delta = signal + discount * goes_on * next_values - values
    advantage = torch.zeros_like(signal)
    ahead = torch.zeros_like(signal[0])
    for t in reversed(range(len(signal))):
        ahead = delta[t] + discount * trace * carries[t] * ahead
        advantage[t] = ahead
    return advantage


def combined_advantage(
    reward_advantage: Tensor, cost_advantages: Tensor, multipliers: Tensor
) -> Tensor:
    """A = (A^r − Σ_j λ_j A^{c_j}) / (1 + Σ_j λ_j), in units of the standard deviation of A^r.

    reward_advantage (…), cost_advantages (…, m), multipliers (m,), or (…, m) for a price of each
    state. Both advantages are centred; both are divided by the *reward's* deviation, so that λ
    keeps its meaning as a price.
    """
    scale = reward_advantage.std() + 1e-8
    reward = (reward_advantage - reward_advantage.mean()) / scale
    cost = (cost_advantages - cost_advantages.flatten(0, -2).mean(0)) / scale
    return (reward - (cost * multipliers).sum(-1)) / (1 + multipliers.sum(-1))


def clipped_loss(log_ratio: Tensor, advantage: Tensor, clip: float = 0.2) -> Tensor:
    """−E[min(w A, clamp(w, 1 ± clip) A)] with w = exp(log_ratio): a loss, to be *descended*."""
    ratio = log_ratio.exp()
    return -torch.min(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage).mean()


def aimed_at(thresholds: tuple[float, ...], tighten: float) -> np.ndarray:
    """τ_j − tighten, (m,): a learner aims below its budgets; `ValueError` where nothing is left."""
    aims = np.array(thresholds) - tighten
    if tighten > 0 and (aims <= 0).any():  # λ could only rise
        left = f"leaves nothing of the threshold {min(thresholds):g}; choose it smaller"
        raise ValueError(f"tighten={tighten:g} {left}")
    return aims


@dataclass
class Multipliers:
    """λ_j ← max(0, λ_j + rate · (Ĵ_{c_j} − τ_j)), for each of m constraints, optionally PID.

    With violation e_j = clip(Ĵ_{c_j} − τ_j, ±cap), step α_j = rate + growth · I_j (a price
    may have to rise over orders of magnitude), integral I_j ← max(0, I_j + α_j e_j) and

        λ_j = max(0, I_j + proportional · e_j + derivative · max(0, Ĵ_{c_j} − previous Ĵ_{c_j}))

    both at most `most`. A plain gradient step on a scalar: Adam would move by ± its rate whatever
    the violation. The sign of e_j is kept, so that λ can fall. `values` is (m,); the thresholds are
    in units of Ĵ_c.
    """

    thresholds: np.ndarray  # τ (m,), or a number
    rate: float = 0.05
    initial: float = 0.0
    proportional: float = 0.0
    derivative: float = 0.0
    cap: float = float("inf")
    growth: float = 0.0
    most: float = float("inf")

    def __post_init__(self) -> None:
        self.thresholds = np.atleast_1d(np.asarray(self.thresholds, float))
        for name in ("thresholds", "rate", "initial", "proportional", "derivative", "growth"):
            given = np.asarray(getattr(self, name))
            if not ((given >= 0) & (given < np.inf)).all():
                raise ValueError(f"{name} must be ≥ 0 and finite, got {given}")
        for name in ("cap", "most"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be ≥ 0, got {getattr(self, name)}")
        self.integral = np.full(self.thresholds.shape, float(self.initial))
        self.previous = np.full(self.thresholds.shape, np.nan)
        self.values = self.integral.copy()

    def update(self, costs: np.ndarray) -> np.ndarray:
        """One step from the estimates Ĵ_c (m,) → λ (m,); raises `ValueError` on NaN or shape."""
        costs = np.atleast_1d(np.asarray(costs, float))
        if costs.shape != self.thresholds.shape or not np.isfinite(costs).all():
            raise ValueError(f"costs must be {self.thresholds.shape} finite numbers, got {costs}")
        violation = np.clip(costs - self.thresholds, -self.cap, self.cap)
        rise = np.maximum(0, np.nan_to_num(costs - self.previous))
        step = self.rate + self.growth * self.integral
        self.integral = np.clip(self.integral + step * violation, 0, self.most)
        self.values = self.integral + self.proportional * violation + self.derivative * rise
        self.values = np.clip(self.values, 0, self.most)
        self.previous = costs
        return self.values

    def state_dict(self) -> dict[str, list[float]]:
        return {name: getattr(self, name).tolist() for name in ("integral", "previous", "values")}

    def load_state_dict(self, state: dict[str, list[float]]) -> None:
        for name in ("integral", "previous", "values"):
            value = np.array(state[name], float)
            valid = (value >= 0) & (value < np.inf) | (name == "previous")
            if value.shape != self.thresholds.shape or not valid.all():
                raise ValueError(f"{name} of the multipliers is {value}")
            setattr(self, name, value)
