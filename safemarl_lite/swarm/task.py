"""The swarm task: what may be set, what is feasible, what is drawn, what costs.

Notebook: `02_swarm_environment`; the physics is in `world.py`. Source: the draft's scenario and
cost functions, repaired. Symbols: p_i position of drone i (m), o_k centre of obstacle k, r_k its
radius, τ the threshold on the discounted cost of an episode. Per step, after the step:

    c_drones    = Σ_i Σ_{j≠i} 1[‖p_i − p_j‖ < d_safe]        (ordered pairs: a close pair costs 2)
    c_obstacles = Σ_i Σ_k 1[‖p_i − o_k‖ < r_k + d_safe]
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from scipy.optimize import linear_sum_assignment

from ..settings import (
    Amount,
    Count,
    Discount,
    Natural,
    Point,
    Positive,
    check_fields,
    thresholds_of,
)

if TYPE_CHECKING:
    from .world import SwarmVectorEnv

GRAVITY = 9.81  # m/s²
ROOM = 1.0  # m between the start region and the nearest safe distance of an obstacle


class InfeasibleTask(ValueError):
    """No policy can satisfy this task; the message says which number would do."""


def least_goal_radius(n: int, d: float) -> float:
    """Radius (m) below which no ball holds `n` points at pairwise distance ≥ `d` (m).

    Exact up to six points: d/2, d/√3, d·√(3/8), d/√2, d/√2. Beyond, a bound from below: n balls of
    radius d/2 inside a ball of radius R + d/2 need (R + d/2)³ ≥ n·(d/2)³.
    """
    exact = (0, 0, 1 / 2, 1 / 3**0.5, (3 / 8) ** 0.5, 1 / 2**0.5, 1 / 2**0.5)
    return d * (exact[n] if n <= 6 else max(exact[6], (n ** (1 / 3) - 1) / 2))


def lengths(x: np.ndarray) -> np.ndarray:
    """Euclidean norm of the last axis."""
    return np.sqrt(np.einsum("...i,...i->...", x, x))


def formation(n: int, d: float) -> np.ndarray:
    """`n` points (n, 3) around the origin, pairwise ≥ `d` apart, in a small ball.

    Up to six points the smallest possible (pair, triangle, tetrahedron, octahedron), beyond that
    the points of the face-centred cubic lattice nearest to the origin: one, 12, 6, 24, ….
    """
    if n <= 6:
        triangle = [(np.cos(a), np.sin(a), 0) for a in np.arange(3) * 2 * np.pi / 3]
        tetrahedron = [(1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1)]
        octahedron = [(1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)]
        points = {1: [(0, 0, 0)], 3: triangle, 4: tetrahedron}.get(n, octahedron[:n])
        return np.array(points, float) * least_goal_radius(n, d) / (3**0.5 if n == 4 else 1)
    reach = int(np.ceil(n ** (1 / 3))) + 1
    axis = np.arange(-reach, reach + 1)
    lattice = np.stack(np.meshgrid(axis, axis, axis), -1).reshape(-1, 3)
    lattice = lattice[lattice.sum(-1) % 2 == 0]  # neighbours are √2 apart
    order = np.lexsort((*lattice.T, (lattice**2).sum(-1)))
    return lattice[order[:n]] * d / 2**0.5


def near(
    gap: np.ndarray, reach: float | np.ndarray, margin: float | np.ndarray = 0.0
) -> np.ndarray:
    """1 where gap < reach; with a margin, falling linearly to 0 at reach + margin: never less."""
    if np.ndim(margin) == 0 and margin == 0:
        return gap < reach
    return np.minimum(np.maximum((reach + margin - gap) / margin, 0), 1)


def gaps(positions: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Distances (m) between drones and other points: (…, N, 3), (…, M, 3) → (…, N, M)."""
    return lengths(positions[..., :, None, :] - others[..., None, :, :])


def drone_costs(positions: np.ndarray, d_safe: float) -> np.ndarray:
    """Each drone's number of other drones closer than `d_safe` (m): (…, N, 3) → (…, N)."""
    return near(gaps(positions, positions), d_safe).sum(-1) - 1.0  # itself is no neighbour


def obstacle_costs(positions: np.ndarray, obstacles: np.ndarray, reach: float) -> np.ndarray:
    """Each drone's number of obstacle centres nearer than `reach` (m): (…, N, 3) → (…, N)."""
    return near(gaps(positions, obstacles), reach).sum(-1).astype(float)


def assigned(starts: np.ndarray, shapes: Sequence[np.ndarray]) -> np.ndarray:
    """Each drone's place in its swarm's shape (N, 3): the cheapest for starts (count, N, 3), in m.

    Both about their own centre; cheap is a small sum of squared ways.
    """
    places = np.empty_like(starts)
    for start, shape, place in zip(starts, shapes, places, strict=True):
        way = start[:, None] - shape
        place[:] = shape[linear_sum_assignment((way**2).sum(-1))[1]]
    return places


