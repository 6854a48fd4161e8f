"""Replay of whole episodes, for an environment whose worlds all end together.

Notebook: `06_attention_actor_critic`. Axis order: round R, time T, environment E, agent N.
"""

import json
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor


class Replay:
    """The last `rounds` rounds of episodes, one in each of E environments: raw k and c_j.

    With `clock` the time left (1 at the start, 0 at the end) follows the view, for critics. A view
    is stored once, as the successor of its predecessor. `state_dict` holds the world's generator
    at each round's start, and the actions: nothing else is random, and `load_state_dict` plays the
    rounds again.
    """

    def __init__(self, env, rounds: int, clock: bool = False) -> None:
        task, E, m = env.task, env.num_envs, len(env.task.thresholds)
        self.env, self.count, T, n = env, 0, task.horizon, task.n_agents
        self.views = torch.zeros(rounds, T + 1, E, n, task.view_size + clock)
        self.views[..., task.view_size :] = torch.linspace(1, 0, T + 1).view(-1, 1, 1, 1)
        self.actions = torch.zeros(rounds, T, E, n, dtype=torch.uint8)
        self.signals = torch.zeros(rounds, T, E, 1 + m)  # k, c_1 … c_m
        self.multipliers = torch.zeros(rounds, m)  # λ when stored
        self.worlds = [""] * rounds  # state of the world's generator before a round, JSON

    def play(
        self,
        act: Callable[[Tensor, int], Tensor],
        multipliers: np.ndarray,
        world: str | None = None,
    ) -> dict[str, Tensor]:
        """An episode of every environment under `act`(views, t), into the buffer.

        Returns what `step.episode_means` reads, a dict of tensors (T, E, …).
        """
        row = self.count % len(self.views)
        if world:
            self.env.rng.bit_generator.state = json.loads(world)
        self.worlds[row] = json.dumps(self.env.rng.bit_generator.state)
        views, _ = self.env.reset()
        self.multipliers[row] = torch.as_tensor(multipliers)
        steps, size = [], self.env.task.view_size
        self.views[row, 0, ..., :size] = torch.as_tensor(views)
        for t in range(self.env.task.horizon):
            actions = act(self.views[row, t], t)
            steps.append(self.env.step(actions.numpy()))
            self.actions[row, t] = actions
            self.views[row, t + 1, ..., :size] = torch.as_tensor(steps[-1].next_observations)
            self.signals[row, t, :, 0] = -torch.as_tensor(steps[-1].rewards[:, 0])
            self.signals[row, t, :, 1:] = torch.as_tensor(steps[-1].costs.sum(1))
        self.count += 1
        names = ("rewards", "costs", "terminated", "truncated")
        return {x: torch.tensor(np.stack([getattr(s, x) for s in steps])).float() for x in names}

    def newest(self) -> Tensor:
        """The views of the last round played, (T + 1, E, N, O)."""
        return self.views[(self.count - 1) % len(self.views)]

    def sample(self, size: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """`size` steps → views, actions, signals, stored λ, last of its episode?, successors."""
        rounds, T, E, _ = self.actions.shape
        index = torch.randint(min(self.count, rounds) * T * E, (size,), generator=generator)
        row, last = index // (T * E), index % (T * E) // E == T - 1
        place = index + row * E  # a round holds T + 1 views
        views = self.views.flatten(0, 2)
        actions = self.actions.flatten(0, 2)[index].long()
        signals = self.signals.flatten(0, 2)[index]
        return views[place], actions, signals, self.multipliers[row], last, views[place + E]

    def state_dict(self) -> dict:
        kept = min(self.count, len(self.views))
        tensors = {"actions": self.actions[:kept].clone()}
        tensors |= {"multipliers": self.multipliers[:kept].clone()}
        return tensors | {"count": self.count, "worlds": self.worlds[:kept]}

    def load_state_dict(self, state: dict) -> None:
        rows = (state[name] for name in ("worlds", "actions", "multipliers"))
        for self.count, (world, actions, λ) in enumerate(zip(*rows, strict=True)):
            self.play(lambda _, t, a=actions: a[t], λ, world)
        self.count = state["count"]
