"""What both learners share: the world, the seeds, actor and critic, and how they are saved."""

import json
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from .actors import actor_of


class Learner:
    """`iterate()` runs one iteration and returns its log, a dict of floats.

    `env` is a vector environment, `seed` a `SeedSequence` that weights and noise are spawned from.
    A run stopped after any iteration goes on from `state_dict()` to the same numbers.
    """

    PARTS: ClassVar[tuple[str, ...]]  # names of what has a `state_dict` of its own
    HALVES: ClassVar[bool] = False  # whether two may share the work, see `halves.py`

    price_of_cost: np.ndarray | float = 0.0  # λ (m,) by which checkpoints are ranked, or none

    def __init__(self, env, config, seed: np.random.SeedSequence) -> None:
        self.env = env
        self.config = config
        self.task = env.task
        self.iteration = 0
        weights, noise = (int(s.generate_state(1)[0]) for s in seed.spawn(2))
        self.generator = torch.Generator().manual_seed(noise)
        with torch.random.fork_rng():
            torch.manual_seed(weights)
            self.actor = actor_of(self.task, config)
            self.critic = self.new_critic()

    def new_critic(self) -> nn.Module:
        """The untrained critic, with one head for the reward and one for each constraint."""
        raise NotImplementedError

    @property
    def env_steps(self) -> int:
        """Steps that all environments together have made."""
        return self.iteration * self.config.num_envs * self.task.horizon

    def checkpoint(self) -> dict[str, Any]:
        """What flies: the actor's weights and its exploration."""
        return {"actor": self.actor.state_dict(), "std": self.std, "iteration": self.iteration}

    def state_dict(self) -> dict[str, Any]:
        """All that is needed to go on as if never stopped."""
        state = {name: getattr(self, name).state_dict() for name in self.PARTS}
        state["world"] = json.dumps(self.env.rng.bit_generator.state)
        state["rehearsed"] = [
            {name: torch.as_tensor(x) for name, x in start.items()} for start in self.env.rehearsed
        ]
        return state | {"generator": self.generator.get_state(), "iteration": self.iteration}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name in self.PARTS:
            getattr(self, name).load_state_dict(state[name])
        self.generator.set_state(state["generator"])
        self.env.rng.bit_generator.state = json.loads(state["world"])
        self.env.rehearsed = [
            {name: x.numpy() for name, x in start.items()} for start in state["rehearsed"]
        ]
        self.iteration = state["iteration"]
