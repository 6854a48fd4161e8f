"""The draft's update, kept runnable: every fault a switch, and for every switch a check.

Notebook: `04_cost_advantage_and_lagrangian`. The corrected path is `lagrangian.py` itself; a fault
replaces one line of it. `PrintedMAPPO` is the draft's rule for λ on the swarm. Axes: time T,
environment E, signal (reward, then the m costs). Rewards are maximised, costs stay low, λ ≥ 0; J_c
and τ are discounted sums over an episode.
"""

from dataclasses import dataclass, fields
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from .cmdp import TabularCMDP, evaluate
from .lagrangian import Multipliers, clipped_loss, combined_advantage, gae
from .mappo import MAPPO, Data, MAPPOConfig


def printed_violation(
    costs: Tensor,
    values: Tensor,
    next_values: Tensor,
    terminated: Tensor,
    discount: float,
    threshold: float,
) -> Tensor:
    """The draft's constraint: max(0, E[c + γV(s′) − V(s)] − τ), with the *reward's* critic V.

    All tensors of one shape; returns a scalar ≥ 0. Since E[r + γV(s′) − V(s)] = 0, it is the
    violation of E[c − r], whatever the cost does.
    """
    printed = costs + discount * (1 - terminated) * next_values - values
    return torch.relu(printed.mean() - threshold)


@dataclass(frozen=True)
class PrintedConfig(MAPPOConfig):
    """Settings of `PrintedMAPPO`; its multiplier only knows `multiplier_start`, `_rate`, `hold`."""

    algo: Literal["as-printed"] = "as-printed"


class PrintedMAPPO(MAPPO):
    """MAPPO with the draft's rule for λ (notebook 05); all else is corrected.

    The printed penalty is constant in θ: it moves no policy, which is that of λ = 0 to the bit.
    """

    def price(self, data: Data, log: dict[str, float], values: Tensor, after: Tensor) -> np.ndarray:
        """λ_j ← λ_j + rate · printed violation, from team sums; the policy pays nothing."""
        if self.skilled(log):
            for j, τ in enumerate(self.task.thresholds):
                signals = data["costs"][..., j], values[..., 0], after[..., 0]
                team = (x.sum(2) for x in signals)  # (T, E, N) → (T, E)
                violation = printed_violation(*team, data["terminated"], self.task.discount, τ)
                self.half.mean_([violation])
                self.multipliers.values[j] += self.config.multiplier_rate * float(violation)
        return np.zeros_like(self.multipliers.values)


@dataclass(frozen=True)
class Faults:
    """The draft's faults; all False is the corrected update."""

    wrong_critic: bool = False  # A^c = c + γV(s′) − V(s) with the reward's V
    advantage_mean: bool = False  # E[A^c], not Ĵ_c, is compared with τ
    hinge: bool = False  # penalty λ max(0, Ĵ_c − τ): inside the budget the policy sees no cost
    constant_penalty: bool = False  # the penalty is a number from the batch: no gradient in θ
    ascent: bool = False  # θ ← θ + α ∇loss
    only_rises: bool = False  # λ ← λ + α max(0, …)
    adam_multiplier: bool = False  # Adam, not a plain step, on the scalar λ
    no_terminals: bool = False  # bootstraps over the end into the next episode's first state
    broadcast: bool = False  # rewards (B,) against values (B, 1): advantages (B, B)


NAMES = tuple(field.name for field in fields(Faults))


def terminals(cmdp: TabularCMDP) -> np.ndarray:
    """Which states end an episode: absorbing, without reward or cost; (S,) bool."""
    stays = np.diagonal(cmdp.transition, axis1=0, axis2=2).min(0) == 1
    return stays & (cmdp.reward == 0).all(1) & (cmdp.costs == 0).all((0, 2))


def sample(
    cmdp: TabularCMDP, policy: np.ndarray, T: int, E: int, rng: np.random.Generator
) -> list[Tensor]:
    """T steps of E environments that start anew when landed → four arrays (T, E): states, actions,
    true successors, and the states in which the next steps begin (after an end: a new start)."""
    ends, rows = terminals(cmdp), []
    start = np.tile(cmdp.start, (E, 1))

    def draw(p):  # one index a row
        return (p.cumsum(-1) < rng.random((len(p), 1)) * (1 - 1e-12)).sum(-1)

    state = draw(start)
    for _ in range(T):
        action = draw(policy[state])
        after = draw(cmdp.transition[state, action])
        rows.append((state, action, after, np.where(ends[after], draw(start), after)))
        state = rows[-1][3]
    return [torch.as_tensor(np.stack(x)) for x in zip(*rows, strict=True)]


