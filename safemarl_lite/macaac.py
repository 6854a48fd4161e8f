"""MACAAC, MADDPG-C and MAAC: off-policy constrained actor–critics for discrete actions.

Notebook: `06_attention_actor_critic`. Sources: Parnika et al. 2021 (arXiv 2101.02349, Algorithm 1),
Iqbal & Sha 2019 (MAAC: attention, counterfactual baseline), Lowe et al. 2017 (MADDPG).

    min_π E[Σ γ^t k_t]   subject to   E[Σ γ^t c_{j,t}] ≤ α_j,   j = 1 … m

Costs k and c_j are the team's and are *minimised*; λ_j ≥ 0 is the price of c_j in units of k.
Head 0 of a critic is Q^k, head j is Q^{c_j}; both belong to an agent i and to a joint action.
Axis order: batch B (of replayed steps), agent N, head 1 + m, action A. One iteration is

    1. an episode of L steps in each of μ environments with a_i ∼ π(· | o_i), stored (11–23)
    2. `updates` times: a batch from the buffer; the critics descend (25–27)
           (Q^x_i(o, a) − y^x_i)²,   y^x_i = x + γ E_{a′∼π}[Q̄^x_i(o′, a′) + w log π(a′_i | o′_i)]
       (w, the price of entropy, in y^k alone), and the actors (28), with the bracket held fixed,
           E_{a∼π}[log π(a_i | o_i) · [A_i(o, a) + w log π(a_i | o_i)]]
       where A is the counterfactual advantage of Q^k + Σ_j λ_j Q^{c_j}, with the *current* λ
    3. λ_j ← max(0, λ_j + β (Ĵ_{c_j} − α_j)), Ĵ_{c_j} from the episodes of step 1 (29–30)

(in brackets the lines of Algorithm 1). The last four switches of `MACAACConfig` do what the
authors' public code does instead. MADDPG-C keeps the loop and changes the parts: for each agent a
critic over all views and actions, differentiated through a Gumbel-softmax action. MAAC: λ = 0.
"""

from copy import deepcopy
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from .actors import reading_of
from .critics import AttentionCritic, JointCritic
from .lagrangian import Multipliers, aimed_at
from .learner import Learner
from .replay import Replay
from .settings import Above, Amount, Count, Positive, Several, Share, Width, check_fields
from .step import episode_means

SWITCHES = ("stale_multiplier", "replayed_constraint", "wrong_entropy_sign", "no_episode_end")


@dataclass(frozen=True)
class MACAACConfig:
    """Settings of the learner; `faithful` turns on all four switches of the authors' code."""

    algo: Literal["macaac", "maddpg-c", "maac"] = "macaac"
    iterations: Count = 128
    num_envs: Count = 128  # μ
    updates: Count = 25  # of critics and actors after each iteration's μ episodes
    batch: Count = 256  # replayed steps of an update
    buffer_episodes: Count = 2560
    learning_rate_actor: Amount = 1e-3  # both fall linearly to a tenth
    learning_rate_critic: Amount = 3e-3
    target_rate: Share = 0.1  # Q̄ ← Q̄ + rate · (Q − Q̄) at every update
    temperature_start: Positive = 0.05  # price of a nat of entropy in units of k
    temperature_end: Positive = 0.002  # it falls to this, geometrically
    hidden_actor: Width = 64
    hidden_critic: Width = 64
    attention_heads: Count = 4
    resolution: Positive = 1.0  # critics' outputs are in units that are this much finer
    network: Literal["plain", "entities"] = "plain"  # entities: nearest first, `reading.py`
    zoom: bool = True  # networks read views at three scales, `reading.py`
    critic_clock: bool = False  # critics see the time left as well, which the paper's view lacks
    shared_actor: bool = True  # False: one actor per agent, the paper's θ_i
    multiplier_start: Amount = 0.0
    multiplier_rate: Amount = 0.02  # β
    violation_cap: Above = 1.0  # of Ĵ_c − α in one step of λ
    tighten: Amount = 0.35  # the learner aims at α − tighten
    faithful: bool = False
    stale_multiplier: bool = False  # stores k + Σ λ_j c_j: old steps keep the price of their time
    replayed_constraint: bool = False  # λ follows the mean of Q^{c_j} over replayed steps
    wrong_entropy_sign: bool = False  # entropy is penalised, and counted as a constraint's cost
    no_episode_end: bool = False  # critics bootstrap at the horizon
    eval_every: Count = 8
    eval_episodes: Several = 1000

    def __post_init__(self) -> None:
        check_fields(self)
        if self.buffer_episodes < self.num_envs:
            raise ValueError(f"buffer_episodes must be ≥ num_envs, got {self.buffer_episodes}")
        if self.temperature_end > self.temperature_start:
            top = f"at most temperature_start={self.temperature_start:g}"
            raise ValueError(f"temperature_end must be {top}, got {self.temperature_end:g}")
        if self.target_rate == 0:
            raise ValueError("target_rate must be above 0, or no target ever moves; got 0")
        for name in SWITCHES if self.faithful else ():
            object.__setattr__(self, name, True)


