"""Constrained Cooperative Navigation: a batched environment and its PettingZoo twin.

Notebook: `06_attention_actor_critic`. Sources: Parnika et al. 2021 (arXiv 2101.02349, §3: the
constrained task); Lowe et al. 2017 (the particle world); `mpe2.simple_spread_v3`, which this
equals step by step with `integration="mpe2"`. Units are the particle world's own, mass 1.
Symbols: p_i, v_i position and velocity of agent i, x_l landmark l, d_ij = ‖p_i − p_j‖. All costs
are read after the step:

    k   = Σ_l min_i ‖p_i − x_l‖               the team's cost, to be minimised; every reward is −k
    c_1 = 1 if any d_ij < 2 · RADIUS, else 0           collision
    c_2 = 1 if any agent is outside [−1, 1]², else 0   leaving the arena (with a second threshold)

Agent i is driven by f_i = 5 · action + Σ_j (p_i − p_j) / d_ij · 100 · s(d_ij), where s is the soft
overlap MARGIN · log(1 + exp((2 · RADIUS − d_ij) / MARGIN)). One step of DT = 0.1:

    "openai" (the paper's):  v ← 0.75 v + DT · f,  then  p ← p + DT · v
    "mpe2":                  p ← p + DT · v,       then  v ← 0.75 v + DT · f

Inside, the environment axis E comes last, so that each operation runs over long rows: positions
(N, 2, E), landmarks (L, 2, E). What is returned has it first: (E, N, feature), as in `Step`.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import gymnasium as gym
import numpy as np
import torch
from pettingzoo import ParallelEnv
from torch.nn.functional import softplus

from .step import Step

DT, DAMPING, THRUST, STIFFNESS, MARGIN, RADIUS = 0.1, 0.25, 5.0, 100.0, 1e-3, 0.15
MOVES = {  # direction of each discrete action; the two libraries count left and right differently
    "openai": ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)),
    "mpe2": ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1)),
}


@dataclass(frozen=True)
class NavigationTask:
    """Everything that may be set about the task; raises `ValueError` on construction.

    `horizon_is_terminal`: the episode ends by itself at the horizon (γ-sums over exactly that
    many steps, no bootstrap); False: it is cut off there (`truncated`), and learners bootstrap.
    """

    n_agents: int = 5
    n_landmarks: int = 5
    horizon: int = 25  # steps
    thresholds: tuple[float, ...] = (3.0,)  # α_1 for collisions and, if given, α_2 for the arena
    discount: float = 0.99
    integration: Literal["openai", "mpe2"] = "openai"
    view: Literal["relational", "paper"] = "relational"
    actions: Literal["discrete", "continuous"] = "discrete"
    horizon_is_terminal: bool = True

    def __post_init__(self):
        for name in ("n_agents", "n_landmarks", "horizon"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
                raise ValueError(f"{name} must be an integer ≥ 1, got {value!r}")
        try:
            thresholds = tuple(float(t) for t in self.thresholds)
        except (TypeError, ValueError):
            thresholds = ()
        if len(thresholds) not in (1, 2) or not all(0 <= t < np.inf for t in thresholds):
            raise ValueError(
                f"thresholds must be (collisions,) or (collisions, arena), each a finite number "
                f"≥ 0, got {self.thresholds!r}"
            )
        object.__setattr__(self, "thresholds", thresholds)
        if not isinstance(self.discount, (int, float)) or not 0 < self.discount < 1:
            raise ValueError(f"discount must lie in (0, 1), got {self.discount!r}")
        for name in ("integration", "view", "actions"):
            allowed = get_args(self.__annotations__[name])
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"{name} must be {' or '.join(map(repr, allowed))}, got {getattr(self, name)!r}"
                )

    @property
    def threshold(self):
        """α as a number if there is one constraint, else the tuple."""
        return self.thresholds[0] if len(self.thresholds) == 1 else self.thresholds

    @property
    def action_size(self):
        """Number of discrete actions, or of the components of a continuous one."""
        return 5 if self.actions == "discrete" else 2

    @property
    def view_size(self):
        """Length O of an agent's own view; see `paper_view` and `relational_view`."""
        n, landmarks = self.n_agents, self.n_landmarks
        if self.view == "paper":
            return 4 + 2 * landmarks + 4 * (n - 1)
        return 5 + 3 * landmarks + 4 * (n - 1)


