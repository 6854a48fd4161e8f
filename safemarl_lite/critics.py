"""Critics: what they may see, and one head for every signal.

Notebooks: `03_centralized_critics`; `06_attention_actor_critic` for the two that
take actions. Centralized training, decentralized execution (CTDE): an actor
sees its own view o_i (O,), a critic may see the global state s (S,) as well. Every critic here
returns one number for each agent and head, each head trained on its own target; the learners use
1 + m heads, V^r and V^{c_1} … V^{c_m}. G is a return, V its estimate.

Sources: Yu et al. 2022 (MAPPO); Iqbal & Sha 2019 (attention critic, eqs. 5–6).
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn


def mlp(
    sizes: Sequence[int], activation: Callable[[], nn.Module] = nn.Tanh, gain: float = 1.0
) -> nn.Sequential:
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
    """Running mean and variance of the last axis (Chan et al. 1979), kept with the weights.

    For a batch of n rows with mean μ_B, variance σ²_B, and κ rows before it:
    μ ← μ + (μ_B − μ) n/(κ+n),   σ² ← (κ σ² + n σ²_B + (μ_B − μ)² κ n/(κ+n)) / (κ+n).
    Until the first update it is the identity (up to 1e-6); an empty batch changes nothing.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("count", torch.tensor(0.0))
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("var", torch.ones(size))

    def update(self, batch: Tensor) -> None:
        batch = batch.detach().reshape(-1, batch.shape[-1])
        if len(batch) == 0:
            return
        mean, var, n = batch.mean(0), batch.var(0, unbiased=False), len(batch)
        total, shift = self.count + n, mean - self.mean
        spread = self.var * self.count + var * n + shift**2 * self.count * n / total
        self.mean += shift * n / total
        self.var.copy_(spread / total)
        self.count.copy_(total)

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / (self.var + 1e-6).sqrt()


class Critic(nn.Module):
    """V(o_i, s) by a multilayer perceptron. `centralized=False` drops s: the local critic.

    observations (…, N, O) and state (…, S) → (…, N, heads).
    """

    def __init__(
        self,
        view_size: int,
        state_size: int,
        heads: int,
        hidden: int = 128,
        centralized: bool = True,
    ) -> None:
        super().__init__()
        self.centralized = centralized
        size = view_size + state_size * centralized
        self.scale = Normaliser(size)
        self.net = mlp([size, hidden, hidden, heads], nn.ReLU)

    def inputs(self, observations: Tensor, state: Tensor) -> Tensor:
        if not self.centralized:
            return observations
        if state.shape[:-1] != observations.shape[:-2]:
            shapes = tuple(observations.shape), tuple(state.shape)
            raise ValueError(
                "observations (…, N, O) need states (…, S), got {} and {}".format(*shapes)
            )
        state = state.unsqueeze(-2).expand(*observations.shape[:-1], -1)
        return torch.cat([observations, state], -1)

    def forward(self, observations: Tensor, state: Tensor) -> Tensor:
        return self.net(self.scale(self.inputs(observations, state)))


class AttentionCritic(nn.Module):
    """One critic for all agents that attends over the *others* (Iqbal & Sha 2019, eqs. 5–6).

    observations (…, N, O), actions (…, N, A) → (…, N, heads_out). With s_i = g_s(o_i) and
    e_j = g(o_j, a_j), for each attention head

        α_ij = softmax over j ≠ i of (W_q s_i · W_k e_j) / √d,    x_i = Σ_{j≠i} α_ij h(W_v e_j)

    and the output is f(s_i, x_i). The own action never enters, so that one output for each own
    action gives Q_i(o, a_{−i}, ·) for the counterfactual baseline. Without actions (A = 0) it is
    V_i(o_1 … o_N). Nothing depends on the number of the agents; permuting them permutes the
    outputs; a lone agent has x_i = 0.
    """

    def __init__(
        self,
        view_size: int,
        action_size: int,
        heads_out: int,
        hidden: int = 64,
        attention_heads: int = 4,
    ) -> None:
        super().__init__()
        if hidden % attention_heads:
            raise ValueError(f"hidden must be a multiple of attention_heads = {attention_heads}, "
                             f"got {hidden}")  # fmt: skip
        self.scale, self.attention_heads = Normaliser(view_size), attention_heads
        self.action_size = action_size
        self.own = nn.Sequential(nn.Linear(view_size, hidden), nn.LeakyReLU())
        self.pair = nn.Sequential(nn.Linear(view_size + action_size, hidden), nn.LeakyReLU())
        self.query, self.key, self.value = (nn.Linear(hidden, hidden, bias=False) for _ in range(3))
        self.net = mlp([2 * hidden, hidden, heads_out], nn.LeakyReLU)

    def forward(
        self, observations: Tensor, actions: Tensor | None = None, return_weights: bool = False
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Values (…, N, heads_out); with `return_weights` also α (…, attention head, N, N)."""
        given = 0 if actions is None else actions.shape[-1]
        if given != self.action_size:
            raise ValueError(f"this critic takes {self.action_size} action numbers, got {given}")
        o = self.scale(observations)
        pair = o if actions is None else torch.cat([o, actions], -1)
        leading, n = o.shape[:-2], o.shape[-2]
        o, pair = (x.reshape(-1, *x.shape[-2:]).transpose(0, 1).contiguous() for x in (o, pair))
        own, pair, d = self.own(o), self.pair(pair), self.query.out_features // self.attention_heads

        def split(x):  # (N, B, hidden) → (B · attention heads, N, d), without a copy
            return x.view(n, -1, d).transpose(0, 1)

        query, key = split(self.query(own)), split(self.key(pair))
        value = split(nn.functional.leaky_relu(self.value(pair)))
        itself = torch.eye(n, dtype=torch.bool, device=o.device)
        score = (query @ key.transpose(-1, -2) / d**0.5).masked_fill(itself, -1e9)
        weights = (score - score.amax(-1, keepdim=True).detach()).exp().masked_fill(itself, 0.0)
        weights = weights / weights.sum(-1, keepdim=True).clamp_min(1e-30)  # a lone agent: none
        others = (weights @ value).transpose(0, 1).reshape(own.shape)
        values = self.net(torch.cat([own, others], -1)).transpose(0, 1).reshape(*leading, n, -1)
        weights = weights.view(*leading, self.attention_heads, n, n)
        return (values, weights) if return_weights else values


class JointCritic(nn.Module):
    """MADDPG's critics: one multilayer perceptron per agent over all views and actions.

    views (B, N, O), actions (N, B, N, A), one joint action for each critic → (B, N, heads). The N
    networks are one batch of matrices.
    """

    def __init__(
        self, n_agents: int, view_size: int, action_size: int, heads: int, hidden: int = 64
    ) -> None:
        super().__init__()
        self.scale = Normaliser(view_size)
        sizes = [n_agents * (view_size + action_size), hidden, hidden, heads]
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for a, b in zip(sizes[:-1], sizes[1:], strict=True):
            bound = a**-0.5
            self.weights.append(torch.empty(n_agents, a, b).uniform_(-bound, bound))
            self.biases.append(torch.zeros(n_agents, 1, b))

    def forward(self, views: Tensor, actions: Tensor) -> Tensor:
        seen = self.scale(views).flatten(1).expand(len(actions), -1, -1)
        x = torch.cat([seen, actions.flatten(2)], -1)  # (N, B, inputs)
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            x = nn.functional.leaky_relu(torch.baddbmm(bias, x, weight))
        return torch.baddbmm(self.biases[-1], x, self.weights[-1]).transpose(0, 1)