ON_TREASURE = MACAACConfig(  # long episodes in which one move matters little
    iterations=60, num_envs=32, updates=40, buffer_episodes=640, learning_rate_actor=3e-4,
    learning_rate_critic=2e-3, target_rate=0.04, temperature_end=0.02, resolution=8.0,
    multiplier_rate=0.3, violation_cap=0.3, tighten=0.1, eval_every=10, eval_episodes=300,
)  # fmt: skip


def q_targets(signals: Tensor, next_values: Tensor, goes_on: Tensor, discount: float) -> Tensor:
    """y = x + γ · goes_on · V̄(o′): signals (B, 1 + m), next_values (B, N, 1 + m) → (B, N, 1 + m).

    goes_on (B,) is 0 where the step ended its episode, else 1.
    """
    return signals[:, None] + discount * goes_on[:, None, None] * next_values


def counterfactual_advantage(q: Tensor, policy: Tensor) -> Tensor:
    """Q_i(o, (b, a_{−i})) − Σ_b′ π(b′ | o_i) Q_i(o, (b′, a_{−i})) for every action b, (…, N, A).

    The baseline is what the *others'* actions lead to on average over the own one: subtracting it
    leaves what agent i itself contributes (Foerster et al. 2018, Iqbal & Sha 2019, eq. 8).
    """
    return q - (policy * q).sum(-1, keepdim=True)


def priced(q: Tensor, multipliers: Tensor) -> Tensor:
    """Q^k + Σ_j λ_j Q^{c_j}: (…, 1 + m), (…, m) → (…)."""
    return q[..., 0] + (q[..., 1:] * multipliers).sum(-1)


def own(q: Tensor, actions: Tensor) -> Tensor:
    """Values of the agents' own actions: (…, N, 1 + m, A), (…, N) → (…, N, 1 + m)."""
    index = actions[..., None, None].expand(*q.shape[:-1], 1)
    return q.gather(-1, index).squeeze(-1)


