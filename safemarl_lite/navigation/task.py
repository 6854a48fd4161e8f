"""Constrained Cooperative Navigation: what may be set, the particles' physics, what agents see.

Notebook: `06_attention_actor_critic`; the environments are in `world.py`. Sources: Lowe et
al. 2017 (the particle world), `mpe2` and OpenAI's original for the two orders of integration.
Units are the particle world's own, mass 1. Symbols: p_i, v_i position and velocity of agent i,
d_ij = ‖p_i − p_j‖. Agent i is driven by

    f_i = 5 · action_i + Σ_j (p_i − p_j) / d_ij · 100 · s(d_ij),
    s(d) = MARGIN · log(1 + exp((2 · RADIUS − d) / MARGIN))       soft overlap

and one step of DT = 0.1 is

    "openai" (the paper's):  v ← 0.75 v + DT · f,  then  p ← p + DT · v
    "mpe2":                  p ← p + DT · v,       then  v ← 0.75 v + DT · f

The environment axis E comes last, so that each operation runs over long rows: positions
(N, 2, E), landmarks (L, 2, E).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.functional import softplus

from ..settings import Count, Discount, check_fields, thresholds_of

if TYPE_CHECKING:
    from .world import NavigationVectorEnv

DT, DAMPING, STIFFNESS, MARGIN, RADIUS = 0.1, 0.25, 100.0, 1e-3, 0.15
MOVES = {  # direction of each discrete action; the two libraries order the axes' signs differently
    "openai": ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)),
    "mpe2": ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1)),
}


@dataclass(frozen=True)
class ParticleTask:
    """What the tasks of the particle world share; raises `ValueError` on construction."""

    kind: ClassVar[str]
    integration: ClassVar[str] = "openai"

    thresholds: tuple[float, ...] = (3.0,)  # α_1 and, if given, α_2
    discount: Discount = 0.99
    actions: Literal["discrete", "continuous"] = "discrete"
    horizon_is_terminal: bool = True  # else truncated there, and learners bootstrap

    def __post_init__(self) -> None:
        check_fields(self)
        object.__setattr__(self, "thresholds", thresholds_of("thresholds", self.thresholds))

    @property
    def threshold(self) -> float | tuple[float, ...]:
        """α as a number if there is one constraint, else the tuple."""
        return self.thresholds[0] if len(self.thresholds) == 1 else self.thresholds

    @property
    def cost_cap(self) -> float:
        """No episode's discounted cost is above this: every constraint broken in every step."""
        steps = (1 - self.discount**self.horizon) / (1 - self.discount)
        return len(self.thresholds) * steps

    @property
    def action_size(self) -> int:
        """Number of discrete actions, or of the components of a continuous one."""
        return 5 if self.actions == "discrete" else 2


@dataclass(frozen=True)
class NavigationTask(ParticleTask):
    """Everything that may be set about the task; raises `ValueError` on construction.

    `thresholds` are α_1 of collisions and, if given, α_2 of the arena.
    """

    kind: ClassVar[str] = "navigation"
    thrust: ClassVar[float] = 5.0  # the largest own force along an axis

    n_agents: Count = 5
    n_landmarks: Count = 5
    horizon: Count = 25  # steps
    integration: Literal["openai", "mpe2"] = "openai"
    view: Literal["relational", "paper"] = "relational"

    def vector_env(self, num_envs: int, seed=0, **options: bool) -> "NavigationVectorEnv":
        """A `NavigationVectorEnv` of this task."""
        from .world import NavigationVectorEnv

        return NavigationVectorEnv(self, num_envs, seed, **options)

    @property
    def radii(self) -> tuple[float, ...]:
        """The agents' radii, (N,)."""
        return (RADIUS,) * self.n_agents

    @property
    def layout(self) -> tuple[int, tuple[int, int], tuple[int, int]]:
        """Numbers of an agent's own, then (rows, numbers in a row) of landmarks and of others."""
        own, mark, other = (4, 2, 2) if self.view == "paper" else (5, 3, 4)
        return own, (self.n_landmarks, mark), (self.n_agents - 1, other)

    @property
    def view_size(self) -> int:
        """Length O of an agent's own view; see `paper_view` and `relational_view`."""
        own, each = (4, 2) if self.view == "paper" else (5, 3)
        return own + each * self.n_landmarks + 4 * (self.n_agents - 1)


