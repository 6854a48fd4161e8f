"""Critics: what they may see, and one head for every signal.

Notebook: `03_centralized_critics`. Centralized training, decentralized execution (CTDE): an actor
sees its own view o_i (O,), a critic may see the global state s (S,) as well. Every critic here
returns (…, 1 + m) numbers: V^r, then V^{c_1} … V^{c_m}, each trained on its own target.

Sources: Yu et al. 2022 (MAPPO); Iqbal & Sha 2019 (attention critic, eqs. 5–6).
"""

import torch
from torch import nn


def mlp(sizes, activation=nn.Tanh, gain=1.0):
    """Fully connected network with orthogonal weights; `gain` scales the last layer."""
    layers = []
    for i, (a, b) in enumerate(zip(sizes[:-1], sizes[1:], strict=True)):
        last = i == len(sizes) - 2
        linear = nn.Linear(a, b)
        nn.init.orthogonal_(linear.weight, gain if last else 2**0.5)
        nn.init.zeros_(linear.bias)
        layers += [linear] if last else [linear, activation()]
    return nn.Sequential(*layers)


class Normaliser(nn.Module):
    """Running mean and variance of the last axis (Chan et al. 1979), kept with the weights."""

    def __init__(self, size):
        super().__init__()
        self.register_buffer("count", torch.tensor(1e-4))
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("var", torch.ones(size))

    def update(self, batch):
        batch = batch.reshape(-1, batch.shape[-1])
        mean, var, n = batch.mean(0), batch.var(0, unbiased=False), len(batch)
        total, shift = self.count + n, mean - self.mean
        spread = self.var * self.count + var * n + shift**2 * self.count * n / total
        self.mean += shift * n / total
        self.var.copy_(spread / total)
        self.count.copy_(total)

    def forward(self, x):
        return (x - self.mean) / (self.var + 1e-6).sqrt()


class Critic(nn.Module):
    """V(o_i, s) by a multilayer perceptron. `centralized=False` drops s: the local critic.

    observations (…, N, O) and state (…, S) → (…, N, heads).
    """

    def __init__(self, view_size, state_size, heads, hidden=128, centralized=True):
        super().__init__()
        self.centralized = centralized
        size = view_size + state_size * centralized
        self.scale = Normaliser(size)
        self.net = mlp([size, hidden, hidden, heads], nn.ReLU)

    def inputs(self, observations, state):
        if not self.centralized:
            return observations
        state = state.unsqueeze(-2).expand(*observations.shape[:-1], -1)
        return torch.cat([observations, state], -1)

    def forward(self, observations, state):
        return self.net(self.scale(self.inputs(observations, state)))