class MACAAC(Learner):
    """The learner: `iterate()` runs one iteration → its log, a dict of floats.

    `env` is a vector environment with discrete actions.
    """

    PARTS = tuple("actor critic target actor_optimizer critic_optimizer multipliers replay".split())
    std = 1.0  # actions are drawn from π itself

    def __init__(self, env, config: MACAACConfig, seed: np.random.SeedSequence) -> None:
        task = env.task
        if not env.discrete:
            raise ValueError(f"{config.algo} needs actions='discrete', got 'continuous'")
        self.attends = config.algo != "maddpg-c"
        super().__init__(env, config, seed)
        env.autoreset = False
        self.target = deepcopy(self.critic).requires_grad_(False)
        self.actor_optimizer = torch.optim.Adam(self.actor.parameters(), eps=1e-5, fused=True)
        self.critic_optimizer = torch.optim.Adam(self.critic.parameters(), eps=1e-5, fused=True)
        rounds = config.buffer_episodes // config.num_envs
        self.replay = Replay(env, rounds, config.critic_clock)
        bound = config.algo != "maac"
        aims = aimed_at(task.thresholds, config.tighten * bound)
        rates = config.multiplier_rate, config.multiplier_start * bound
        self.multipliers = Multipliers(aims, *rates, cap=config.violation_cap)
        length = (1 - task.discount**task.horizon) / (1 - task.discount)
        unit = [length / 5, *np.maximum(1.0, task.thresholds)]  # so that heads have like spread
        self.unit = torch.tensor(unit, dtype=torch.float32) / config.resolution

    def new_critic(self) -> AttentionCritic | JointCritic:
        task, hidden, heads = self.task, self.config.hidden_critic, 1 + len(self.task.thresholds)
        size = reading_of(task, self.config).size(task.view_size + self.config.critic_clock)
        sizes = size, task.action_size
        if not self.attends:
            return JointCritic(task.n_agents, *sizes, heads, hidden)
        return AttentionCritic(
            *sizes, heads * task.action_size, hidden, self.config.attention_heads
        )

    @property
    def temperature(self) -> float:
        """Price of a nat of entropy in this iteration, in units of k."""
        c, done = self.config, self.iteration / self.config.iterations
        return c.temperature_start ** (1 - done) * c.temperature_end**done

    def gumbel(self, logits: Tensor) -> Tensor:
        """Logits (…, A) with Gumbel noise: their argmax is a draw from softmax(logits)."""
        noise = torch.rand(logits.shape, generator=self.generator).clamp_min(1e-20)
        return logits - (-noise.log()).log()

    def draw(self, logits: Tensor) -> Tensor:
        """Actions (…) ∼ softmax(logits (…, A))."""
        return self.gumbel(logits).argmax(-1)

    def values(self, critic: AttentionCritic, views: Tensor, actions: Tensor) -> Tensor:
        """Q of every own action, (B, N, 1 + m, A), given the others' actions (B, N)."""
        heads = len(self.unit), self.task.action_size
        actions = one_hot(actions, self.task.action_size).float()
        q = critic(self.actor.reading(views), actions).unflatten(-1, heads)
        return q * self.unit[:, None]

    def joint(
        self, critic: JointCritic, views: Tensor, actions: Tensor, mine: Tensor | None = None
    ) -> Tensor:
        """MADDPG's Q of the joint action, (B, N, 1 + m); row i of `mine` is critic i's a_i."""
        n = self.task.n_agents
        actions = one_hot(actions, self.task.action_size).float().expand(n, -1, -1, -1)
        if mine is not None:
            actions = torch.where(torch.eye(n)[:, None, :, None] > 0, mine, actions)
        return critic(self.actor.reading(views), actions) * self.unit

    def targets(self, signals: Tensor, stored: Tensor, last: Tensor, successors: Tensor) -> Tensor:
        """y (B, N, 1 + m) of a batch, from the target critic and the policy now."""
        c = self.config
        if c.stale_multiplier:
            signals = torch.cat([priced(signals, stored)[:, None], signals[:, 1:]], 1)
        ends = last & (self.task.horizon_is_terminal and not c.no_episode_end)
        logits = self.actor(successors)
        actions = self.draw(logits)
        if self.attends:
            log_policy = logits.log_softmax(-1)
            policy = log_policy.exp()[:, :, None]
            next_values = (self.values(self.target, successors, actions) * policy).sum(-1)
            bonus = self.temperature * (policy[:, :, 0] * log_policy).sum(-1)  # −entropy ≤ 0
            heads, sign = (slice(None), -1.0) if c.wrong_entropy_sign else (slice(1), 1.0)
            next_values[..., heads] += sign * bonus[..., None]
        else:
            next_values = self.joint(self.target, successors, actions)
        return q_targets(signals, next_values, (~ends).float(), self.task.discount)

    def critic_step(self, views: Tensor, actions: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Descend the squared errors of all heads → their means and mean values, (1 + m,) each."""
        q = (self.values if self.attends else self.joint)(self.critic, views, actions)
        q = own(q, actions) if self.attends else q
        errors = ((q - targets) / self.unit).square().mean((0, 1))
        self.descend(self.critic_optimizer, errors.sum(), self.critic, 1.0)
        return errors.detach(), q.detach().mean((0, 1))

    def actor_step(self, views: Tensor, actions: Tensor) -> Tensor:
        """Descend the priced cost less the price of entropy → mean entropy (nats)."""
        λ = torch.as_tensor(self.multipliers.values, dtype=torch.float32)
        λ = λ * (not self.config.stale_multiplier)  # else head 0 holds it already
        sign = -1.0 if self.config.wrong_entropy_sign else 1.0
        logits = self.actor(views)
        log_policy = logits.log_softmax(-1)
        policy = log_policy.exp()
        if self.attends:
            chosen = self.draw(logits.detach())
            with torch.no_grad():
                q = self.values(self.critic, views, chosen).transpose(-1, -2)
                gain = counterfactual_advantage(priced(q, λ), policy)
                gain = gain + sign * self.temperature * log_policy
            log_chosen, gain = (x.gather(-1, chosen[..., None]) for x in (log_policy, gain))
            loss = (log_chosen * gain).mean()
        else:
            soft = self.gumbel(logits).softmax(-1)
            hard = one_hot(soft.argmax(-1), soft.shape[-1]) + soft - soft.detach()  # straight on
            cost = priced(self.joint(self.critic, views, actions, hard), λ)
            loss = (cost + sign * self.temperature * (policy * log_policy).sum(-1)).mean()
        self.descend(self.actor_optimizer, loss, self.actor, 0.5)
        return -(policy * log_policy).sum(-1).detach().mean()

    def descend(
        self, optimizer: torch.optim.Adam, loss: Tensor, network: nn.Module, norm: float
    ) -> None:
        """A step down the loss, of this network only; its gradient is clipped to `norm`."""
        optimizer.zero_grad()
        loss.backward(inputs=list(network.parameters()))
        nn.utils.clip_grad_norm_(network.parameters(), norm)
        optimizer.step()

    def update(self) -> Tensor:
        """One batch: critics, actors, targets → errors and values of the heads, entropy."""
        views, actions, *rest = self.replay.sample(self.config.batch, self.generator)
        with torch.no_grad():
            targets = self.targets(*rest)
        errors, values = self.critic_step(views, actions, targets)
        entropy = self.actor_step(views, actions)
        with torch.no_grad():
            for late, now in zip(self.target.parameters(), self.critic.parameters(), strict=True):
                late.lerp_(now, self.config.target_rate)
        return torch.cat([errors, values, entropy[None]])

    def iterate(self) -> dict[str, float]:
        """One iteration, steps 1 to 3 above → its log."""
        c, m = self.config, len(self.task.thresholds)
        share = 1 - 0.9 * self.iteration / c.iterations
        self.actor_optimizer.param_groups[0]["lr"] = share * c.learning_rate_actor
        self.critic_optimizer.param_groups[0]["lr"] = share * c.learning_rate_critic
        with torch.no_grad():
            λ = self.multipliers.values
            played = self.replay.play(lambda o, t: self.draw(self.actor(o)), λ)
        log = episode_means(played, self.task.discount)
        self.critic.scale.update(self.actor.reading(self.replay.newest()))
        self.target.scale.load_state_dict(self.critic.scale.state_dict())
        learned = torch.stack([self.update() for _ in range(c.updates)]).mean(0).tolist()
        values, episodes = learned[1 + m : 2 + 2 * m], [log[f"cost_{j}"] for j in range(m)]
        if c.algo != "maac":
            self.multipliers.update(values[1:] if c.replayed_constraint else episodes)
        self.iteration += 1
        log = {"iteration": self.iteration, "env_steps": self.env_steps} | log
        log |= {f"lambda_{j}": float(λ) for j, λ in enumerate(self.multipliers.values)}
        names = ["reward", *(f"cost_{j}" for j in range(m))]
        log |= {f"error_{n}": x for n, x in zip(names, learned, strict=False)}
        log |= {f"q_{n}": x for n, x in zip(names, values, strict=True)}
        return log | {"entropy": learned[-1], "temperature": self.temperature}
