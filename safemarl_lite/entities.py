"""A view read as what it is: the agent's own numbers and two lists of things around it.

Notebook: `06_attention_actor_critic`. Sources: Zaheer et al. 2017 (sets), Vaswani et al. 2017
(attention). The *information* is the view's, only the architecture differs from a plain network:
exchanging two landmarks, or two other agents, changes nothing. Symbols: u the own numbers, x_l
landmark l and y_j other agent j, whose first two numbers are the way there; d_lj = ‖x_l − y_j‖.
For two learned sharpnesses β > 0

    ω_lj = softmax over j of −β d_lj     who else is near landmark l:  Σ_j ω_lj [d_lj, y_j]
    ν_lj = softmax over l of −β d_lj     what is near other agent j:   Σ_l ν_lj [d_lj, x_l]

stand beside x_l and y_j; with a large β the first is the distance of the nearest other agent. Each
list is then pooled by attention, and h = ReLU(W [u, the two pools]). Inside, the batch axis R comes
last, so that each operation runs over long rows.
"""

import torch
from torch import Tensor, nn

Layout = tuple[int, tuple[int, int], tuple[int, int]]


def linear(layer: nn.Linear, x: Tensor) -> Tensor:
    """A layer along the second last axis: (…, a, R) → (…, b, R)."""
    return layer.weight @ x + layer.bias[:, None]


class Entities(nn.Module):
    """Views (…, O) → features (…, hidden); a view is [own, L rows of e, J rows of f numbers, …].

    `layout` is (own, (L, e), (J, f)), L and J ≥ 1; what follows in a view is not read. `heads` pool
    each list; `width`, a multiple of it, is the length of a landmark's or an agent's features.
    """

    def __init__(self, layout: Layout, hidden: int = 64, width: int = 32, heads: int = 4) -> None:
        super().__init__()
        own, (_, e), (J, f) = layout
        if J < 1:
            raise ValueError("network='entities' needs two agents or more, got one")
        self.layout, self.heads = layout, heads
        self.sharpness = nn.Parameter(torch.tensor([1.0, 3.0]))  # log β
        sizes = own + 1 + 2 * (1 + f) + e, own + 1 + 2 * (1 + e) + f
        self.first = nn.ModuleList(nn.Linear(size, width) for size in sizes)
        self.second = nn.ModuleList(nn.Linear(width, width + heads) for _ in sizes)
        self.last = nn.Linear(own + 2 * width, hidden)

    def forward(self, views: Tensor) -> Tensor:
        own, (L, e), (J, f) = self.layout
        flat = views.flatten(0, -2).t()
        u, x, y = flat[: own + L * e + J * f].split([own, L * e, J * f])
        x, y = x.unflatten(0, (L, e)), y.unflatten(0, (J, f))
        d = length(x[:, None, :2] - y[:, :2])[:, :, 0]  # (L, J, R)
        marks = self.pool(0, u, x, y, d)
        others = self.pool(1, u, y, x, d.transpose(0, 1))
        h = torch.relu(linear(self.last, torch.cat([u, marks, others])))
        return h.t().unflatten(0, views.shape[:-1])

    def pool(self, which: int, u: Tensor, rows: Tensor, others: Tensor, d: Tensor) -> Tensor:
        """`rows` (K, ·, R) of one list beside the other's (K′, ·, R), d (K, K′, R) → (width, R)."""
        sharp = self.sharpness.exp().view(2, 1, 1, 1)
        ω = (sharp * (d.amin(1, keepdim=True) - d)).exp()
        ω = (ω / ω.sum(2, keepdim=True))[:, :, :, None]
        met = torch.cat([d[:, :, None], others.expand(len(rows), -1, -1, -1)], 2)
        near = (ω * met).sum(2)  # (2, K, 1 + ·, R)
        seen = [u.expand(len(rows), -1, -1), rows, length(rows[:, :2]), *near]
        h = linear(self.second[which], torch.relu(linear(self.first[which], torch.cat(seen, 1))))
        score, h = h[:, : self.heads], torch.relu(h[:, self.heads :]).unflatten(1, (self.heads, -1))
        picked = (score - score.detach().amax(0)).exp()
        return ((picked / picked.sum(0))[:, :, None] * h).sum(0).flatten(0, 1)


def length(ways: Tensor) -> Tensor:
    """Euclidean length over the second last axis, kept: (…, 2, R) → (…, 1, R)."""
    return (ways.square().sum(-2, keepdim=True) + 1e-12).sqrt()