def contact_force(ways, gaps):
    """Force on each agent from all others, (N, 2, E).

    `ways` (N, N − 1, 2, E) lead to the others, `gaps` (N, N − 1, E) are their lengths. Agents at
    exactly the same point do not push each other (in mpe2 they become NaN).
    """
    overlap = MARGIN * softplus((2 * RADIUS - gaps) / MARGIN, threshold=40)
    push = STIFFNESS * overlap / gaps.clamp(min=1e-300)
    return -(ways * push[:, :, None]).sum(1)


def integrate(positions, velocities, force, order):
    """One step of DT under `force` → (positions, velocities); see the two orders above."""
    faster = (1 - DAMPING) * velocities + DT * force
    return positions + DT * (faster if order == "openai" else velocities), faster


def paper_view(velocities, positions, to_landmarks, to_others):
    """The reference's observation, (N, 4 + 2L + 4(N − 1), E).

    Own velocity and position, the ways to the landmarks and to the other agents in the order of
    their numbers, and the reference's communication channel, which is always 0.
    """
    n, _, size = velocities.shape
    silence = velocities.new_zeros(n, 2 * (n - 1), size)
    parts = velocities, positions, to_landmarks.flatten(1, 2), to_others.flatten(1, 2), silence
    return torch.cat(parts, 1)


def relational_view(velocities, positions, to_landmarks, distances, to_others, gaps, time_left):
    """What matters to an agent, nearest first, (N, 5 + 3L + 4(N − 1), E).

    Own velocity and position, time left (1 at the start, 0 at the end); of each landmark, nearest
    first, the way there and its distance to the nearest *other* agent (−1 if there is none); of
    each other agent, nearest first, the way there and its velocity relative to the own.
    """
    n, _, size = velocities.shape
    least, nearest = distances.min(0)
    second = distances.scatter(0, nearest[None], torch.inf).amin(0)
    rival = torch.where(torch.arange(n)[:, None, None] == nearest, second, least)
    rival = rival.nan_to_num(posinf=-1.0) if n == 1 else rival

    def nearest_first(features, distance):
        order = distance.argsort(1)[:, :, None].expand_as(features)
        return features.gather(1, order).flatten(1, 2)

    return torch.cat(
        [
            velocities,
            positions,
            velocities.new_full((n, 1, size), time_left),
            nearest_first(torch.cat([to_landmarks, rival[:, :, None]], 2), distances),
            nearest_first(to_others, gaps),
        ],
        1,
    )


