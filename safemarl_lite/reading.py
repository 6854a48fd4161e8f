"""How a network reads a view: in which order, and at which scales. No parameters.

Notebook: `06_attention_actor_critic`. Neither adds information; both decide what is easy to learn.

- A view is the agent's own numbers and two *lists* of things around it. Put in the order of
  distance, and each landmark given its distance to the nearest other agent, exchanging two
  landmarks, or two other agents, changes nothing (Zaheer et al. 2017).
- A network fits slowly what varies over short distances (Rahaman et al. 2019, Tancik et al. 2020).
  Beside x stand tanh(3 x) and tanh(12 x), steep near 0 and flat farther off: an agent's last steps
  towards its place, or away from another one, are then as large as its way across the arena.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

SCALES = 3.0, 12.0
Layout = tuple[int, tuple[int, int], tuple[int, int]]


@dataclass(frozen=True)
class Reading:
    """`reading(views)`: (…, O) → (…, `reading.size(O)`)."""

    layout: Layout | None = None  # given: nearest first, see `nearest_first`
    zoom: bool = False  # at the scales above as well

    def size(self, view_size: int) -> int:
        """Length of what a view of `view_size` numbers is read as."""
        rivals = self.layout[1][0] if self.layout else 0
        return (view_size + rivals) * (1 + len(SCALES) * self.zoom)

    def __call__(self, views: Tensor) -> Tensor:
        if self.layout:
            views = nearest_first(views, self.layout)
        near = [torch.tanh(scale * views) for scale in SCALES if self.zoom]
        return torch.cat([views, *near], -1) if near else views


def nearest_first(views: Tensor, layout: Layout) -> Tensor:
    """Views (…, O) → (…, O + L): [own, landmarks with rivals, others, rest], nearest first.

    A view is [own, L rows of e, J rows of f numbers, rest]; `layout` is (own, (L, e), (J, f)), J
    at least 1, and a row begins with the way there. A landmark's rival is the nearest other agent.
    """
    own, (L, e), (J, f) = layout
    u, x, y, rest = views.split([own, L * e, J * f, views.shape[-1] - own - L * e - J * f], -1)
    x, y = x.unflatten(-1, (L, e)), y.unflatten(-1, (J, f))
    gaps = (x[..., :, None, :2] - y[..., None, :, :2]).square().sum(-1)
    rivals = gaps.amin(-1, keepdim=True).sqrt()
    return torch.cat([u, in_order(torch.cat([x, rivals], -1)), in_order(y), rest], -1)


def in_order(rows: Tensor) -> Tensor:
    """Rows (…, K, F) sorted by the lengths of their first two numbers, flat: (…, K · F)."""
    order = rows[..., :2].square().sum(-1).argsort(-1)
    return rows.gather(-2, order[..., None].expand_as(rows)).flatten(-2)
