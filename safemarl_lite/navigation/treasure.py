"""Constrained treasure collection: collectors bring treasures to the deposit of their kind.

Notebook: `06_attention_actor_critic`. Sources: Iqbal & Sha 2019 (the task), Parnika et al. 2021
(its two constraints). The physics are navigation's with two sizes of bodies, two masses and a
limit of speed. N = C + D agents, the collectors first; treasure t at x_t is of a kind z_t < D, and
deposit d takes kind d. One step: all agents move; then, treasure after treasure, the first empty
collector that touches it takes it, and another one, of a random kind, appears at a random place;
then every collector that touches the deposit of what it holds delivers. Read after the step, with
h_i what collector i holds (or nothing), p_i its place and q_d the place of deposit d:

    k   = 0.1 · (Σ_i ‖p_i − its aim‖ + Σ_d ‖q_d − its aim‖) − 5 · (taken + delivered)
    c_1 = 1 if any two collectors overlap, else 0
    c_2 = 1 if any two deposits overlap, else 0

A collector's aim is the nearest treasure, or the deposit of what it holds; a deposit's is the
nearest collector that holds its kind, or the mean place of all collectors. Unlike in the authors'
program, a treasure taken comes back in the same step, and k counts what is taken, not overlaps.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from PIL.ImageColor import getrgb
from torch.nn.functional import one_hot

from ..settings import Count
from .task import ParticleTask, contact_force, integrate, nearest_first
from .world import NavigationEnv, NavigationVectorEnv, _inside

RADII, TREASURE, BOUND = (0.05, 0.075), 0.025, 0.95  # collectors, deposits; where treasures lie
MASSES, FASTEST, PRIZE = (1.0, 2.25), 1.0, 5.0
KINDS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7")  # colours of the first kinds


@dataclass(frozen=True)
class TreasureTask(ParticleTask):
    """Everything that may be set about the task; raises `ValueError` on construction.

    `thresholds` are α_1 of the collectors' overlaps and, if given, α_2 of the deposits'.
    """

    kind: ClassVar[str] = "treasure"
    thrust: ClassVar[float] = 2.25  # the largest own acceleration along an axis

    n_collectors: Count = 6
    n_deposits: Count = 2
    n_treasures: Count = 6
    horizon: Count = 100  # steps
    thresholds: tuple[float, ...] = (12.0, 0.2)

    def vector_env(self, num_envs: int, seed=0, **options: bool) -> "TreasureVectorEnv":
        """A `TreasureVectorEnv` of this task."""
        return TreasureVectorEnv(self, num_envs, seed, **options)

    @property
    def n_agents(self) -> int:
        """Collectors and deposits."""
        return self.n_collectors + self.n_deposits

    @property
    def radii(self) -> tuple[float, ...]:
        """The agents' radii, (N,)."""
        return (RADII[0],) * self.n_collectors + (RADII[1],) * self.n_deposits

    @property
    def layout(self) -> tuple[int, tuple[int, int], tuple[int, int]]:
        """Numbers of an agent's own, then (rows, numbers in a row) of treasures and of others."""
        D = self.n_deposits
        return 7 + 2 * D, (self.n_treasures, 2 + D), (self.n_agents - 1, 4 + 2 * D)

    @property
    def view_size(self) -> int:
        """Length O of an agent's own view; see `TreasureVectorEnv.observations`."""
        own, (T, e), (J, f) = self.layout
        return own + T * e + J * f