class NavigationVectorEnv:
    """`num_envs` particle worlds in step with each other; ended episodes start anew together.

    `seed` is an int or a `SeedSequence`. Actions: integers (E, N) below 5, or (E, N, 2) in
    [−1, 1], clipped. Starts: all positions uniform in [−1, 1]², at rest, so that about half of
    the starts of five agents overlap. Physics in float64; views and state are float32.
    """

    def __init__(self, task, num_envs, seed=0, autoreset=True):
        self.task, self.num_envs, self.autoreset = task, num_envs, autoreset
        self.discrete = task.actions == "discrete"
        self.agents = [f"agent_{i}" for i in range(task.n_agents)]
        self.rng = np.random.default_rng(seed)
        n = task.n_agents
        self._others = torch.tensor([j for i in range(n) for j in range(n) if j != i]).long()
        self._thrust = THRUST * torch.tensor(MOVES[task.integration], dtype=torch.float64)
        self._start()

    def reset(self, seed=None, options=None):
        """Start every world anew → (observations, state). `options` may give what is drawn:

        `positions` and `velocities` (E, N, 2), `landmarks` (E, L, 2).
        """
        if seed is not None:
            self.rng = np.random.default_rng(seed)
        self._start()
        for name in {"positions", "velocities", "landmarks"} & set(options or {}):
            value, shape = np.asarray(options[name], float), getattr(self, name).shape
            if value.shape != shape or not np.isfinite(value).all():
                raise ValueError(f"{name} must be finite, shape {shape}, got shape {value.shape}")
            setattr(self, "_" + name, _inside(value))
        self._measure()
        return self.observations(), self.state()

    def _start(self):
        """Draw starts in the reference's order: for each world its agents, then its landmarks."""
        n, points = self.task.n_agents, self.task.n_agents + self.task.n_landmarks
        drawn = _inside(self.rng.uniform(-1, 1, (self.num_envs, points, 2)))
        self._positions, self._landmarks = drawn[:n], drawn[n:]
        self._velocities, self.steps = torch.zeros_like(self._positions), 0
        self._measure()

    def _measure(self):
        """Ways and distances to the other agents and to the landmarks, used all over."""
        p, n = self._positions, self.task.n_agents
        others = p[self._others].reshape(n, n - 1, 2, self.num_envs)
        self._ways, self._to_landmarks = others - p[:, None], self._landmarks - p[:, None]
        self._gaps, self._distances = (
            x.square().sum(2).sqrt() for x in (self._ways, self._to_landmarks)
        )

    def _forces(self, actions):
        """The agents' own forces (N, 2, E) for checked actions."""
        shape = (self.num_envs, self.task.n_agents) + (() if self.discrete else (2,))
        actions = np.asarray(actions)
        right = actions.shape == shape
        if self.discrete:
            if not right or actions.dtype.kind not in "iu" or not np.isin(actions, range(5)).all():
                kind = f"{actions.dtype}, shape {actions.shape}" if right else actions.shape
                raise ValueError(f"actions must be integers 0 to 4 of shape {shape}, got {kind}")
            force = self._thrust[torch.as_tensor(actions.astype(np.int64))]
        else:
            if not right or actions.dtype.kind not in "iuf" or not np.isfinite(actions).all():
                given = "NaN, infinity or no numbers" if right else actions.shape
                raise ValueError(f"actions must be finite and of shape {shape}, got {given}")
            force = THRUST * torch.as_tensor(np.clip(actions, -1, 1), dtype=torch.float64)
        return force.permute(1, 2, 0)

    def step(self, actions):
        """Advance every world by one step → `Step`; the reward of every agent is −k."""
        task = self.task
        force = self._forces(actions) + contact_force(self._ways, self._gaps)
        self._positions, self._velocities = integrate(
            self._positions, self._velocities, force, task.integration
        )
        self.steps += 1
        self._measure()
        rewards = np.repeat(-self.distance_cost()[:, None], task.n_agents, 1)
        costs, contacts = self.costs(), self.contacts()
        over = np.full(self.num_envs, self.steps >= task.horizon)
        never = np.zeros(self.num_envs, bool)
        ends = (over, never) if task.horizon_is_terminal else (never, over)
        successor = now = self.observations(), self.state()
        if self.autoreset and self.steps >= task.horizon:
            self._start()
            now = self.observations(), self.state()
        return Step(*now, rewards, costs, *ends, *successor, contacts, costs)

    def distance_cost(self):
        """The team's cost k now: Σ over landmarks of the distance to the nearest agent, (E,)."""
        return self._distances.amin(0).sum(0).numpy()

    def costs(self):
        """Each agent's share of each constraint now, (E, N, m); their sum over agents is c.

        Of a collision, or of leaving the arena, the agents that do it bear equal shares.
        """
        guilty = [(self._gaps < 2 * RADIUS).any(1), (self._positions.abs() > 1).any(1)]
        guilty = torch.stack(guilty[: len(self.task.thresholds)], 2).double()  # (N, E, m)
        return (guilty / guilty.sum(0).clamp(min=1)).transpose(0, 1).numpy()

    def contacts(self):
        """Number of colliding pairs now, (E,)."""
        return (self._gaps < 2 * RADIUS).sum((0, 1)).numpy() // 2

    def observations(self):
        """Each agent's own view, (E, N, O): see `relational_view` and `paper_view`."""
        v = self._velocities
        if self.task.view == "paper":
            view = paper_view(v, self._positions, self._to_landmarks, self._ways)
        else:
            speeds = v[self._others].reshape(self._ways.shape) - v[:, None]
            view = relational_view(
                v,
                self._positions,
                self._to_landmarks,
                self._distances,
                torch.cat([self._ways, speeds], 2),
                self._gaps,
                self._time_left(),
            )
        return view.float().permute(2, 0, 1).contiguous().numpy()

    def state(self):
        """Global state [positions, velocities, landmarks, time left], (E, 4N + 2L + 1)."""
        parts = self._positions, self._velocities, self._landmarks
        whole = [part.flatten(0, 1).float() for part in parts]
        whole.append(torch.full((1, self.num_envs), self._time_left()))
        return torch.cat(whole).t().contiguous().numpy()

    def _time_left(self):
        return 1 - self.steps / self.task.horizon

    @property
    def positions(self):
        return _outside(self._positions)

    @property
    def velocities(self):
        return _outside(self._velocities)

    @property
    def landmarks(self):
        return _outside(self._landmarks)

    def close(self):
        """Nothing to free; here so that every environment can be closed."""