def train(
    cmdp: TabularCMDP,
    faults: Faults | None = None,
    iterations: int = 200,
    seed: int = 0,
    T: int = 32,
    E: int = 24,
    proportional: float = 1.0,
) -> dict[str, np.ndarray]:
    """PPO-Lagrangian on a softmax table, from samples → history, a dict of arrays (iterations, …).

    Whatever the switch, λ is a PI rule (rate 0.1, `proportional`): one switch is one change.

    Exact: what `cmdp.evaluate` gives, `J_r`, `J_c` (m,), …. From the batch: `estimate` Ĵ_c, `used`
    (what is compared with τ), `td_mean` (of c + γV(s′) − V(s)), `felt` |∇loss(λ) − ∇loss(0)|, and
    `after_end`, how far the returns of last steps are from their own signals. λ and its integral.
    """
    f, rng, γ = faults or Faults(), np.random.default_rng(seed), cmdp.discount
    (S, A), m, ends = cmdp.reward.shape, len(cmdp.thresholds), torch.tensor(terminals(cmdp))
    signals = torch.tensor(np.concatenate([cmdp.reward[None], cmdp.costs])).permute(1, 2, 0)
    logits, critic = torch.zeros(S, A).double().requires_grad_(), torch.zeros(S, 1 + m).double()
    τ, price = torch.tensor(cmdp.thresholds), torch.ones(m).double().requires_grad_()
    λ = Multipliers(cmdp.thresholds, 0.1, initial=1.0, proportional=proportional)
    adam, last, history = torch.optim.Adam([price], 1e-3), torch.arange(T)[:, None] == T - 1, []
    columns = [0 if f.wrong_critic else k for k in range(1 + m)]

    def loss(s, a, old, gain):
        log_ratio = logits.log_softmax(-1)[s, a] - old
        return clipped_loss(log_ratio[:, None] if f.broadcast else log_ratio, gain)

    for _ in range(iterations):
        policy = logits.detach().softmax(-1)
        s, a, after, following = sample(cmdp, policy.numpy(), T, E, rng)
        x, ended = signals[s, a], ends[after]  # (T, E, 1 + m), (T, E)
        # Ĵ_c: discounted cost of the episodes that began in the first half of the batch
        began = torch.cat([torch.ones(1, E).bool(), ended[:-1]])[: T // 2]
        sums = gae(x[..., 1:], *[0 * x[..., 1:]] * 2, ended, ended | last, γ, 1.0)
        estimate = sums[: T // 2][began].mean(0)
        terminated, after = (ended & False, following) if f.no_terminals else (ended, after)
        V, V_after = critic[s][..., columns], critic[after][..., columns]
        ahead = γ * (~terminated)[..., None] * V_after
        td_mean = (x + ahead - V)[..., 1:].mean((0, 1))
        if f.broadcast:  # in each step rewards (E,) meet values (E, 1): advantages (T, E, E, 1 + m)
            against = (y[:, :, None].expand(T, E, E, 1 + m) for y in (V, V_after))
            advantage = gae(
                x[:, None].expand(T, E, E, 1 + m), *against, terminated, ended | last, γ
            )
            target = (advantage + V[:, :, None]).mean(2)
        else:
            advantage = gae(x, V, V_after, terminated, ended | last, γ)  # (T, E, 1 + m)
            target = advantage + V
        used = td_mean if f.advantage_mean else estimate
        felt = torch.tensor(λ.values) * (used > τ if f.hinge else 1)
        penalty = 0.0
        if f.constant_penalty:  # as printed: + λ max(0, · − τ), numbers of the batch, no θ in it
            penalty, felt = felt @ torch.relu(used - τ), 0 * felt
        pair, old = (advantage[..., 0], advantage[..., 1:]), policy.log()[s, a]
        gain, free = combined_advantage(*pair, felt), combined_advantage(*pair, 0 * τ)
        before = loss(s, a, old, gain)
        (pull,) = torch.autograd.grad(before + penalty - loss(s, a, old, free), logits)
        before = before.detach()
        for _ in range(4):
            (gradient,) = torch.autograd.grad(loss(s, a, old, gain) + penalty, logits)
            logits.data += (5.0 if f.ascent else -5.0) * gradient
        row = evaluate(cmdp, policy.numpy())._asdict() | {"estimate": estimate, "used": used}
        row |= {"lambda": λ.values, "integral": λ.integral, "td_mean": td_mean}
        row |= {"felt": pull.norm(), "loss_change": loss(s, a, old, gain).detach() - before}
        row |= {"after_end": (target - x)[ended].abs().sum()}
        history.append(row | {"shape": advantage.shape == x.shape})
        member = torch.nn.functional.one_hot(s.flatten(), S).double()  # (B, S)
        sums, visits = member.T @ target.reshape(-1, 1 + m), member.sum(0)[:, None]
        critic += 0.5 * (visits > 0) * (sums / visits.clamp(min=1) - critic)
        aim = torch.maximum(used, τ) if f.only_rises else used
        λ.update(aim.numpy())
        if f.adam_multiplier:
            price.grad = τ - aim
            adam.step()
            λ.integral = price.data.clamp_(min=0).numpy().copy()
            λ.values = np.maximum(0, λ.integral + proportional * (aim - τ).numpy())
    return {name: np.array([np.asarray(row[name]) for row in history]) for name in history[0]}