class TreasureVectorEnv(NavigationVectorEnv):
    """`num_envs` worlds in step with each other; see `NavigationVectorEnv`.

    Starts: agents uniform in [−1, 1]² and at rest, treasures in [−0.95, 0.95]², kinds uniform.
    `reset`'s options: `positions`, `velocities` (E, N, 2), `landmarks` (E, T, 2), which are the
    treasures' places, `kinds` (E, T), and `holding` (E, C), a kind, or −1 for nothing.
    """

    DRAWN = (*NavigationVectorEnv.DRAWN, "kinds", "holding")

    def _start(self):
        task, size = self.task, self.num_envs
        C, D = task.n_collectors, task.n_deposits
        body = torch.tensor([0] * C + [1] * D)
        radius = torch.tensor(task.radii, dtype=torch.float64)
        mass = torch.tensor(MASSES, dtype=torch.float64)[body]
        others = self._others.view(task.n_agents, -1)
        self._reach = (radius[:, None] + radius[others])[:, :, None]
        self._inertia = (mass[others] / mass[:, None] ** 2)[:, :, None, None]
        self._positions = _inside(self.rng.uniform(-1, 1, (size, task.n_agents, 2)))
        self._landmarks = _inside(self.rng.uniform(-BOUND, BOUND, (size, task.n_treasures, 2)))
        self._kinds = torch.as_tensor(self.rng.integers(D, size=(size, task.n_treasures)).T.copy())
        self._holding = torch.full((C, size), -1)
        self._velocities, self.steps = torch.zeros_like(self._positions), 0
        self._prizes = torch.zeros(size)
        self._measure()

    def _set(self, name, value):
        if name in ("kinds", "holding"):
            least, most = -(name == "holding"), self.task.n_deposits - 1
            if not np.isin(value, range(least, most + 1)).all():
                raise ValueError(f"{name} must be integers {least} to {most}, got {value}")
            return setattr(self, "_" + name, torch.as_tensor(value.T.astype(np.int64)))
        super()._set(name, value)

    def _move(self, force):
        push = contact_force(self._ways, self._gaps, self._reach) * self._inertia
        state = self._positions, self._velocities, force + push.sum(1)
        self._positions, self._velocities = integrate(*state, self.task.integration, FASTEST)
        self._measure()
        C = self.task.n_collectors
        near = self._distances[:C] < RADII[0] + TREASURE  # (C, T, E)
        taken = torch.zeros_like(self._kinds, dtype=torch.bool)
        for t, kinds in enumerate(self._kinds):
            able = near[:, t] & (self._holding < 0)
            first = able & (able.cumsum(0) == 1)
            self._holding = torch.where(first, kinds, self._holding)
            taken[t] = able.any(0)
        to_deposits = self._positions[C:, None] - self._positions[:C]  # (D, C, 2, E)
        touching = to_deposits.square().sum(2).sqrt() < sum(RADII)
        delivered = (touching & self._matches()).any(0)
        self._holding[delivered] = -1
        self._prizes = taken.sum(0) + delivered.sum(0)
        count = int(taken.sum())
        fresh = torch.as_tensor(self.rng.uniform(-BOUND, BOUND, (2, count)))
        self._landmarks.transpose(0, 1)[:, taken] = fresh
        self._kinds[taken] = torch.as_tensor(self.rng.integers(self.task.n_deposits, size=count))

    def _matches(self):
        """Whether collector i holds what deposit d takes, (D, C, E)."""
        return self._holding == torch.arange(self.task.n_deposits)[:, None, None]

    def _aims(self):
        """The way from each agent to its aim, (N, 2, E)."""
        C, worlds = self.task.n_collectors, torch.arange(self.num_envs)
        p, q, holds = self._positions[:C], self._positions[C:], self._matches()
        near = self._distances[:C].argmin(1)  # (C, E)
        fetch = self._to_landmarks[torch.arange(C)[:, None], near, :, worlds].transpose(1, 2)
        ways = p - q[:, None]  # (D, C, 2, E), from a deposit to a collector
        bring = -(ways * holds[:, :, None]).sum(0)
        caller = ways.square().sum(2).masked_fill(~holds, torch.inf).argmin(1)  # (D, E)
        come = ways[torch.arange(len(q))[:, None], caller, :, worlds].transpose(1, 2)
        collect = torch.where(self._holding[:, None] < 0, fetch, bring)
        return torch.cat([collect, torch.where(holds.any(1)[:, None], come, p.mean(0) - q)])

    def team_cost(self) -> np.ndarray:
        """The team's cost k of the last step, (E,)."""
        far = self._aims().square().sum(1).sqrt().sum(0)
        return (0.1 * far - PRIZE * self._prizes).numpy()

    def _overlap(self):
        """Overlaps (N, N − 1, E) of each agent with the others of its own sort."""
        C, n = self.task.n_collectors, self.task.n_agents
        alike = (torch.arange(n) < C)[:, None] == (self._others < C).view(n, n - 1)
        return (self._gaps < self._reach) & alike[:, :, None]

    def costs(self) -> np.ndarray:
        """Each agent's share of each constraint now, (E, N, m); their sum over agents is c."""
        touching, collects = self._overlap().any(1), torch.arange(self.task.n_agents)[:, None]
        collects = collects < self.task.n_collectors
        parts = [touching & collects, touching & ~collects][: len(self.task.thresholds)]
        guilty = torch.stack(parts, 2).double()
        return (guilty / guilty.sum(0).clamp(min=1)).transpose(0, 1).numpy()

    def contacts(self) -> np.ndarray:
        """Number of overlapping pairs of collectors, and of deposits, now, (E,)."""
        return self._overlap().sum((0, 1)).numpy() // 2

    def _sorts(self):
        """What each agent is: [holds kind 0 … D − 1, is deposit 0 … D − 1], (N, 2D, E)."""
        C, D = self.task.n_collectors, self.task.n_deposits
        sorts = torch.zeros(self.task.n_agents, 2 * D, self.num_envs)
        sorts[:C, :D] = self._matches().transpose(0, 1).float()
        sorts[C:, D:] = torch.eye(D)[:, :, None]
        return sorts

    def observations(self) -> np.ndarray:
        """Each agent's own view, (E, N, O), in the numbers of `layout`.

        Own velocity and position, time left, what it is (holds which kind, is which deposit), the
        way to its aim; of each treasure, nearest first, the way there and its kind; of each other
        agent, nearest first, the way there, its velocity, and what it is.
        """
        n, size, sorts = self.task.n_agents, self.num_envs, self._sorts()
        v, p = self._velocities.float(), self._positions.float()
        clock = torch.full((n, 1, size), self._time_left(), dtype=torch.float32)
        kinds = one_hot(self._kinds, self.task.n_deposits).transpose(1, 2).float()
        marks = torch.cat([self._to_landmarks.float(), kinds.expand(n, -1, -1, -1)], 2)
        others = torch.cat([v, sorts], 1)[self._others].unflatten(0, (n, n - 1))
        others = torch.cat([self._ways.float(), others], 2)
        lists = nearest_first(marks, self._distances), nearest_first(others, self._gaps)
        return (
            torch.cat([v, p, clock, sorts, self._aims().float(), *lists], 1)
            .permute(2, 0, 1)
            .contiguous()
            .numpy()
        )

    def state(self) -> np.ndarray:
        """[positions, velocities, treasures, holding one-hot, kinds one-hot, time left], (E, S)."""
        kinds = one_hot(self._kinds, self.task.n_deposits).transpose(1, 2)
        parts = self._positions, self._velocities, self._landmarks, self._matches(), kinds
        clock = torch.full((1, self.num_envs), self._time_left())
        flat = [x.flatten(0, 1).float() for x in parts]
        return torch.cat([*flat, clock]).t().contiguous().numpy()

    def discs(self) -> list[tuple[np.ndarray, float, tuple[int, ...]]]:
        """Places, radii and colours of what `picture` shows; a collector has its load's colour."""
        colours = [getrgb(colour) for colour in KINDS]
        shades = [(120, 120, 120) if h < 0 else colours[h % 4] for h in self._holding[:, 0]]
        banks = (colours[d % 4] for d in range(self.task.n_deposits))
        shades += [tuple(x // 2 for x in colour) for colour in banks]
        agents = zip(self.positions[0], self.task.radii, shades, strict=True)
        kinds = (colours[k % 4] for k in self._kinds[:, 0])
        marks = [(x, TREASURE, k) for x, k in zip(self.landmarks[0], kinds, strict=True)]
        return [*marks, *agents]

    kinds = property(lambda self: self._kinds.T.numpy())  # (E, T)
    holding = property(lambda self: self._holding.T.numpy())  # (E, C)


class TreasureEnv(NavigationEnv):
    """One world with PettingZoo's parallel API."""

    task_type = TreasureTask
    metadata: ClassVar = NavigationEnv.metadata | {"name": "treasure_v0"}
