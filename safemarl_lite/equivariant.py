"""Networks for any swarm: geometry gives the directions, a network says how much of each.

Notebook: `05_training_mappo_lagrangian`. A view (`swarm/open.py`) holds an own part o and a row for
each body j in view: invariants x_j, of which the first is the gate g_j, and directions D_j (5, 3):

    h_j = relu(A x_j + B o),    s_j = S relu(C h_j + G Σ_k g_k h_k)
    a   = a_straight + Σ_j g_j s_j·D_j

The weights s_j are made of invariants alone, so that a turned view turns the action (Satorras et
al. 2021); sums make it the same for rows in any order and number; a body that leaves view fades
out. Where nobody is near, a drone flies straight whatever the weights: a residual policy (Silver et
al. 2018). Axis order: …, body K, feature.
"""

import torch
from torch import Tensor, nn

from .critics import Normaliser, mlp

OWN, INVARIANTS, WAYS = 5, 15, 5  # numbers about the drone, about a body; directions


def parts(views: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """A view → a_straight (…, 3), o (…, 5), x (…, K, 15), g (…, 1, K) and D (…, K · 5, 3)."""
    straight, own, rows = views.split((3, OWN, views.shape[-1] - 3 - OWN), -1)
    rows = rows.unflatten(-1, (-1, INVARIANTS + 3 * WAYS))
    bodies, ways = rows.split((INVARIANTS, 3 * WAYS), -1)
    return straight, own, bodies, bodies[..., None, :, 0], ways.flatten(-2).unflatten(-1, (-1, 3))


class Bodies(nn.Module):
    """h_j of every body: (…, 5), (…, K, 15) → (…, K, width); the first `n_drones` rows are drones.

    Drones and obstacles have an A of their own.
    """

    def __init__(self, n_drones: int, width: int) -> None:
        super().__init__()
        self.n_drones = n_drones
        self.own = nn.Linear(OWN, width)
        self.kinds = nn.ModuleList(nn.Linear(INVARIANTS, width, bias=False) for _ in range(2))

    def forward(self, own: Tensor, bodies: Tensor) -> Tensor:
        kinds = bodies.split((self.n_drones, bodies.shape[-2] - self.n_drones), -2)
        rows = torch.cat([net(x) for net, x in zip(self.kinds, kinds, strict=True)], -2)
        return torch.relu(rows + self.own(own)[..., None, :])


class SwarmActor(nn.Module):
    """Straight flight and weighted directions, as above: views (…, O) → accelerations (…, 3)."""

    def __init__(self, n_neighbours: int, hidden: int = 32) -> None:
        super().__init__()
        self.bodies = Bodies(n_neighbours, hidden)
        self.each, self.crowd = nn.Linear(hidden, hidden), nn.Linear(hidden, hidden, bias=False)
        self.weights = mlp([hidden, WAYS], gain=0.01)

    def forward(self, views: Tensor) -> Tensor:
        straight, own, bodies, gate, ways = parts(views)
        rows = self.bodies(own, bodies)
        rows = torch.relu(self.each(rows) + self.crowd(gate @ rows))
        weights = self.weights(rows) * gate.mT
        return straight + (weights.flatten(-2)[..., None, :] @ ways).squeeze(-2)


class SwarmCritic(nn.Module):
    """V(o_i, s) for any number of drones: (…, N, O), (…, S) → (…, N, heads).

    A sum over the bodies in view as in the actor, beside what the state says: how far the drone,
    its swarm on the mean and its last have to fly.
    """

    def __init__(self, n_neighbours: int, state_size: int, heads: int, hidden: int = 32) -> None:
        super().__init__()
        self.scale = Normaliser(state_size)
        self.bodies, self.each = Bodies(n_neighbours, hidden), nn.Linear(hidden, hidden)
        self.net = mlp([OWN + state_size + hidden, 2 * hidden, heads], nn.ReLU)

    def inputs(self, views: Tensor, state: Tensor) -> Tensor:
        return state

    def forward(self, views: Tensor, state: Tensor) -> Tensor:
        _, own, bodies, gate, _ = parts(views)
        crowd = gate @ torch.relu(self.each(self.bodies(own, bodies)))
        state = self.scale(state)[..., None, :].expand(*views.shape[:-1], -1)
        return self.net(torch.cat([own, state, crowd.squeeze(-2)], -1))
