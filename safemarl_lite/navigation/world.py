"""Constrained Cooperative Navigation: a batched environment and its PettingZoo twin.

Notebook: `06_attention_actor_critic`; the task and the physics are in `task.py`.
Source: Parnika et al. 2021 (arXiv 2101.02349, §3). With `integration="mpe2"` it equals
`mpe2.simple_spread_v3` step by step. Symbols: p_i position of agent i, x_l landmark l. All costs
are read after the step:

    k   = Σ_l min_i ‖p_i − x_l‖            the team's cost, to be minimised; every reward is −k
    c_1 = 1 if any ‖p_i − p_j‖ < 2 · RADIUS, else 0      collision
    c_2 = 1 if any agent is outside [−1, 1]², else 0     leaving the arena (if given a threshold)

Inside, the environment axis comes last; what is returned has it first, as in `Step`.
"""

from typing import ClassVar

import gymnasium as gym
import numpy as np
import torch
from PIL import Image, ImageDraw

from ..parallel import Batch, OneWorld, Seed
from ..step import Step
from .task import (
    MOVES,
    RADIUS,
    NavigationTask,
    contact_force,
    integrate,
    paper_view,
    relational_view,
)


class NavigationVectorEnv(Batch):
    """`num_envs` particle worlds in step with each other; ended episodes start anew together.

    `seed` is an int or a `SeedSequence`. Actions: integers (E, N) below 5, or (E, N, 2) in
    [−1, 1], clipped. Starts: all positions uniform in [−1, 1]², at rest, so that about half of
    the starts of five agents overlap. Physics in float64; views and state are float32.
    """

    DRAWN = ("positions", "velocities", "landmarks")
    view_type = np.float32

    def __init__(
        self, task: NavigationTask, num_envs: int, seed: Seed = 0, autoreset: bool = True
    ) -> None:
        super().__init__(task, num_envs, seed, autoreset, "agent")
        n, spaces = task.n_agents, gym.spaces
        self.discrete = task.actions == "discrete"
        self.agent_action_space = spaces.Discrete(5) if self.discrete else spaces.Box(-1, 1, (2,))
        self._others = torch.tensor([j for i in range(n) for j in range(n) if j != i]).long()
        self._thrust = task.thrust * torch.tensor(MOVES[task.integration], dtype=torch.float64).T
        self._start()

    def reset(
        self, seed: Seed | None = None, options: dict | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Start every world anew → (observations, state). `options` may give what is drawn:

        `positions` and `velocities` (E, N, 2), `landmarks` (E, L, 2).
        """
        if seed is not None:
            self.rng = np.random.default_rng(seed)
        self._start()
        for name, value in self._given(options):
            self._set(name, value)
        self._measure()
        return self.observations(), self.state()

    def _set(self, name, value):
        setattr(self, "_" + name, _inside(value))

    def _start(self):
        """Draw starts in the reference's order: for each world its agents, then its landmarks."""
        n, points = self.task.n_agents, self.task.n_agents + self.task.n_landmarks
        drawn = _inside(self.rng.uniform(-1, 1, (self.num_envs, points, 2)))
        self._positions, self._landmarks = drawn[:n], drawn[n:]
        self._velocities, self.steps = torch.zeros_like(self._positions), 0
        self._measure()

    def _relative(self, x):
        """x_j − x_i for all others j of each agent i, (N, N − 1, 2, E)."""
        n = self.task.n_agents
        return x[self._others].view(n, n - 1, 2, self.num_envs) - x[:, None]

    def _measure(self):
        """Ways and distances to the other agents and to the landmarks, used all over."""
        self._ways = self._relative(self._positions)
        self._to_landmarks = self._landmarks - self._positions[:, None]
        self._gaps = self._ways.square().sum(2).sqrt()
        self._distances = self._to_landmarks.square().sum(2).sqrt()

    def _forces(self, actions):
        """The agents' own forces (N, 2, E) for checked actions."""
        if not self.discrete:
            return _inside(self.task.thrust * self._checked(actions))
        shape, actions = (self.num_envs, self.task.n_agents), np.asarray(actions)
        fits = actions.shape == shape and actions.dtype.kind in "iu"
        if not fits or actions.min() < 0 or actions.max() > 4:
            given = "others" if fits else f"{actions.dtype} of shape {actions.shape}"
            raise ValueError(f"actions must be integers 0 to 4 of shape {shape}, got {given}")
        return self._thrust[:, torch.as_tensor(actions.T.astype(np.int64))].transpose(0, 1)

    def step(self, actions: np.ndarray) -> Step:
        """Advance every world by one step → `Step`, whose surrogate is the cost itself."""
        task = self.task
        self._move(self._forces(actions))
        self.steps += 1
        self._measure()
        rewards = np.repeat(-self.team_cost()[:, None], task.n_agents, 1)
        costs, contacts = self.costs(), self.contacts()
        ends = np.zeros((2, self.num_envs), bool)  # terminated, truncated
        ends[0 if task.horizon_is_terminal else 1] = self.steps >= task.horizon
        successor = now = self.observations(), self.state()
        if self.autoreset and self.steps >= task.horizon:
            self._start()
            now = self.observations(), self.state()
        return Step(*now, rewards, costs, *ends, *successor, contacts, costs)

    def _move(self, force):
        """Move all agents by one step under their own forces (N, 2, E) and the contacts'."""
        state = self._positions, self._velocities
        force = force + contact_force(self._ways, self._gaps).sum(1)
        self._positions, self._velocities = integrate(*state, force, self.task.integration)

    def team_cost(self) -> np.ndarray:
        """The team's cost k now: Σ over landmarks of the distance to the nearest agent, (E,)."""
        return self._distances.amin(0).sum(0).numpy()

    def costs(self) -> np.ndarray:
        """Each agent's share of each constraint now, (E, N, m); their sum over agents is c.

        Of a collision, or of leaving the arena, the agents that do it bear equal shares.
        """
        outside = self._positions.abs().amax(1) > 1
        alone = self.task.n_agents == 1
        touching = torch.zeros_like(outside) if alone else self._gaps.amin(1) < 2 * RADIUS
        guilty = torch.stack([touching, outside][: len(self.task.thresholds)], 2).double()
        return (guilty / guilty.sum(0).clamp(min=1)).transpose(0, 1).numpy()

    def contacts(self) -> np.ndarray:
        """Number of colliding pairs now, (E,)."""
        return (self._gaps < 2 * RADIUS).sum((0, 1)).numpy() // 2

    def observations(self) -> np.ndarray:
        """Each agent's own view, (E, N, O): see `relational_view` and `paper_view`."""
        own = self._velocities.float(), self._positions.float()
        marks, ways = self._to_landmarks.float(), self._ways.float()
        if self.task.view == "paper":
            view = paper_view(*own, marks, ways)
        else:
            others = torch.cat([ways, self._relative(own[0])], 2)
            seen = marks, self._distances, others, self._gaps
            view = relational_view(*own, self._time_left(), *seen)
        return view.permute(2, 0, 1).contiguous().numpy()

    def state(self) -> np.ndarray:
        """Global state [positions, velocities, landmarks, time left], (E, 4N + 2L + 1)."""
        parts = (x.flatten(0, 1) for x in (self._positions, self._velocities, self._landmarks))
        clock = torch.full((1, self.num_envs), self._time_left(), dtype=torch.float64)
        return torch.cat([*parts, clock]).float().t().contiguous().numpy()

    def discs(self) -> list[tuple[np.ndarray, float, tuple[int, ...]]]:
        """Places, radii and colours of what `picture` shows of the first world.

        Blue: agents; orange: agents that collide; dark: landmarks.
        """
        hits = (self._gaps[..., 0] < 2 * RADIUS).any(1)
        agents = [(x, RADIUS, (213, 94, 0) if hit else (0, 114, 178))
                  for x, hit in zip(self.positions[0], hits, strict=True)]  # fmt: skip
        return agents + [(x, 0.05, (38, 38, 38)) for x in self.landmarks[0]]

    def _time_left(self):
        return 1 - self.steps / self.task.horizon

    positions = property(lambda self: _outside(self._positions))  # (E, N, 2)
    velocities = property(lambda self: _outside(self._velocities))
    landmarks = property(lambda self: _outside(self._landmarks))  # (E, L, 2)


def _inside(points):
    """(E, N, 2) numpy → (N, 2, E) torch, a copy."""
    return torch.as_tensor(points).permute(1, 2, 0).clone(memory_format=torch.contiguous_format)


def _outside(points):
    """(N, 2, E) torch → (E, N, 2) numpy."""
    return points.permute(2, 0, 1).numpy()


class NavigationEnv(OneWorld):
    """One world with PettingZoo's parallel API.

    With `integration="mpe2"` it takes the discrete actions of `mpe2.simple_spread_v3`, and from
    the same seed starts in the same place. `reset`'s options: `positions`, `velocities` (N, 2),
    `landmarks` (L, 2).
    """

    task_type: ClassVar = NavigationTask
    metadata: ClassVar = OneWorld.metadata | {"name": "navigation_v0"}

    def __init__(self, task=None, render_mode: str | None = None) -> None:
        batch = (task or self.task_type()).vector_env(1, autoreset=False)
        super().__init__(batch, render_mode)

    def render(self) -> np.ndarray | None:
        """A picture (size, size, 3) uint8 from above."""
        return picture(self.batch) if self.render_mode else None


def picture(env: NavigationVectorEnv, size: int = 400, reach: float = 1.4) -> np.ndarray:
    """The first world of a batch from above, (size, size, 3) uint8; its discs, the arena white."""
    scale = 2 * size / (2 * reach)  # drawn at twice the size, then shrunk: smooth edges
    image = Image.new("RGB", (2 * size, 2 * size), (224, 224, 224))
    draw = ImageDraw.Draw(image, "RGBA")

    def box(centre, radius):
        x, y = (reach + centre[0]) * scale, (reach - centre[1]) * scale
        return x - radius * scale, y - radius * scale, x + radius * scale, y + radius * scale

    draw.rectangle(box((0, 0), 1), fill=(255, 255, 255))
    for place, radius, colour in env.discs():
        draw.ellipse(box(place, radius), fill=(*colour, 217))
    return np.asarray(image.resize((size, size), Image.Resampling.LANCZOS))
