"""Policies: the actor network that both learners train, and what flies it.

Notebooks: `05_training_mappo_lagrangian`, `06_attention_actor_critic`. Each agent acts on its own
view o_i alone. Axis order: …, agent N, feature.
"""

import numpy as np
import torch
from torch import Tensor, nn

from .critics import mlp
from .equivariant import SwarmActor
from .reading import Reading


class Actor(nn.Module):
    """Mean of a Gaussian policy, or logits, from the own view: (…, N, O) → (…, N, A).

    It reads the first O numbers of a view, as `reading` says.
    """

    def __init__(
        self,
        view_size: int,
        action_size: int,
        n_agents: int,
        hidden: int = 64,
        shared: bool = True,
        reading: Reading | None = None,
    ) -> None:
        super().__init__()
        self.view_size, self.reading = view_size, reading or Reading()
        sizes = [self.reading.size(view_size), hidden, hidden, action_size]
        self.nets = nn.ModuleList(mlp(sizes, gain=0.01) for _ in range(1 if shared else n_agents))

    def forward(self, observations: Tensor) -> Tensor:
        observations = self.reading(observations[..., : self.view_size])
        if len(self.nets) == 1:
            return self.nets[0](observations)
        return torch.stack([net(observations[..., i, :]) for i, net in enumerate(self.nets)], -2)


def actor_of(task, config) -> nn.Module:
    """The untrained actor for a task."""
    if getattr(task, "equivariant", False):
        if not config.shared_actor:
            raise ValueError("one actor flies any swarm: shared_actor must be True, got False")
        return SwarmActor(task.n_neighbours, config.hidden_actor)
    sizes = task.view_size, task.action_size, task.n_agents
    return Actor(*sizes, config.hidden_actor, config.shared_actor, reading_of(task, config))


def reading_of(task, config) -> Reading:
    """How networks read the views of a task; as they are, unless the settings say more."""
    layout = task.layout if getattr(config, "network", "plain") == "entities" else None
    if layout and task.n_agents == 1:
        raise ValueError("network='entities' needs two agents or more, got one")
    return Reading(layout, getattr(config, "zoom", False))


class Policy:
    """A trained actor: `policy(observations: dict) -> actions: dict`, agent by agent.

    deterministic: the mean of the Gaussian, or the likeliest of discrete actions; otherwise a
    sample, seeded. Which numbers of agents it may fly is checked by `runs.load`.
    """

    def __init__(
        self, actor: nn.Module, task, std: float, deterministic: bool = True, seed: int = 0
    ) -> None:
        self.actor, self.task, self.std = actor, task, std
        self.deterministic = deterministic
        self.discrete = getattr(task, "actions", None) == "discrete"
        self.generator = torch.Generator().manual_seed(seed)

    def act(self, observations: np.ndarray) -> np.ndarray:
        """Actions (…, N, A) in [−1, 1], or integers (…, N), for observations (…, N, O)."""
        with torch.no_grad():
            view = torch.as_tensor(np.asarray(observations), dtype=torch.float32)
            action = self.actor(view)
            if self.discrete and self.deterministic:
                return action.argmax(-1).numpy()
            if self.discrete:
                chances = action.softmax(-1).flatten(0, -2)
                chosen = torch.multinomial(chances, 1, generator=self.generator)
                return chosen.view(action.shape[:-1]).numpy()
            if not self.deterministic:
                action += self.std * torch.randn(action.shape, generator=self.generator)
        return action.clamp(-1, 1).numpy()

    def __call__(self, observations: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        rows = np.stack(list(observations.values()))
        return dict(zip(observations, self.act(rows), strict=True))
