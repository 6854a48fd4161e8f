"""MAPPO with centralized critics and Lagrangian constraints.

Notebook: `05_training_mappo_lagrangian`. Sources: Yu et al. 2022 (MAPPO), Schulman et al. 2017
(PPO), Ray et al. 2019 (PPO-Lagrangian); the draft's algorithm, repaired as `lagrangian.py` says.
Axis order: time T, environment E, agent N, feature. One iteration:

    1. every environment starts anew and runs T = horizon steps with π_θ(a_i | o_i) (collect)
    2. Ĵ_c = mean discounted cost of the first episodes; λ_j ← max(0, λ_j + …)     (Multipliers)
    3. A^r, A^{c_j} by GAE, each from its own head of the centralized critic       (gae)
    4. K epochs: descend the clipped loss on (A^r − Σ λ_j A^{c_j}) / (1 + Σ λ_j), and regress the
       heads of the critic on their returns                                         (update)

Two learners may share the work, each with half of the environments: see `halves.py`. Wherever it
says `self.half`, the two take their mean, or join their rows; a learner alone has the whole.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from .critics import Critic
from .equivariant import SwarmCritic
from .halves import WHOLE, Half
from .lagrangian import Multipliers, aimed_at, clipped_loss, combined_advantage, gae
from .learner import Learner
from .settings import Above, Amount, Count, Natural, Positive, Several, Share, Width, check_fields
from .step import episode_means, first_episodes

Data = dict[str, Tensor]  # columns of a batch, (T, E, …)


@dataclass(frozen=True)
class MAPPOConfig:
    """Settings of the learner; `algo` says what happens to λ.

    mappo-lagrangian: λ follows the violation. mappo: λ = 0. mappo-fixed-penalty: λ stays at
    `multiplier_start`.
    """

    algo: Literal["mappo-lagrangian", "mappo", "mappo-fixed-penalty"] = "mappo-lagrangian"
    iterations: Count = 112
    num_envs: Count = 48
    epochs: Count = 4  # K
    minibatches: Count = 16
    learning_rate: Positive = 3e-3  # falls geometrically to a twentieth
    warm_up: Natural = 0  # iterations in which it rises to that, while the critic learns
    clip: Positive = 0.2
    trace: Share = 0.9  # GAE
    std_start: Positive = 0.5  # of the Gaussian exploration, falls linearly to `std_end`
    std_end: Positive = 0.2
    std_until: Positive = 0.7  # share of the iterations after which it stays there
    hidden_actor: Width = 64
    hidden_critic: Width = 64
    shared_actor: bool = True  # False: one actor per agent, the draft's θ_i
    centralized: bool = True  # False: the critic sees the agent's view only
    multiplier_start: Amount = 0.1
    multiplier_rate: Amount = 0.5
    multiplier_growth: Amount = 1.0
    multiplier_proportional: Amount = 0.0
    multiplier_most: Positive = 20.0  # beyond it the reward is 1 / (1 + λ) of what is learned
    violation_cap: Above = 0.1
    hold: Natural = 60  # iterations after which λ moves at the latest, and before them
    skill: Share = 0.8  # in batches of which this share arrives: first the swarm learns to fly
    rehearsed: Natural = 32  # newest starts of violating episodes, in each half, to fly again
    tighten: Amount = 0.098  # the learner aims at τ − tighten
    eval_every: Count = 14
    eval_episodes: Several = 800

    def __post_init__(self) -> None:
        check_fields(self)


ON_NAVIGATION = MAPPOConfig(  # what suits 25 steps without a place to reach (notebook 06)
    iterations=110,
    num_envs=512,
    learning_rate=1.5e-3,
    trace=0.95,
    hidden_critic=128,
    rehearsed=0,
    hold=0,
    multiplier_start=0.0,
    multiplier_most=100.0,
    multiplier_rate=0.03,
    multiplier_growth=0.0,
    violation_cap=1.0,
    tighten=0.4,
    eval_every=5,
    eval_episodes=1000,
)

ON_ANY_SWARM = MAPPOConfig(  # what suits a distribution of tasks, a row a drone
    iterations=110,
    num_envs=22,
    minibatches=12,
    learning_rate=5e-3,
    warm_up=4,
    std_until=1.0,
    hidden_actor=32,
    hidden_critic=32,
    multiplier_start=5.0,
    multiplier_most=100.0,
    multiplier_rate=0.25,
    hold=3,
    multiplier_growth=0.3,
    rehearsed=0,
    trace=0.95,
    tighten=0.09,
    eval_every=25,
    eval_episodes=400,
)


class MAPPO(Learner):
    """The learner: `iterate()` runs one iteration and returns its log as a dict of floats.

    `env` is a vector environment with continuous actions, such as `SwarmVectorEnv`.
    """

    PARTS = ("actor", "critic", "optimizer", "multipliers")
    HALVES = True

    def __init__(
        self, env, config: MAPPOConfig, seed: np.random.SeedSequence, half: Half = WHOLE
    ) -> None:
        if env.discrete:
            raise ValueError(f"{config.algo} needs actions='continuous', got 'discrete'")
        super().__init__(env, config, seed)
        self.half = half
        self.weights = [*self.actor.parameters(), *self.critic.parameters()]
        self.optimizer = torch.optim.Adam(self.weights, eps=1e-5, fused=True)
        self.multipliers = Multipliers(
            aimed_at(self.task.thresholds, config.tighten / len(self.task.thresholds)),
            config.multiplier_rate,
            0.0 if config.algo == "mappo" else config.multiplier_start,
            config.multiplier_proportional,
            cap=config.violation_cap,
            growth=config.multiplier_growth,
            most=config.multiplier_most,
        )

    def new_critic(self) -> nn.Module:
        c, sizes = self.config, (self.env.state().shape[-1], 1 + len(self.task.thresholds))
        if getattr(self.task, "equivariant", False):
            return SwarmCritic(self.task.n_neighbours, *sizes, c.hidden_critic)
        return Critic(self.task.view_size, *sizes, c.hidden_critic, c.centralized)

    @property
    def price_of_cost(self) -> np.ndarray:
        """λ (m,) now."""
        return self.multipliers.values

    @property
    def std(self) -> float:
        """Standard deviation of the exploration in this iteration."""
        c = self.config
        done = min(1.0, self.iteration / (c.std_until * c.iterations))
        return c.std_start + (c.std_end - c.std_start) * done

    def collect(self) -> Data:
        """Run every environment from a fresh start for T steps → dict of tensors (T, E, …)."""
        observations, state = self.env.reset()
        self.starts = {name: getattr(self.env, name).copy() for name in self.env.DRAWN}
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

    def rehearse(self, data: Data) -> None:
        """Keep the starts of this batch's first episodes that violated, the newest of all.

        The environment begins later episodes of a batch with them; Ĵ_c, which counts the first
        episodes only, is that of the task's own draws.
        """
        violated = first_episodes(data)[..., None] * data["costs"].sum(2) > 0  # (T, E, m)
        for e in violated.any(0).any(-1).nonzero()[:, 0].tolist():
            self.env.rehearsed.append({name: x[e] for name, x in self.starts.items()})
        del self.env.rehearsed[: -self.config.rehearsed or None]

    def estimate(self, data: Data) -> tuple[Tensor, Tensor, Tensor, Tensor]:
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

    def price(self, data: Data, log: dict[str, float], values: Tensor, after: Tensor) -> np.ndarray:
        """Move λ by the estimates Ĵ_c in `log` → the price (m,) that the policy pays."""
        still = self.config.algo in ("mappo", "mappo-fixed-penalty")
        if not still and self.skilled(log):
            costs = [log[f"cost_{j}"] for j in range(len(self.task.thresholds))]
            self.multipliers.update(costs)
        return self.multipliers.values

    def skilled(self, log: dict[str, float]) -> bool:
        """Whether the price may move: a price that outruns the skill teaches to stay away."""
        return self.iteration >= self.config.hold or log["success"] >= self.config.skill

    def update(
        self, data: Data, advantages: Tensor, returns: Tensor, price: np.ndarray
    ) -> np.ndarray:
        """K epochs of minibatches: the clipped loss and the critic's regression → KL, clips."""
        c, std = self.config, self.std
        λ = torch.as_tensor(price, dtype=torch.float32)
        λ = λ if λ.ndim == 1 else λ.flatten(0, 1)  # (m,), or one for each state and drone
        whole, own = self.half.join(advantages.flatten(0, 1))  # scaled over both halves
        gain = combined_advantage(whole[..., 0], whole[..., 1:], λ)[own]
        columns = [data[name] for name in ("view", "state", "mean", "action")] + [returns]
        columns = [x.flatten(0, 1) for x in columns] + [gain]
        rows, log = len(columns[0]), []
        for _ in range(c.epochs):
            order = torch.randperm(rows, generator=self.generator)
            for batch in order.chunk(c.minibatches):
                view, state, old, action, target, advantage = (x[batch] for x in columns)
                mean = self.actor(view)
                log_ratio = ((action - old) ** 2 - (action - mean) ** 2).sum(-1) / (2 * std**2)
                regression = (self.critic(view, state) - target).pow(2).mean((0, 1)).sum()
                self.optimizer.zero_grad()
                (clipped_loss(log_ratio, advantage, c.clip) + regression).backward()
                self.half.mean_([weight.grad for weight in self.weights])
                nn.utils.clip_grad_norm_(self.actor.parameters(), 0.5)
                nn.utils.clip_grad_norm_(self.critic.parameters(), 1.0)
                self.optimizer.step()
                with torch.no_grad():
                    kl = ((old - mean) ** 2).sum(-1).mean() / (2 * std**2)
                    clipped = ((log_ratio.exp() - 1).abs() > c.clip).float().mean()
                log.append((float(kl), float(clipped)))
        return np.mean(log, 0)

    def iterate(self) -> dict[str, float]:
        """One iteration, steps 1 to 4 above → its log."""
        c = self.config
        rate = c.learning_rate * 0.05 ** (self.iteration / c.iterations)
        rate *= min(1.0, (self.iteration + 1) / (c.warm_up + 1))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        data = self.collect()
        log = self.half.mean(episode_means(data, self.task.discount))
        self.critic.scale.update(self.critic.inputs(data["view"], data["state"]))
        self.half.mean_(list(self.critic.scale.buffers()))
        if c.rehearsed and self.skilled(log):
            self.rehearse(data)
        advantages, returns, values, after = self.estimate(data)
        price = self.price(data, log, values, after)
        kl, clipped = self.update(data, advantages, returns, price)
        explained = 1 - advantages.flatten(0, 2).var(0) / (returns.flatten(0, 2).var(0) + 1e-8)
        log |= {f"lambda_{j}": float(λ) for j, λ in enumerate(self.multipliers.values)}
        starts = values[0, ..., 1:].sum(1).mean(0)
        log |= {f"value_cost_{j}": float(v) for j, v in enumerate(starts)}
        names = ["reward", *(f"cost_{j}" for j in range(len(self.task.thresholds)))]
        log |= {f"explained_{n}": float(x) for n, x in zip(names, explained, strict=True)}
        entropy = self.task.action_size * (0.5 * np.log(2 * np.pi * np.e) + np.log(self.std))
        log |= {"kl": float(kl), "clip_fraction": float(clipped), "entropy": float(entropy)}
        self.iteration += 1
        count = {"iteration": self.iteration, "env_steps": self.env_steps}
        return count | self.half.mean(log) | {"std": self.std}
