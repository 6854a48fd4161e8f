"""MAPPO with centralized critics and Lagrangian constraints.

Notebook: `05_training_mappo_lagrangian`. Sources: Yu et al. 2022 (MAPPO), Schulman et al. 2017
(PPO), Ray et al. 2019 (PPO-Lagrangian); the draft's algorithm, repaired as `lagrangian.py` says.
Axis order: time T, environment E, agent N, feature. One iteration:

    1. every environment starts anew and runs T = horizon steps with π_θ(a_i | o_i) (collect)
    2. Ĵ_c = mean discounted cost of the first episodes; λ_j ← max(0, λ_j + …)     (Multipliers)
    3. A^r, A^{c_j} by GAE, each from its own head of the centralized critic       (gae)
    4. K epochs: descend the clipped loss on (A^r − Σ λ_j A^{c_j}) / (1 + Σ λ_j), and regress the
       heads of the critic on their returns                                         (update)
"""

import json
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from torch import nn

from .as_printed import printed_violation
from .critics import Critic, mlp
from .lagrangian import Multipliers, clipped_loss, combined_advantage, gae

Algo = Literal["mappo-lagrangian", "mappo", "mappo-fixed-penalty", "as-printed"]


@dataclass(frozen=True)
class MAPPOConfig:
    """Settings of the learner; `algo` says what happens to λ.

    mappo-lagrangian: λ follows the violation. mappo: λ = 0. mappo-fixed-penalty: λ stays at
    `multiplier_start`. as-printed: λ by the draft's rule, see `as_printed.py`; as its penalty is
    constant in θ, the policy is that of `mappo` to the bit.
    """

    algo: Algo = "mappo-lagrangian"
    iterations: int = 130
    num_envs: int = 128
    epochs: int = 4  # K
    minibatches: int = 16
    learning_rate: float = 1.5e-3  # falls linearly to a tenth
    clip: float = 0.2
    trace: float = 0.95  # GAE
    std_start: float = 0.5  # of the Gaussian exploration, falls linearly to `std_end`
    std_end: float = 0.3
    std_until: float = 0.7  # share of the iterations after which it stays there
    hidden_actor: int = 64
    hidden_critic: int = 128
    shared_actor: bool = True  # False: one actor per agent, the draft's θ_i
    centralized: bool = True  # False: the critic sees the agent's view only
    multiplier_start: float = 0.3
    multiplier_rate: float = 0.5
    multiplier_growth: float = 0.3
    multiplier_proportional: float = 0.0
    violation_cap: float = 0.1
    hold: int = 30  # iterations before λ moves: the swarm learns to fly first
    tighten: float = 0.08  # the learner aims at τ − tighten
    eval_every: int = 10
    eval_episodes: int = 250

    def __post_init__(self):
        algos = get_args(Algo)
        if self.algo not in algos:
            raise ValueError(f"algo must be one of {', '.join(algos)}, got {self.algo!r}")
        for name in (
            "iterations",
            "num_envs",
            "epochs",
            "minibatches",
            "eval_every",
            "hidden_actor",
            "hidden_critic",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.eval_episodes < 2:
            raise ValueError(f"eval_episodes must be at least 2, got {self.eval_episodes}")
        if not 0 <= self.trace <= 1:
            raise ValueError(f"trace must lie in [0, 1], got {self.trace}")
        for name in ("multiplier_start", "multiplier_rate", "multiplier_growth",
                     "multiplier_proportional", "tighten", "hold"):  # fmt: skip
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        if not self.violation_cap > 0:
            raise ValueError(f"violation_cap must be positive, got {self.violation_cap}")
        for name in ("learning_rate", "clip", "std_start", "std_end", "std_until"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")


class Actor(nn.Module):
    """Mean of a Gaussian policy from the own view: (…, N, O) → (…, N, A)."""

    def __init__(self, view_size, action_size, n_agents, hidden=64, shared=True):
        super().__init__()
        sizes = [view_size, hidden, hidden, action_size]
        self.nets = nn.ModuleList(mlp(sizes, gain=0.01) for _ in range(1 if shared else n_agents))

    def forward(self, observations):
        if len(self.nets) == 1:
            return self.nets[0](observations)
        return torch.stack([net(observations[..., i, :]) for i, net in enumerate(self.nets)], -2)


def actor_of(task, config):
    """The untrained actor for a task."""
    sizes = task.view_size, task.action_size, task.n_agents
    return Actor(*sizes, config.hidden_actor, config.shared_actor)


class MAPPO:
    """The learner: `iterate()` runs one iteration and returns its log as a dict of floats.

    `env` is a vector environment such as `SwarmVectorEnv`, `seed` a `SeedSequence`.
    """

    def __init__(self, env, config, seed):
        self.env, self.config, self.task, self.iteration = env, config, env.task, 0
        weights, noise = (int(s.generate_state(1)[0]) for s in seed.spawn(2))
        self.generator = torch.Generator().manual_seed(noise)
        m, state_size = len(self.task.thresholds), env.state().shape[-1]
        with torch.random.fork_rng():
            torch.manual_seed(weights)
            self.actor = actor_of(self.task, config)
            sizes = self.task.view_size, state_size, 1 + m
            self.critic = Critic(*sizes, config.hidden_critic, config.centralized)
        parameters = [*self.actor.parameters(), *self.critic.parameters()]
        self.optimizer = torch.optim.Adam(parameters, lr=config.learning_rate, eps=1e-5)
        aims = np.array(self.task.thresholds) - config.tighten / m
        if config.tighten > 0 and (aims <= 0).any():
            left = f"leaves nothing of the threshold {self.task.threshold}; choose it smaller"
            raise ValueError(f"tighten={config.tighten:g} {left}")
        self.multipliers = Multipliers(
            aims,
            config.multiplier_rate,
            0.0 if config.algo == "mappo" else config.multiplier_start,
            config.multiplier_proportional,
            cap=config.violation_cap,
            growth=config.multiplier_growth,
        )

    @property
    def std(self):
        """Standard deviation of the exploration in this iteration."""
        c = self.config
        done = min(1.0, self.iteration / (c.std_until * c.iterations))
        return c.std_start + (c.std_end - c.std_start) * done

    def collect(self):
        """Run every environment from a fresh start for T steps → dict of tensors (T, E, …)."""
        observations, state = self.env.reset()
        rows = []
        for _ in range(self.task.horizon):
            view = torch.as_tensor(observations, dtype=torch.float32)
            with torch.no_grad():
                mean = self.actor(view)
            action = mean + self.std * torch.randn(mean.shape, generator=self.generator)
            step = self.env.step(action.numpy())
            rows.append((view, state, mean, action, *step[2:]))
            observations, state = step.observations, step.state
        names = ("view", "state", "mean", "action", *step._fields[2:])
        columns = zip(names, zip(*rows, strict=True), strict=True)
        return {name: torch.as_tensor(np.stack(x), dtype=torch.float32) for name, x in columns}

    def estimate(self, data):
        """Advantages and returns (T, E, N, 1 + m) of the reward and every cost, and V(s), V(s′)."""
        ended = (data["terminated"] + data["truncated"]) > 0
        ended[-1] = True  # the batch ends here: bootstrap as for a truncated episode
        with torch.no_grad():
            values = self.critic(data["view"], data["state"])
            after = torch.cat([values[1:], values[:1]])
            after[ended] = self.critic(data["next_observations"][ended], data["next_state"][ended])
        signal = torch.cat([data["rewards"][..., None], data["surrogate"]], -1)
        settings = self.task.discount, self.config.trace
        advantages = gae(signal, values, after, data["terminated"], ended, *settings)
        return advantages, advantages + values, values, after

    def price(self, data, costs, values, after):
        """Move λ as `config.algo` says; costs (m,) are the estimates Ĵ_c."""
        c = self.config
        if self.iteration < c.hold or c.algo in ("mappo", "mappo-fixed-penalty"):
            return
        if c.algo == "mappo-lagrangian":
            self.multipliers.update(costs)
            return
        for j, tau in enumerate(self.task.thresholds):  # as printed
            team = (x.sum(2) for x in (data["costs"][..., j], values[..., 0], after[..., 0]))
            violation = printed_violation(*team, data["terminated"], self.task.discount, tau)
            self.multipliers.values[j] += c.multiplier_rate * float(violation)

    def update(self, data, advantages, returns):
        """K epochs of minibatches: the clipped loss and the critic's regression → KL, clips."""
        c, std = self.config, self.std
        λ = torch.as_tensor(self.multipliers.values, dtype=torch.float32)
        if c.algo == "as-printed":
            λ = torch.zeros_like(λ)  # the printed penalty is constant in θ: it moves no policy
        gain = combined_advantage(advantages[..., 0], advantages[..., 1:], λ)
        columns = [data[name] for name in ("view", "state", "mean", "action")] + [gain, returns]
        columns = [x.flatten(0, 1) for x in columns]
        rows, log = len(columns[0]), []
        for _ in range(c.epochs):
            order = torch.randperm(rows, generator=self.generator)
            for batch in order.chunk(c.minibatches):
                view, state, old, action, advantage, target = (x[batch] for x in columns)
                mean = self.actor(view)
                log_ratio = ((action - old) ** 2 - (action - mean) ** 2).sum(-1) / (2 * std**2)
                regression = (self.critic(view, state) - target).pow(2).mean((0, 1)).sum()
                self.optimizer.zero_grad()
                (clipped_loss(log_ratio, advantage, c.clip) + regression).backward()
                nn.utils.clip_grad_norm_(self.actor.parameters(), 0.5)
                nn.utils.clip_grad_norm_(self.critic.parameters(), 1.0)
                self.optimizer.step()
                with torch.no_grad():
                    kl = ((old - mean) ** 2).sum(-1).mean() / (2 * std**2)
                    clipped = ((log_ratio.exp() - 1).abs() > c.clip).float().mean()
                log.append((float(kl), float(clipped)))
        return np.mean(log, 0)

    def iterate(self):
        """One iteration, steps 1 to 4 above → its log."""
        c = self.config
        rate = c.learning_rate * (1 - 0.9 * self.iteration / c.iterations)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        data = self.collect()
        log = episode_means(data, self.task.discount)
        self.critic.scale.update(self.critic.inputs(data["view"], data["state"]))
        advantages, returns, values, after = self.estimate(data)
        costs = [log[f"cost_{j}"] for j in range(len(self.task.thresholds))]
        self.price(data, costs, values, after)
        kl, clipped = self.update(data, advantages, returns)
        explained = 1 - advantages.flatten(0, 2).var(0) / (returns.flatten(0, 2).var(0) + 1e-8)
        log |= {f"lambda_{j}": float(λ) for j, λ in enumerate(self.multipliers.values)}
        log |= {
            f"value_cost_{j}": float(v) for j, v in enumerate(values[0, ..., 1:].sum(1).mean(0))
        }
        names = ["reward", *(f"cost_{j}" for j in range(len(costs)))]
        log |= {f"explained_{n}": float(x) for n, x in zip(names, explained, strict=True)}
        entropy = self.task.action_size * (0.5 * np.log(2 * np.pi * np.e) + np.log(self.std))
        log |= {"kl": float(kl), "clip_fraction": float(clipped), "entropy": float(entropy)}
        self.iteration += 1
        steps = self.iteration * c.num_envs * self.task.horizon
        return {"iteration": self.iteration, "env_steps": steps} | log | {"std": self.std}

    def checkpoint(self):
        """What flies: the actor's weights and its exploration."""
        return {"actor": self.actor.state_dict(), "std": self.std, "iteration": self.iteration}

    def state_dict(self):
        """All that is needed to go on as if never stopped."""
        return {
            "actor": self.actor.state_dict(),
            "critic": self.critic.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "multipliers": self.multipliers.state_dict(),
            "generator": self.generator.get_state(),
            "world": json.dumps(self.env.rng.bit_generator.state),
            "iteration": self.iteration,
        }

    def load_state_dict(self, state):
        for part in ("actor", "critic", "optimizer", "multipliers"):
            getattr(self, part).load_state_dict(state[part])
        self.generator.set_state(state["generator"])
        self.env.rng.bit_generator.state = json.loads(state["world"])
        self.iteration = state["iteration"]


def episode_means(data, discount):
    """Means over the first episode of every environment of a batch → dict of floats."""
    ended = data["terminated"] + data["truncated"]
    first = (ended.cumsum(0) - ended == 0).float()  # (T, E)
    weight = first * discount ** torch.arange(len(first))[:, None]
    costs = data["costs"].sum(2)  # (T, E, m), the whole swarm's
    reward = data["rewards"].mean(2)
    discounted = (costs * weight[..., None]).sum(0).mean(0)
    return {
        "return": float((reward * first).sum(0).mean()),
        "return_discounted": float((reward * weight).sum(0).mean()),
        "cost": float(discounted.sum()),
        **{f"cost_{j}": float(x) for j, x in enumerate(discounted)},
        "violation_rate": float(((costs.sum(-1) * first).sum(0) > 0).float().mean()),
        "success": float((data["terminated"] * first).sum(0).mean()),
        "length": float(first.sum(0).mean()),
    }
