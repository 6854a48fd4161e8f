"""MAPPO with a multiplier network: a price λ(o) ≥ 0 for every view, beside the scalar.

Notebook: `07_scaling_and_guarantees`; the exact version is `statewise.py`. Wanted, in every state
that is visited and for each of N drones with its share c_i of the swarm's cost:

    N · V^{c_i}(s) ≤ τ,   which implies V^c(s) = Σ_i V^{c_i}(s) ≤ τ

The network reads a drone's own view o, so that it holds on average over the states that look alike.
With G_t = Σ_{k≥t} γ^{k−t} N c_{i,k} until the episode's end, one dual step and the price paid are

    λ ← argmin_{λ ≥ 0} E[(λ(o_t) − λ_old(o_t) − α (G_t − τ))²]  =  max(0, λ_old + α (V^c − τ))
    Λ_t = λ_scalar + Σ_{k ≤ t} λ(o_k)                                             (carried price)

The regression is the projected dual step without a bias from the noise of G: there is no maximum
inside the mean. What keeps it from oscillating: softplus with a negative output bias, a small α, a
capped G, clipped gradients, one step in `states_delay` iterations. Sources: Ma et al. 2021 (the
network, delayed slow steps); here the price is carried and the step a regression.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from .critics import Normaliser, mlp
from .lagrangian import gae
from .mappo import MAPPO, Data, MAPPOConfig
from .settings import Amount, Count, Positive


@dataclass(frozen=True)
class StatewiseConfig(MAPPOConfig):
    """Settings of `StatewiseMAPPO`: those of MAPPO-Lagrangian, and the multiplier network's."""

    algo: Literal["mappo-statewise"] = "mappo-statewise"
    states_rate: Amount = 0.005  # α, per step of the network
    states_start: Positive = 0.0025  # λ(o) at first: over 100 steps 0.25, about the scalar's start
    states_cap: Positive = 10.0  # of G
    states_delay: Count = 3  # iterations for one step of the network
    states_learning_rate: Positive = 1e-3
    hidden_states: Count = 64


class MultiplierNetwork(nn.Module):
    """λ(o) ≥ 0: views (…, O) → (…, m). Its last layer begins small, at λ = `start` everywhere."""

    def __init__(self, view_size: int, m: int, hidden: int, start: float) -> None:
        super().__init__()
        self.scale = Normaliser(view_size)
        self.net = mlp([view_size, hidden, hidden, m], gain=0.01)
        nn.init.constant_(self.net[-1].bias, float(np.log(np.expm1(start))))  # softplus⁻¹

    def forward(self, views: Tensor) -> Tensor:
        return nn.functional.softplus(self.net(self.scale(views)))


def costs_to_come(costs: Tensor, ended: Tensor, discount: float) -> Tensor:
    """G_t = N c_t + γ (1 − ended_t) G_{t+1}: costs (T, E, N, m), ended (T, E) → (T, E, N, m)."""
    nothing = torch.zeros_like(costs)
    return gae(costs.shape[2] * costs, nothing, nothing, ended, ended, discount, 1.0)


def carry(prices: Tensor, ended: Tensor) -> Tensor:
    """Σ λ over an episode's steps so far, (T, E, N, m); it starts anew after `ended` (T, E)."""
    carried, sums = torch.zeros_like(prices), torch.zeros_like(prices[0])
    for t, price in enumerate(prices):
        sums = sums + price
        carried[t] = sums
        sums = sums * (~ended[t])[:, None, None]
    return carried


class StatewiseMAPPO(MAPPO):
    """MAPPO-Lagrangian whose policy pays the carried price Λ_t, state by state."""

    PARTS = (*MAPPO.PARTS, "states", "states_optimizer")
    HALVES = False  # the network fits the batch of one learner

    def __init__(self, env, config: StatewiseConfig, seed: np.random.SeedSequence) -> None:
        super().__init__(env, config, seed)
        m, start = len(self.task.thresholds), config.states_start
        with torch.random.fork_rng():
            torch.manual_seed(int(seed.spawn(1)[0].generate_state(1)[0]))
            size = self.task.view_size, m, config.hidden_states, start
            self.states = MultiplierNetwork(*size)
        self.states_optimizer = torch.optim.Adam(
            self.states.parameters(), config.states_learning_rate
        )

    def price(self, data: Data, log: dict[str, float], values: Tensor, after: Tensor) -> Tensor:
        """Move the scalar and, one iteration in `states_delay`, the network → Λ (T, E, N, m)."""
        c, scalar = self.config, super().price(data, log, values, after)
        ended = (data["terminated"] + data["truncated"]) > 0
        ahead = costs_to_come(data["costs"], ended, self.task.discount)
        self.states.scale.update(data["view"])
        moves = self.skilled(log) and self.iteration % c.states_delay == 0
        if moves:
            self.fit(data["view"], ahead)
        with torch.no_grad():
            prices = self.states(data["view"])
        τ = torch.tensor(self.multipliers.thresholds, dtype=torch.float32)
        over = (ahead > τ).any(-1).float().mean()
        self.log = {"lambda_states": float(prices.mean()), "states_over": float(over)}
        return torch.as_tensor(scalar, dtype=torch.float32) + carry(prices, ended)

    def fit(self, views: Tensor, ahead: Tensor) -> None:
        """One dual step: regress λ(o) on λ_old(o) + α (min(G, cap) − τ), by minibatches."""
        c = self.config
        τ = torch.tensor(self.multipliers.thresholds, dtype=torch.float32)
        with torch.no_grad():
            target = self.states(views) + c.states_rate * (ahead.clamp(max=c.states_cap) - τ)
        views, target = views.flatten(0, 2), target.flatten(0, 2)
        for _ in range(c.epochs):
            order = torch.randperm(len(views), generator=self.generator)
            for batch in order.chunk(c.minibatches):
                loss = (self.states(views[batch]) - target[batch]).pow(2).mean()
                self.states_optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(self.states.parameters(), 1.0)
                self.states_optimizer.step()

    def iterate(self) -> dict[str, float]:
        return super().iterate() | self.log
