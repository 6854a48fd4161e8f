"""What both worlds share: spaces of a batch, and PettingZoo's view of one world of it.

Notebooks: `02_swarm_environment`, `06_attention_actor_critic`.
"""

from difflib import get_close_matches
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium.vector.utils import batch_space
from pettingzoo import ParallelEnv

Seed = int | np.random.SeedSequence
BODIES, NUMBERS = 10**5, 3 * 10**8  # in one batch: what is made within seconds, and fits


class Batch:
    """What a vector environment of E worlds with N agents each needs; usable in `with`."""

    DRAWN: ClassVar[tuple[str, ...]]  # what `reset`'s options may give in place of a draw
    agent_observation_space: gym.Space  # of one agent
    agent_action_space: gym.Space
    view_type: ClassVar[type]  # of the numbers in a view

    def __init__(self, task, num_envs: int, seed: Seed, autoreset: bool, name: str) -> None:
        if num_envs < 1:
            raise ValueError(f"num_envs must be at least 1, got {num_envs}")
        others = getattr(task, "n_obstacles", 0) + getattr(task, "n_landmarks", 0)
        bodies = num_envs * (task.n_agents + others)
        numbers = task.n_agents * (3 * bodies + num_envs * task.view_size)
        if bodies > BODIES or numbers > NUMBERS:
            sizes = f"{num_envs} worlds of {task.n_agents} agents and {others} other bodies, views"
            raise ValueError(f"{sizes} of {task.view_size} numbers, are too many: at most "
                             f"{BODIES:,} bodies and {NUMBERS:,} numbers in all")  # fmt: skip
        self.task = task
        self.num_envs = num_envs
        self.autoreset = autoreset
        self.agents = [f"{name}_{i}" for i in range(task.n_agents)]
        self.rng = np.random.default_rng(seed)
        self.rehearsed: list[
            dict[str, np.ndarray]
        ] = []  # starts, as `reset`'s options of one world
        self.agent_observation_space = gym.spaces.Box(-np.inf, np.inf, (task.view_size,))

    @property
    def observation_space(self) -> gym.Space:
        """Views (E, N, O)."""
        shape = self.num_envs, len(self.agents), self.task.view_size
        return gym.spaces.Box(-np.inf, np.inf, shape, self.view_type)

    @property
    def action_space(self) -> gym.Space:
        """Actions (E, N, A), or integers (E, N)."""
        return batch_space(batch_space(self.agent_action_space, len(self.agents)), self.num_envs)

    def _given(self, options):
        """The checked options of `reset`, name by name; others mean nothing (PettingZoo's rule),
        unless they look like one of these."""
        for name in set(options or {}) - set(self.DRAWN):
            if meant := get_close_matches(name, self.DRAWN, 1, 0.85):
                raise ValueError(f"reset has no option {name!r}; {meant[0]!r} was meant?")
        for name in set(self.DRAWN) & set(options or {}):
            value, shape = np.asarray(options[name], float), getattr(self, name).shape
            if value.shape != shape or not np.isfinite(value).all():
                raise ValueError(f"{name} must be finite, shape {shape}, got shape {value.shape}")
            yield name, value

    def _checked(self, actions):
        """Continuous actions (E, N, A) as floats in [−1, 1]."""
        shape = self.num_envs, len(self.agents), self.task.action_size
        actions = np.asarray(actions)
        fits = actions.shape == shape and actions.dtype.kind in "iuf"
        if not fits or not np.isfinite(actions).all():
            given = "NaN or infinity" if fits else f"{actions.dtype} of shape {actions.shape}"
            raise ValueError(f"actions must be finite and of shape {shape}, got {given}")
        return np.minimum(np.maximum(actions.astype(float), -1.0), 1.0)

    def close(self) -> None:
        """Free what the worlds hold."""

    def __enter__(self):
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()


class OneWorld(ParallelEnv):
    """Wraps `batch`, a vector environment of one world made with `autoreset=False`.

    Reward and observation are each agent's own. `infos[agent]` holds `cost` (the agent's share),
    `costs` (m,) and `contacts` (of the world); from `reset` too, as zeros: a wrapper that learns
    the keys there then carries them. `state()` is global, (S,). Raises `ValueError` on malformed
    actions.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 10}

    def __init__(self, batch, render_mode: str | None = None) -> None:
        if render_mode not in (None, "rgb_array"):
            batch.close()
            raise ValueError(f"render_mode must be None or 'rgb_array', got {render_mode!r}")
        self.batch = batch
        self.task = batch.task
        self.render_mode = render_mode
        self.possible_agents = batch.agents
        self.agents = []
        state = self.state()
        self.state_space = gym.spaces.Box(-np.inf, np.inf, state.shape, state.dtype)

    def observation_space(self, agent: str) -> gym.Space:
        return self.batch.agent_observation_space

    def action_space(self, agent: str) -> gym.Space:
        return self.batch.agent_action_space

    def reset(self, seed: int | None = None, options: dict | None = None) -> tuple[dict, dict]:
        """Start anew; `options` may give what the batch's `reset` takes, for one world."""
        self.agents = list(self.possible_agents)
        given = {key: np.asarray(value)[None] for key, value in (options or {}).items()}
        views, _ = self.batch.reset(seed, given)
        nothing = np.zeros((len(self.agents), len(self.task.thresholds)))
        return self._views(views), self._infos(nothing, 0)

    def step(self, actions: dict) -> tuple[dict, dict, dict, dict, dict]:
        if not self.agents:
            raise ValueError("no episode is running; call reset() first")
        if actions.keys() != set(self.agents):
            raise ValueError(f"actions must name exactly {self.agents}, got {list(actions)}")
        step = self.batch.step(np.array([[actions[agent] for agent in self.agents]]))
        terminated, truncated = bool(step.terminated[0]), bool(step.truncated[0])
        result = (
            self._views(step.next_observations),
            dict(zip(self.agents, step.rewards[0].tolist(), strict=True)),
            dict.fromkeys(self.agents, terminated),
            dict.fromkeys(self.agents, truncated),
            self._infos(step.costs[0], int(step.contacts[0])),
        )
        if terminated or truncated:
            self.agents = []
        return result

    def _views(self, views):
        return dict(zip(self.agents, views[0].astype(np.float32), strict=True))

    def _infos(self, costs, contacts):
        infos = [
            {"cost": cost, "costs": row, "contacts": contacts}
            for cost, row in zip(costs.sum(-1).tolist(), costs, strict=True)
        ]
        return dict(zip(self.agents, infos, strict=True))

    def state(self) -> np.ndarray:
        return self.batch.state()[0]

    def close(self) -> None:
        self.batch.close()