def contact_force(ways: Tensor, gaps: Tensor, reach: float | Tensor = 2 * RADIUS) -> Tensor:
    """Force on each agent from each other one, (N, N − 1, 2, E).

    `ways` (N, N − 1, 2, E) lead to the others, `gaps` (N, N − 1, E) are their lengths, `reach` the
    sum of the two radii. Agents at exactly the same point do not push each other (in mpe2 they
    become NaN).
    """
    push, deep = torch.zeros_like(gaps), reach - gaps
    near = deep > -40 * MARGIN  # beyond, s < 1e-20
    overlap = MARGIN * softplus(deep[near] / MARGIN, threshold=40)
    push[near] = STIFFNESS * overlap / gaps[near].clamp(min=1e-99)
    return -(ways * push[:, :, None])


def integrate(
    positions: Tensor, velocities: Tensor, force: Tensor, order: str, fastest: float = torch.inf
) -> tuple[Tensor, Tensor]:
    """One step of DT under `force` → (positions, velocities); see the two orders above.

    No agent is faster than `fastest` afterwards.
    """
    later = (1 - DAMPING) * velocities + DT * force
    if fastest < torch.inf:
        later *= (fastest / later.square().sum(1, keepdim=True).sqrt()).clamp(max=1)
    return positions + DT * (later if order == "openai" else velocities), later


def paper_view(velocities: Tensor, positions: Tensor, to_landmarks: Tensor, ways: Tensor) -> Tensor:
    """The reference's observation, (N, 4 + 2L + 4(N − 1), E).

    Own velocity and position, the ways to the landmarks and to the other agents in the order of
    their numbers, and the reference's communication channel, which is always 0.
    """
    n, _, size = velocities.shape
    silence = velocities.new_zeros(n, 2 * (n - 1), size)
    rows = to_landmarks.flatten(1, 2), ways.flatten(1, 2)
    return torch.cat([velocities, positions, *rows, silence], 1)


def relational_view(
    velocities: Tensor,
    positions: Tensor,
    time_left: float,
    to_landmarks: Tensor,
    distances: Tensor,
    to_others: Tensor,
    gaps: Tensor,
) -> Tensor:
    """What matters to an agent, nearest first, (N, 5 + 3L + 4(N − 1), E).

    Own velocity and position, time left (1 at the start, 0 at the end); of each landmark, nearest
    first, the way there and its distance to the nearest *other* agent (−1 if there is none); of
    each other agent, nearest first, the way there and its velocity relative to the own.
    """
    n, _, size = velocities.shape
    least = distances.amin(0)
    nearest = distances == least
    second = distances.masked_fill(nearest, torch.inf).amin(0)
    second = torch.where(nearest.sum(0) > 1, least, second)  # two agents equally near
    rival = torch.where(nearest, second, least) if n > 1 else torch.full_like(distances, -1)
    seen = torch.cat([to_landmarks, rival[:, :, None].to(to_landmarks.dtype)], 2)
    clock = velocities.new_full((n, 1, size), time_left)
    marks, others = nearest_first(seen, distances), nearest_first(to_others, gaps)
    return torch.cat([velocities, positions, clock, marks, others], 1)


def nearest_first(rows: Tensor, distances: Tensor) -> Tensor:
    """Rows (N, K, F, E) in the order of their distances (N, K, E), flat: (N, K · F, E)."""
    order = distances.topk(distances.shape[1], 1, largest=False).indices
    return rows.gather(1, order[:, :, None].expand_as(rows)).flatten(1, 2)
