"""A swarm task as a policy for any swarm sees and flies it: the geometry of what is near.

Notebook: `05_training_mappo_lagrangian`. Every body in view is a row of its own, and all rows are
alike, so that a network may sum over them (`equivariant.py`): any number of drones and obstacles.
For a body at r from the drone, with relative velocity u and safe distance R,

    t = clip(−r·u / |u|², 0, AHEAD),   m = r + t u,   c = |m| − R        its closest approach

if nobody steers; and likewise with u + v − w in place of u, if the drone (velocity v) flew at once
as straight flight wants (w). A row holds invariants (lengths, clearances, times, products) and
directions that turn with the world. Axis order: swarm E, drone N, body K, feature.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..settings import Amount, Natural, Positive
from .task import SwarmTask, lengths

if TYPE_CHECKING:
    from .open_world import OpenVectorEnv

PUSH = 5.0  # m/s²: what an action of 1 asks for
SPEED = 3.0  # m/s, of straight flight, where the thrust allows it
SPARE = 0.2  # share of the thrust that straight flight keeps for evading
AHEAD = 4.0  # s that a closest approach looks ahead
SIGHT = 3.0, 10.0  # m of clearance at which a drone and an obstacle come into view
OWN, ROW = 8, 30  # length of a view's own part, and of a row: 15 invariants, 5 directions


@dataclass(frozen=True)
class OpenTask(SwarmTask):
    """A `SwarmTask` whose drones see the geometry of what is near, and command accelerations."""

    kind: ClassVar[str] = "swarm-open"
    equivariant: ClassVar[bool] = True

    entry_bonus: Amount = 4.0  # type: ignore[misc]
    arrival_bonus: Amount = 10.0
    margin: Positive = 0.25  # m, towards drones
    obstacle_margin: Positive = 0.6  # m
    obstacle_buffer: Amount = 0.0
    n_neighbours: Natural = 5
    n_obstacles_seen: Natural = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.control != "force":
            raise ValueError(f"control must be 'force' in an open task, got {self.control!r}")

    @cached_property
    def margins(self) -> np.ndarray:
        widths = self.margin, self.obstacle_margin
        return np.repeat(widths, [self.n_drones, self.n_obstacles])

    @property
    def view_size(self) -> int:
        return OWN + ROW * (self.n_neighbours + self.n_obstacles_seen)

    def scene(self, rng: np.random.Generator, count: int) -> dict[str, Any]:
        """What `count` episodes start with, by the names of `OpenVectorEnv`'s arrays."""
        positions, obstacles = self.draw(rng, count)
        return {
            "positions": positions, "obstacles": obstacles, "drift": 0.0, "wind": 0.0,
            "centre": self.start, "targets": self.target, "shape": self.formation,
            "goal_radius": self.goal_radius, "mass": self.mass,
        }  # fmt: skip

    def vector_env(self, num_envs: int, seed=0, **options: bool) -> "OpenVectorEnv":
        """An `OpenVectorEnv` of this task; needs PyBullet."""
        from .open_world import OpenVectorEnv

        return OpenVectorEnv(self, num_envs, seed, **options)


def dot(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Product of the last axes."""
    return np.einsum("...i,...i->...", x, y)


def direction(x: np.ndarray, soft: float) -> np.ndarray:
    """x / √(|x|² + soft²): of length 1 where x is long, and nothing where x is nothing."""
    return x / np.sqrt(dot(x, x) + soft**2)[..., None]


def straight(
    way: np.ndarray, v: np.ndarray, wind: np.ndarray, authority: np.ndarray, drag: float
) -> tuple[np.ndarray, np.ndarray]:
    """Straight flight: the velocity w (m/s) that it wants, and the acceleration (m/s²) for it.

    w points along the way (m) to the place: 2 m/s a metre, at most SPEED, and at most what holds
    against the drag with SPARE of the authority (m/s²) left. a = 3 (w − v) + drag (w − wind).
    """
    far, most = lengths(way)[..., None], abs(way).max(-1, keepdims=True)
    holds = (1 - SPARE) * authority / drag * far / np.maximum(most, 1e-9)
    w = way / np.maximum(far, 1e-9) * np.minimum(2 * far, np.minimum(SPEED, holds))
    return w, 3 * (w - v) + drag * (w - wind)


def nearest(
    ways: np.ndarray,
    speeds: np.ndarray,
    clear: np.ndarray,
    k: int,
    who: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Ways to the `k` nearest of K bodies and their velocities, (E, N, k, 3) each, in m and m/s.

    From ways (E, N, K, 3), velocities (E, B, 3) of all bodies and clearances (E, N, K), ∞ for
    oneself; `who` (E, N, K): which bodies the K are, if not all. What is missing is 1 km away.
    """
    (e, n, _), found = clear.shape, min(k, clear.shape[-1])
    order = np.argsort(clear, -1, kind="stable")[..., :found]
    body = order if who is None else np.take_along_axis(who, order, -1)
    to, speed = np.full((e, n, k, 3), 1000.0), np.zeros((e, n, k, 3))
    to[:, :, :found] = np.take_along_axis(ways, order[..., None], 2)
    speed[:, :, :found] = speeds[np.arange(e)[:, None, None], body]
    to[:, :, :found][np.take_along_axis(clear, order, -1) == np.inf] = 1000
    return to, speed


def geometry(
    r: np.ndarray, u: np.ndarray, reach: np.ndarray, sight: np.ndarray, v: np.ndarray, w: np.ndarray
) -> np.ndarray:
    """Rows (…, K, ROW) of the bodies at r (m) with relative velocities u (m/s), (…, K, 3).

    reach and sight (K,) in m, v and w (…, 3) in m/s. First the gate: 1 at no clearance, 0 from
    `sight` on, so that nothing jumps when a body comes into view.
    """
    v, w = v[..., None, :], w[..., None, :]
    clear = lengths(r) - reach
    to, drift = direction(r, 1e-3), direction(u, 0.5)
    row = [np.clip(1 - clear / sight, 0, 1), np.clip(clear, -1, 5) / 2, -dot(to, u) / 3]
    row += [lengths(u) / 3, dot(to, w) / 3, dot(to, v) / 3, dot(drift, w) / 3]
    ways = [-to, drift, np.broadcast_to(w / 3, r.shape)]
    for speed in (u, u + v - w):
        t = np.clip(-dot(r, speed) / (dot(speed, speed) + 1e-2), 0, AHEAD)
        m = r + t[..., None] * speed
        c, past = lengths(m) - reach, direction(m, 0.1)
        need = np.clip(1 - c, 0, 2) / (t + 0.5)  # m/s that make a metre of room in time
        row += [t / AHEAD, np.clip(c, -3, 3), need, dot(past, w) / 3]
        ways.append(-past)
    return np.concatenate([np.stack(row, -1), *ways], -1)
