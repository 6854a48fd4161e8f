"""A view read as what it is: the agent's own numbers and two lists of things around it.

Notebook: `06_attention_actor_critic`. The *information* is the view's, only the architecture
differs from a plain network: each list is put in the order of distance, and each landmark gets its
distance to the nearest other agent, so that exchanging two landmarks, or two other agents, changes
nothing. There are no parameters here; networks read what comes out.
"""

import torch
from torch import Tensor

Layout = tuple[int, tuple[int, int], tuple[int, int]]


def nearest_first(views: Tensor, layout: Layout) -> Tensor:
    """Views (…, O) → (…, O + L): [own, landmarks with their rivals, others, the rest].

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
