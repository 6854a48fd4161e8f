"""MAPPO with centralized critics and Lagrangian constraints.

Notebook: `05_training_mappo_lagrangian`. Sources: Yu et al. 2022 (MAPPO), Schulman et al. 2017
(PPO), Ray et al. 2019 (PPO-Lagrangian); the draft's algorithm, repaired as `lagrangian.py` says.
Axis order: time T, environment E, agent N, feature. One iteration:

    1. every environment starts anew and runs T steps with π_θ(a_i | o_i)         (collect)
    2. Ĵ_c = mean discounted cost of the first episodes; λ_j ← max(0, λ_j + …)     (Multipliers)
    3. A^r, A^{c_j} by GAE, each from its own head of the centralized critic       (gae)
    4. K epochs: descend the clipped loss on (A^r − Σ λ_j A^{c_j}) / (1 + Σ λ_j), and regress the
       heads of the critic on their returns                                         (update)
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import nn

from .critics import Critic, mlp
from .lagrangian import Multipliers, clipped_loss, combined_advantage, gae


@dataclass(frozen=True)
class MAPPOConfig:
    """Settings of the learner; `algo` says what happens to λ.

    mappo-lagrangian: λ follows the violation. mappo: λ = 0. mappo-fixed-penalty: λ stays at
    `multiplier_start`. as-printed: λ by the draft's rule, see `as_printed.py`.
    """

    algo: Literal["mappo-lagrangian", "mappo", "mappo-fixed-penalty", "as-printed"] = "mappo-lagrangian"  # fmt: skip
    iterations: int = 150
    num_envs: int = 128
    rollout_steps: int = 100  # T
    epochs: int = 4  # K
    minibatches: int = 8
    learning_rate: float = 1e-3  # falls linearly to a tenth
    clip: float = 0.2
    trace: float = 0.95  # GAE
    std_start: float = 0.6  # of the Gaussian exploration, falls linearly to `std_end`
    std_end: float = 0.15
    std_until: float = 0.9  # share of the iterations
    hidden_actor: int = 64
    hidden_critic: int = 128
    shared_actor: bool = True  # False: one actor per agent, the draft's θ_i
    centralized: bool = True  # False: the critic sees the agent's view only
    multiplier_start: float = 0.3
    multiplier_rate: float = 0.4
    multiplier_proportional: float = 0.5
    violation_cap: float = 1.0
    hold: int = 8  # iterations before λ moves
    tighten: float = 0.05  # the learner aims at τ − tighten


class Actor(nn.Module):
    """Gaussian (continuous) or categorical (discrete) policy of the own view: (…, N, O) → (…, N, A)."""

    def __init__(self, view_size, action_size, n_agents, hidden=64, shared=True):
        super().__init__()
        sizes = [view_size, hidden, hidden, action_size]
        self.nets = nn.ModuleList(mlp(sizes, gain=0.01) for _ in range(1 if shared else n_agents))

    def forward(self, observations):
        if len(self.nets) == 1:
            return self.nets[0](observations)
        return torch.stack([net(observations[..., i, :]) for i, net in enumerate(self.nets)], -2)


class MAPPO:
    """The learner: `iterate()` runs one iteration and returns its log as a dict of floats.

    `env` is a vector environment (`SwarmVectorEnv`, `NavigationVectorEnv`), `seed` a SeedSequence.
    """

    def __init__(self, env, config, seed):
        self.env, self.config, self.task, self.iteration = env, config, env.task, 0
        weights, noise = (int(s.generate_state(1)[0]) for s in seed.spawn(2))
        self.generator = torch.Generator().manual_seed(noise)
        observations, state = env.reset()
        (_, n, o), s, m = observations.shape, state.shape[-1], len(env.task.thresholds)
        with torch.random.fork_rng():
            torch.manual_seed(weights)
            self.actor = Actor(o, env.task.action_size, n, config.hidden_actor, config.shared_actor)
            self.critic = Critic(o, s, 1 + m, config.hidden_critic, config.centralized)
        parameters = [*self.actor.parameters(), *self.critic.parameters()]
        self.optimizer = torch.optim.Adam(parameters, lr=config.learning_rate, eps=1e-5)
        self.multipliers = Multipliers(
            np.maximum(0, np.array(env.task.thresholds) - config.tighten),
            config.multiplier_rate,
            0.0 if config.algo == "mappo" else config.multiplier_start,
            config.multiplier_proportional,
            cap=config.violation_cap,
        )

    @property
    def std(self):
        c = self.config
        done = min(1, self.iteration / (c.std_until * c.iterations))
        return c.std_start + (c.std_end - c.std_start) * done

    def collect(self):
        """Run every environment from a fresh start for T steps → dict of tensors (T, E, …)."""
        observations, state = self.env.reset()
        rows = []
        for _ in range(self.config.rollout_steps):
            seen = torch.as_tensor(observations, dtype=torch.float32)
            with torch.no_grad():
                mean = self.actor(seen)
            noise = torch.randn(mean.shape, generator=self.generator)
            action = mean + self.std * noise
            step = self.env.step(action.numpy())
            rows.append((seen, state, mean, action, *step[2:]))
            observations, state = step.observations, step.state
        names = ("view", "state", "mean", "action", *step._fields[2:])
        columns = zip(names, zip(*rows, strict=True), strict=True)
        return {
            name: torch.stack([torch.as_tensor(np.asarray(x), dtype=torch.float32) for x in column])
            for name, column in columns
        }

    def estimate(self, data):
        """Advantages (T, E, N, 1 + m) of the reward and every cost, and the critic's returns."""
        with torch.no_grad():
            values = self.critic(data["view"], data["state"])
            after = torch.cat([values[1:], values[:1]])
            ended = (data["terminated"] + data["truncated"]) > 0
            ended[-1] = True
            after[ended] = self.critic(data["next_observations"][ended], data["next_state"][ended])
        signal = torch.cat([data["rewards"][..., None], data["costs"]], -1)
        c = self.config
        advantages = gae(signal, values, after, data["terminated"], ended, self.task.discount, c.trace)
        return advantages, advantages + values

    def update(self, data, advantages, returns):
        """K epochs of minibatches on the clipped loss and the critic's regression."""
        c, std = self.config, self.std
        price = torch.as_tensor(self.multipliers.values, dtype=torch.float32)
        advantage = combined_advantage(advantages[..., 0], advantages[..., 1:], price)
        names = ("view", "state", "mean", "action")
        rows = [data[name].flatten(0, 1) for name in names] + [advantage.flatten(0, 1), returns.flatten(0, 1)]
        size = len(rows[0]) // c.minibatches
        log = []
        for _ in range(c.epochs):
            order = torch.randperm(len(rows[0]), generator=self.generator)
            for batch in order.split(size)[: c.minibatches]:
                view, state, old, action, gain, target = (x[batch] for x in rows)
                mean = self.actor(view)
                log_ratio = ((action - old) ** 2 - (action - mean) ** 2).sum(-1) / (2 * std**2)
                loss = clipped_loss(log_ratio, gain, c.clip)
                regression = (self.critic(view, state) - target).pow(2).mean((0, 1))
                self.optimizer.zero_grad()
                (loss + regression.sum()).backward()
                nn.utils.clip_grad_norm_(self.actor.parameters(), 0.5)
                nn.utils.clip_grad_norm_(self.critic.parameters(), 1.0)
                self.optimizer.step()
                log.append([((old - mean) ** 2).sum(-1).mean().item() / (2 * std**2),
                            ((log_ratio.exp() - 1).abs() > c.clip).float().mean().item()])
        return np.mean(log, 0)

    def iterate(self):
        c = self.config
        for group in self.optimizer.param_groups:
            group["lr"] = c.learning_rate * (1 - 0.9 * self.iteration / c.iterations)
        data = self.collect()
        self.critic.scale.update(self.critic.inputs(data["view"], data["state"]))
        first = ((data["terminated"] + data["truncated"]).cumsum(0) - (data["terminated"] + data["truncated"])) == 0
        w = self.task.discount ** torch.arange(len(first))[:, None]
        cost = ((data["costs"].sum(2)) * (first * w)[..., None]).sum(0)  # E,m
        J = cost.mean(0).numpy()
        Jr = (data["rewards"].mean(2) * first * w).sum(0).mean().item()
        succ = (data["terminated"] * first).sum(0).mean().item()
        if c.algo == "mappo-lagrangian" and self.iteration >= c.hold:
            self.multipliers.update(J)
        advantages, returns = self.estimate(data)
        kl, cf = self.update(data, advantages, returns)
        r = returns.flatten(0, 2); v = (returns-advantages).flatten(0,2)
        ev = 1 - (r-v).var(0)/r.var(0)
        self.iteration += 1
        return dict(it=self.iteration, J=J.round(3), Jr=round(Jr,2), succ=round(succ,3), lam=self.multipliers.values.round(3), kl=kl, cf=cf, ev=ev.numpy().round(2), viol=(cost.sum(1)>0).float().mean().item(), len=first.float().sum(0).mean().item(), vc0=self.critic(data["view"][:1],data["state"][:1])[...,1].sum(-1).mean().item(), std_r=advantages[...,0].std().item(), std_c=advantages[...,1].std().item())
