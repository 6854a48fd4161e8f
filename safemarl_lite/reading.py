"""How a network reads a view: in which order, and at which scales. No parameters.

Notebook: `06_attention_actor_critic`. Neither adds information; both decide what is easy to learn.

- A view is the agent's own numbers and two *lists* of things around it. Put in the order of
  distance, exchanging two landmarks, or two other agents, changes nothing (Zaheer et al. 2017).
  Each landmark gets its distance, and the agent's lead: how much nearer it is than any other.
- A network fits slowly what varies over short distances (Rahaman et al. 2019, Tancik et al. 2020).
  Beside x stands tanh(zoom · x), steep near 0 and flat farther off: an agent's last steps towards
  its place, or away from another one, are then as large as its way across the arena.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

Layout = tuple[int, tuple[int, int], tuple[int, int]]


@dataclass(frozen=True)
class Reading:
    """`reading(views)`: (…, O) → (…, `reading.size(O)`)."""

    layout: Layout | None = None  # given: nearest first, see `nearest_first`
    zoom: float = 0.0  # 0: no second scale

    def size(self, view_size: int) -> int:
        """Length of what a view of `view_size` numbers is read as."""
        more = 2 * self.layout[1][0] if self.layout else 0
        return (view_size + more) * (2 if self.zoom else 1)

    def __call__(self, views: Tensor) -> Tensor:
        if self.layout:
            views = nearest_first(views, self.layout)
        return torch.cat([views, torch.tanh(self.zoom * views)], -1) if self.zoom else views


def nearest_first(views: Tensor, layout: Layout) -> Tensor:
    """Views (…, O) → (…, O + 2L): [own, landmarks, others, rest], both lists nearest first.

    A view is [own, L rows of e, J rows of f numbers, rest]; `layout` is (own, (L, e), (J, f)), J
    at least 1, and a row begins with the way there. To a landmark's, distance and lead are added.
    """
    own, (L, e), (J, f) = layout
    u, x, y, rest = views.split([own, L * e, J * f, views.shape[-1] - own - L * e - J * f], -1)
    x, y = x.unflatten(-1, (L, e)), y.unflatten(-1, (J, f))
    away = x[..., :2].square().sum(-1, keepdim=True).sqrt()
    rival = (x[..., :, None, :2] - y[..., None, :, :2]).square().sum(-1).amin(-1, keepdim=True)
    marks = torch.cat([x, away, rival.sqrt() - away], -1)
    return torch.cat([u, in_order(marks), in_order(y), rest], -1)


def in_order(rows: Tensor) -> Tensor:
    """Rows (…, K, F) sorted by the lengths of their first two numbers, flat: (…, K · F)."""
    order = rows[..., :2].square().sum(-1).argsort(-1)
    return rows.gather(-2, order[..., None].expand_as(rows)).flatten(-2)