def _inside(points):
    """(E, N, 2) numpy → (N, 2, E) torch."""
    return torch.as_tensor(points).permute(1, 2, 0).contiguous()


def _outside(points):
    """(N, 2, E) torch → (E, N, 2) numpy."""
    return points.permute(2, 0, 1).numpy()


class NavigationEnv(ParallelEnv):
    """One world with PettingZoo's parallel API; raises `ValueError` on malformed actions.

    With `integration="mpe2"` and discrete actions it takes the actions of
    `mpe2.simple_spread_v3`, and from the same seed it starts in the same place. The reward is −k;
    `infos[agent]` holds `cost` (its share), `costs` (per constraint) and `contacts` (pairs).
    """

    metadata: ClassVar = {
        "name": "constrained_navigation_v0",
        "render_modes": ["rgb_array"],
        "render_fps": 10,
    }

    def __init__(self, task=None, render_mode=None):
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"render_mode must be None or 'rgb_array', got {render_mode!r}")
        self.task, self.render_mode = task or NavigationTask(), render_mode
        self.world = NavigationVectorEnv(self.task, 1, autoreset=False)
        self.possible_agents = self.world.agents
        self.agents = []
        space = gym.spaces
        self._observation = space.Box(-np.inf, np.inf, (self.task.view_size,), np.float32)
        free = space.Box(-1, 1, (2,), np.float32)
        self._action = space.Discrete(5) if self.world.discrete else free
        self.state_space = space.Box(-np.inf, np.inf, self.state().shape, np.float32)

    def observation_space(self, agent):
        return self._observation

    def action_space(self, agent):
        return self._action

    def reset(self, seed=None, options=None):
        """Start anew; `options` may give `positions`, `velocities` (N, 2), `landmarks` (L, 2)."""
        self.agents = list(self.possible_agents)
        given = {key: np.asarray(value)[None] for key, value in (options or {}).items()}
        views = self.world.reset(seed, given)[0][0]
        return self._per_agent(views), {agent: {} for agent in self.agents}

    def step(self, actions):
        missing = set(self.agents) ^ set(actions)
        if missing or not self.agents:
            raise ValueError(f"actions must name exactly {self.agents}, differs in {missing}")
        step = self.world.step(np.stack([np.asarray(actions[a]) for a in self.agents])[None])
        infos = [
            {"cost": float(c.sum()), "costs": c, "contacts": int(step.contacts[0])}
            for c in step.costs[0]
        ]
        result = (
            self._per_agent(step.observations[0]),
            self._per_agent(step.rewards[0].tolist()),
            dict.fromkeys(self.agents, bool(step.terminated[0])),
            dict.fromkeys(self.agents, bool(step.truncated[0])),
            self._per_agent(infos),
        )
        if step.terminated[0] or step.truncated[0]:
            self.agents = []
        return result

    def _per_agent(self, rows):
        return dict(zip(self.agents, rows, strict=True))

    def state(self):
        return self.world.state()[0]

    def render(self):
        return picture(self.world) if self.render_mode else None

    def close(self):
        self.world.close()


def picture(env, size=400, reach=1.4):
    """The first world of a `NavigationVectorEnv` from above, (size, size, 3) uint8.

    Blue: agents; orange: agents that collide; dark: landmarks; the arena is the white square.
    """
    axis = (np.arange(size) + 0.5) / size * 2 * reach - reach
    x, y = np.meshgrid(axis, -axis)
    shot = np.where((np.maximum(abs(x), abs(y)) <= 1)[..., None], 1.0, 0.88) * np.ones(3)
    hit = (env._gaps[..., 0] < 2 * RADIUS).any(1).tolist()
    discs = [(p, RADIUS, (0.84, 0.37, 0.0) if h else (0.0, 0.45, 0.7))
             for p, h in zip(env.positions[0], hit, strict=True)]  # fmt: skip
    for centre, radius, colour in [*discs, *((p, 0.05, (0.15,) * 3) for p in env.landmarks[0])]:
        inside = (radius - np.hypot(x - centre[0], y - centre[1])) * size / (2 * reach) + 0.5
        cover = 0.85 * np.clip(inside, 0, 1)[..., None]
        shot = shot * (1 - cover) + cover * np.array(colour)
    return (255 * shot).round().astype(np.uint8)
