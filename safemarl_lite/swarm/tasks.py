"""A distribution of swarm tasks: every episode draws its own, and one policy flies them all.

Notebook: `05_training_mappo_lagrangian`. Axis order: episode, drone N or obstacle M, 3.
"""

from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..parallel import Seed
from ..settings import Count, Natural, Share
from .open import OpenTask, dot
from .task import GRAVITY, ROOM, InfeasibleTask, SwarmTask, formation, lengths

if TYPE_CHECKING:
    from .open_world import OpenVectorEnv

Range = tuple[float, float]  # least and largest value: drawn uniformly between them
CRUISE = 2.5  # m/s: about how fast a swarm comes along, for obstacles that cross its way
TRIES = 4  # positions that are tried for an obstacle before the episode goes without it
AWAY = 500.0  # m above the start: where the obstacles are that an episode goes without


def passes(begin: np.ndarray, velocity: np.ndarray, point: np.ndarray) -> np.ndarray:
    """Least distance (m) of begin + velocity · t, t ≥ 0, from a point: (…, 3) each → (…)."""
    to = point - begin
    t = np.maximum(dot(to, velocity), 0) / np.maximum(dot(velocity, velocity), 1e-9)
    return lengths(to - t[..., None] * velocity)


@dataclass(frozen=True)
class SwarmTasks(OpenTask):
    """What is drawn, and between which bounds; `n_drones` in every swarm.

    Directions of way and wind are any; `spread` (m) is the part of the way on which obstacles may
    stand, `climb` (rad) its slope, `height` (m) the air below the lower of start and goal,
    `goal_room` the goal's radius over that of the tightest packing known.
    """

    kind: ClassVar[str] = "swarm-any"
    drawn: ClassVar[tuple[str, ...]] = (
        "start", "target", "goal_radius", "start_spacing", "start_jitter", "mass")  # fmt: skip

    n_drones: Count = 13
    n_obstacles: Natural = 8  # at most
    horizon: Count = 300
    spread: Range = (2.0, 15.0)
    climb: Range = (-0.5, 0.5)
    height: Range = (1.0, 6.0)
    goal_room: Range = (1.25, 2.5)
    spacing: Range = (3.2, 5.0)  # m, in the start formation; the least is more where jitter asks
    jitter: Range = (0.1, 0.5)  # m, along each axis
    masses: Range = (0.4, 0.6)  # kg
    wind: Range = (0.0, 0.5)  # m/s, level
    moving: Share = 0.5  # of the episodes have obstacles that move
    drift: Range = (0.3, 1.5)  # m/s, any direction
    apart: Range = (6.5, 6.5)  # m, the least between the points where obstacles cross the way
    practice: Count = 150  # control steps of each swarm between two updates

    def _check_feasible(self):
        for field in fields(SwarmTask):
            if field.name in self.drawn and getattr(self, field.name) != field.default:
                raise ValueError(f"{field.name} is drawn in every episode: set its range instead")
        for name, least, most in (
            ("spread", 0, np.inf), ("climb", -1.5, 1.5), ("height", self.body_radius, np.inf),
            ("goal_room", 1, np.inf), ("spacing", self.d_safe, np.inf), ("jitter", 0, np.inf),
            ("masses", 1e-9, np.inf), ("wind", 0, np.inf), ("drift", 0, np.inf),
            ("apart", 0, np.inf),
        ):  # fmt: skip
            given = getattr(self, name)
            if len(given) != 2 or not least <= given[0] <= given[1] <= most or given[1] == np.inf:
                raise ValueError(f"{name} must be two numbers, {least:g} ≤ least ≤ largest ≤ "
                                 f"{most:g}, got {given}")  # fmt: skip
        slowest = (self.max_thrust / self.masses[1] - GRAVITY) / self.drag
        if slowest <= self.wind[1]:
            raise InfeasibleTask(f"masses up to {self.masses[1]:g} kg leave {slowest:.3g} m/s "
                                 f"against the wind of {self.wind[1]:g} m/s")  # fmt: skip

    def training_env(self, num_envs: int, seed: Seed = 0) -> "OpenVectorEnv":
        """What a learner flies between two updates: `practice` steps of every swarm.

        Obstacles may also stand closer than in the task, down to `apart` = 0: practice is harder.
        """
        harder = replace(self, horizon=self.practice, apart=(0.0, self.apart[1]))
        return harder.vector_env(num_envs, seed)

    @cached_property
    def top_speed(self) -> float:
        """Speed (m/s) that no drone exceeds in free flight: the lightest one's, with the wind."""
        lightest = 3**0.5 * (self.max_thrust / self.masses[0] - GRAVITY) / self.drag
        return lightest + self.wind[1]

    @cached_property
    def start_radius(self) -> float:
        """Radius (m) of the largest start formation."""
        ball = lengths(formation(self.n_drones, 1.0)).max()
        return float(ball * self.spacing[1] + 3**0.5 * self.jitter[1])

    def scene(self, rng: np.random.Generator, count: int) -> dict[str, Any]:
        """What `count` episodes start with, by the names of `OpenVectorEnv`'s arrays."""

        def within(bounds):
            return rng.uniform(*bounds, count)

        def level(angle):
            return np.stack([np.cos(angle), np.sin(angle), 0 * angle], -1)

        lattice = formation(self.n_drones, 1.0)
        ball = lengths(lattice).max()
        jitter = within(self.jitter)
        least = np.maximum(self.spacing[0], self.d_safe + 2 * 3**0.5 * jitter)
        spacing = least + (np.maximum(self.spacing[1], least) - least) * within((0, 1))
        start_radius = ball * spacing + 3**0.5 * jitter
        room = within(self.goal_room)
        goal_radius = max(ball, 0.5) * self.d_safe * room

        reach, spread = self.obstacle_radius + self.d_safe, within(self.spread)
        low = start_radius + ROOM + reach
        slope = within(self.climb)[:, None]
        along = np.cos(slope) * level(within((0, 2 * np.pi))) + np.sin(slope) * [0, 0, 1]
        way = (low + spread + reach + goal_radius)[:, None] * along
        centre = np.zeros((count, 3))
        centre[:, 2] = np.maximum(start_radius, goal_radius - way[:, 2]) + within(self.height)
        starts = lattice * spacing[:, None, None]
        starts += rng.uniform(-1, 1, starts.shape) * jitter[:, None, None]
        tube = centre, along, low, spread, ball * spacing + reach
        balls = (centre, low), (centre + way, goal_radius + reach)
        obstacles, drift = self._obstacles(rng, count, tube, balls)
        return {
            "positions": centre[:, None] + starts,
            "obstacles": obstacles,
            "drift": drift,
            "centre": centre[:, None],
            "targets": (centre + way)[:, None],
            "shape": lattice * self.d_safe * (1 + room[:, None, None]) / 2,  # over half the room
            "goal_radius": goal_radius[:, None],
            "mass": within(self.masses)[:, None, None],
            "wind": (within(self.wind)[:, None] * level(within((0, 2 * np.pi))))[:, None],
        }

    def _obstacles(self, rng, count, tube, balls):
        """Obstacles and their velocities, (count, M, 3): where they cross the swarm's tube.

        tube: centre of the start, direction, where obstacles may begin to stand, for how long, and
        radius. Each crosses the tube about when the swarm comes along, `apart` from the others,
        and never enters the `balls` (centre, radius) around start and goal.
        """
        centre, along, low, spread, radius = tube
        m = self.n_obstacles
        obstacles = np.tile((centre + [0, 0, AWAY])[:, None], (1, m, 1))
        drift, crossings = np.zeros((count, m, 3)), np.full((count, m, 3), np.inf)
        number = rng.integers(0, m + 1, count)
        moves, apart = rng.random(count) < self.moving, rng.uniform(*self.apart, (count, 1))
        side = np.cross(along, (0, 0, 1))
        side /= lengths(side)[:, None]
        for k in np.repeat(range(m), TRIES):
            angle = rng.uniform(0, 2 * np.pi, (count, 1))
            aside = np.cos(angle) * side + np.sin(angle) * np.cross(side, along)
            far = low + spread * rng.random(count)
            crossing = centre + far[:, None] * along
            crossing += (radius * rng.random(count) ** 0.5)[:, None] * aside
            velocity = rng.normal(size=(count, 3))
            velocity *= (moves * rng.uniform(*self.drift, count) / lengths(velocity))[:, None]
            begin = crossing - velocity * (far / CRUISE * rng.uniform(0.3, 1.5, count))[:, None]
            fits = (k < number) & np.isinf(crossings[:, k, 0])  # wanted, and not yet found
            fits &= (lengths(crossings - crossing[:, None]) >= apart).all(-1)
            for point, room in balls:
                fits &= passes(begin, velocity, point) >= room
            obstacles[fits, k], drift[fits, k] = begin[fits], velocity[fits]
            crossings[fits, k] = crossing[fits]
        return obstacles, drift