@dataclass(frozen=True)
class SwarmTask:
    """Everything that may be set about the swarm; raises `InfeasibleTask` on construction."""

    kind: ClassVar[str] = "swarm"
    equivariant: ClassVar[bool] = False  # which networks fly it
    entry_bonus: ClassVar[float] = 0.0  # reward of a drone that enters the goal; lost on leaving it
    cost_cap: ClassVar[float] = 10.0  # of an episode's discounted cost; stated, not proved

    n_drones: Count = 5
    n_obstacles: Natural = 3
    target: Point = (10.0, 10.0, 5.0)  # m
    d_safe: Positive = 2.0  # m
    obstacle_radius: Positive = 1.0  # m
    goal_radius: Positive = 2.5  # m, all drones must be within it at once
    dt: Positive = 0.1  # s, one control step
    horizon: Count = 100  # control steps
    threshold: float | tuple[float, float] = 0.1  # τ, or (τ_drones, τ_obstacles)
    discount: Discount = 0.99
    control: Literal["force", "attitude"] = "force"
    start: Point = (-2.0, -2.0, 8.0)  # m, centre of the start formation
    start_spacing: Positive = 3.2  # m, between neighbours in that formation
    start_jitter: Amount = 0.3  # m, along each axis
    mass: Positive = 0.5  # kg
    body_radius: Positive = 0.3  # m
    max_thrust: Positive = 7.5  # N
    drag: Positive = 1.5  # 1/s: the drag force is −mass · drag · velocity
    arrival_bonus: Amount = 5.0  # reward of each drone when all are in the goal
    margin: Amount = 0.5  # m: width of the ramp of the surrogate cost that advantages are made of
    obstacle_buffer: Amount = 0.15  # m beyond the limit up to which that cost is 1: of obstacles
    n_neighbours: Natural = 4  # drones in a view, nearest first
    n_obstacles_seen: Natural = 3  # obstacles in a view, nearest first

    def __post_init__(self) -> None:
        check_fields(self)
        limits = thresholds_of("threshold", self.threshold)
        object.__setattr__(self, "threshold", limits if len(limits) == 2 else limits[0])
        self._check_feasible()
        if not self.top_speed * self.dt <= 1000 * self.body_radius:
            why = f"{self.top_speed:.3g} m/s is too fast for dt={self.dt:g}"
            raise InfeasibleTask(f"top speed {why}: less thrust, more mass or drag")

    def _check_feasible(self):
        def refuse_below(name, given, least, why):
            if given < least:
                low = np.ceil(least * 1e4) / 1e4  # rounded up, so that this number is accepted
                raise InfeasibleTask(f"{name}={given:g} is infeasible: {why}; at least {low:.10g}")

        n, d, reach = self.n_drones, self.d_safe, self.obstacle_radius + self.d_safe
        refuse_below("d_safe", d, 2 * self.body_radius, "drones would touch without a cost")
        refuse_below("goal_radius", self.goal_radius, least_goal_radius(n, d),
                     f"{n} drones cannot keep {d:g} m apart in that ball")  # fmt: skip
        refuse_below("goal_radius", self.goal_radius, lengths(formation(n, d)).max() * (n > 6),
                     f"the places of {n} drones {d:g} m apart do not fit in")  # fmt: skip
        jitter = 2 * 3**0.5 * self.start_jitter
        refuse_below("start_spacing", self.start_spacing, (d + jitter) * (n > 1),
                     f"drones would start closer than d_safe={d:g} m")  # fmt: skip
        lowest = formation(n, self.start_spacing)[:, 2].min() - self.start_jitter
        refuse_below("start height", self.start[2], self.body_radius - lowest,
                     "drones would start in the ground")  # fmt: skip
        refuse_below("target height", self.target[2], self.body_radius - self.formation[:, 2].min(),
                     "places at the target would be in the ground")  # fmt: skip
        refuse_below("max_thrust", self.max_thrust, np.nextafter(self.mass * GRAVITY, np.inf),
                     f"it cannot lift {self.mass:g} kg")  # fmt: skip
        if self.n_obstacles:
            least = self.start_radius + 2 * reach + ROOM + self.goal_radius
            why = "obstacles would overlap the start or the goal"
            refuse_below("distance to target", self.distance, least, why)
        way = max(self.distance - self.goal_radius, 0)
        refuse_below("horizon", self.horizon, int(np.ceil(way / (self.top_speed * self.dt))),
                     f"{way:.1f} m at {self.top_speed:.1f} m/s need more steps")  # fmt: skip

    @cached_property
    def thresholds(self) -> tuple[float, ...]:
        """τ as a tuple: one number for the total cost, or (τ_drones, τ_obstacles)."""
        return thresholds_of("threshold", self.threshold)

    @cached_property
    def distance(self) -> float:
        """Distance (m) from the centre of the start to the target."""
        return float(np.linalg.norm(np.subtract(self.target, self.start)))

    @cached_property
    def start_radius(self) -> float:
        """Radius (m) of the ball around `start` that holds every start position."""
        spread = lengths(formation(self.n_drones, self.start_spacing)).max()
        return float(spread + 3**0.5 * self.start_jitter)

    @cached_property
    def top_speed(self) -> float:
        """Speed (m/s) that no drone exceeds in free flight: largest acceleration / drag."""
        lift = self.max_thrust / self.mass
        spare = 3**0.5 * (lift - GRAVITY) if self.control == "force" else lift + GRAVITY
        return spare / self.drag

    @cached_property
    def reach(self) -> float:
        """Distance (m) along an axis from `start` that no drone exceeds in an episode."""
        speed = self.top_speed / (3**0.5 if self.control == "force" else 1)
        return self.start_radius + speed * self.dt * self.horizon

    @cached_property
    def ticks(self) -> int:
        """Physics ticks a control step: in one tick no drone moves further than its radius."""
        least = 5 if self.control == "attitude" else 1  # the attitude loop needs 50 Hz
        return max(least, int(np.ceil(self.top_speed * self.dt / self.body_radius)))

    def vector_env(self, num_envs: int, seed=0, **options: bool) -> "SwarmVectorEnv":
        """A `SwarmVectorEnv` of this task; needs PyBullet."""
        from .world import SwarmVectorEnv

        return SwarmVectorEnv(self, num_envs, seed, **options)

    @cached_property
    def limits(self) -> np.ndarray:
        """Distances (m) below which drones and obstacles cost, (K,)."""
        drones, obstacles = self.d_safe, self.obstacle_radius + self.d_safe
        return np.repeat([drones, obstacles], [self.n_drones, self.n_obstacles])

    @cached_property
    def surrogate_limits(self) -> np.ndarray:
        """Distances (m) below which the surrogate is 1, (K,): grazing an obstacle costs in full."""
        count = [self.n_drones, self.n_obstacles]
        return self.limits + np.repeat([0, self.obstacle_buffer], count)

    @property
    def margins(self) -> float | np.ndarray:
        """Width (m) of the surrogate's ramp; or one for each other, (K,)."""
        return self.margin

    @property
    def cost_most(self) -> float:
        """No episode's discounted cost is above this: all too close to all in every step."""
        steps = (1 - self.discount**self.horizon) / (1 - self.discount)
        return self.n_drones * (self.n_drones - 1 + self.n_obstacles) * steps

    @property
    def n_agents(self) -> int:
        return self.n_drones

    @property
    def action_size(self) -> int:
        """Force: 3 numbers; attitude: thrust, roll, pitch and yaw rate."""
        return 3 if self.control == "force" else 4

    @property
    def view_size(self) -> int:
        """Length O of a drone's own view; see `view`."""
        attitude = 3 * (self.control == "attitude")
        return 9 + 7 * self.n_neighbours + 4 * self.n_obstacles_seen + attitude

    @cached_property
    def formation(self) -> np.ndarray:
        """Places (N, 3) in m around the target: the shape of the start, over half the spare room.

        Half-way between the tightest packing and one that touches the goal ball from within:
        flying there in formation keeps all distances, with room on both sides at the end.
        """
        tight = formation(self.n_drones, self.d_safe)
        radius = lengths(tight).max()
        return tight * (1 if radius == 0 else (radius + self.goal_radius) / 2 / radius)

    def places(self, positions: np.ndarray) -> np.ndarray:
        """Each drone's place at the target: the cheapest assignment for starts (count, N, 3)."""
        return assigned(positions - self.start, [self.formation] * len(positions)) + self.target

    def draw(self, rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Draw starts of `count` episodes → positions (count, N, 3), obstacles (count, M, 3), in m.

        Starts are a jittered `formation`, ≥ d_safe apart. Every obstacle's centre lies within
        r + d_safe of the straight way from start to target, so that this way is never free, and
        further than that from every start and from the goal ball; all stand to one side of the
        way (within 60° of a drawn direction), so that the other side is open.
        """
        order = rng.permuted(np.tile(np.arange(self.n_drones), (count, 1)), axis=1)
        places = formation(self.n_drones, self.start_spacing)[order]
        places += rng.uniform(-self.start_jitter, self.start_jitter, places.shape)
        reach = self.obstacle_radius + self.d_safe
        along = np.subtract(self.target, self.start) / max(self.distance, 1e-9)
        low = self.start_radius + reach + ROOM
        high = self.distance - self.goal_radius - reach
        shape = (count, self.n_obstacles, 1)
        way = rng.uniform(low, max(low, high), shape) * along
        level = np.cross(along, (0, 0, 1) if abs(along[2]) < 0.99 else (1, 0, 0))
        level /= max(lengths(level), 1e-9)
        angle = rng.uniform(0, 2 * np.pi, (count, 1, 1)) + rng.uniform(-1, 1, shape) * np.pi / 3
        aside = np.cos(angle) * level + np.sin(angle) * np.cross(level, along)
        aside *= reach * rng.uniform(0.5, 1, shape)
        return self.start + places, self.start + way + aside
