"""The draft's update, kept runnable: every fault a switch, and for every switch a check.

Notebook: `04_cost_advantage_and_lagrangian`. The corrected path is `lagrangian.py` itself; a fault
replaces one line of it. Source: the draft (algorithm steps 4 to 7, and its program).
Axis order: time T, environment E, signal (reward, then the m costs). Rewards are maximised, costs
stay low, λ ≥ 0; J_c and τ are discounted sums over an episode.
"""

from dataclasses import dataclass, fields

import numpy as np
import torch

from .cmdp import TabularCMDP, evaluate
from .lagrangian import Multipliers, clipped_loss, combined_advantage, gae


def printed_violation(costs, values, next_values, terminated, discount, threshold):
    """The draft's constraint: max(0, E[c + γV(s′) − V(s)] − τ), with the *reward's* critic V.

    All tensors of one shape; returns a scalar ≥ 0. Since E[r + γV(s′) − V(s)] = 0, it is the
    violation of E[c − r], whatever the cost does.
    """
    printed = costs + discount * (1 - terminated) * next_values - values
    return torch.relu(printed.mean() - threshold)


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
PRINTED = Faults(**dict.fromkeys(NAMES, True))


def delivery(threshold=0.25, discount=0.95):
    """A drone's delivery with S = 6, A = 2: short and risky, or long and clean.

    States: 0 pad, 1 corridor, 2 to 4 detour, 5 landed (the end). On the pad it takes the corridor
    or the detour; elsewhere action 0 flies on (the gusts stop it in one of five tries), action 1
    hovers. Reward −1 a step in the air; a step in the corridor costs 1.
    """
    P, r, c = np.zeros((6, 2, 6)), np.full((6, 2), -1.0), np.zeros((6, 2))
    P[0, 0, 1] = P[0, 1, 2] = P[5, :, 5] = 1
    for here, ahead in (1, 5), (2, 3), (3, 4), (4, 5):
        P[here, 0, [ahead, here]], P[here, 1, here] = (0.8, 0.2), 1
    c[1], r[5] = 1, 0
    return TabularCMDP(P, r, c[None], [threshold], np.eye(6)[0], discount)


def terminals(cmdp):
    """Which states end an episode: absorbing, without reward or cost; (S,) bool."""
    stays = np.diagonal(cmdp.transition, axis1=0, axis2=2).min(0) == 1
    return stays & (cmdp.reward == 0).all(1) & (cmdp.costs == 0).all((0, 2))


def sample(cmdp, policy, T, E, rng):
    """T steps of E environments that start anew when landed → four arrays (T, E): states, actions,
    true successors, and the states in which the next steps begin (after an end: a new start)."""
    ends, rows = terminals(cmdp), []

    def draw(p):  # one index a row
        return (p.cumsum(-1) < rng.random((len(p), 1)) * (1 - 1e-12)).sum(-1)

    start = np.tile(cmdp.start, (E, 1))
    state = draw(start)
    for _ in range(T):
        action = draw(policy[state])
        after = draw(cmdp.transition[state, action])
        following = np.where(ends[after], draw(start), after)
        rows.append((state, action, after, following))
        state = following
    return [torch.as_tensor(np.stack(x)) for x in zip(*rows, strict=True)]


def train(cmdp, faults=None, iterations=200, seed=0, T=32, E=24):
    """PPO-Lagrangian on a softmax table, from samples → history, a dict of arrays (iterations, …).

    Seeded, about a second. Exact: `J_r`, `J_c` (m,) of the policy that sampled. From the batch:
    `estimate` Ĵ_c, `used` (what is compared with τ), `td_mean` (mean of c + γV(s′) − V(s)).
    `lambda`, and its `integral`; `felt` = |∇loss(λ) − ∇loss(0)|, the price's pull on the policy.
    """
    f, rng, γ = faults or Faults(), np.random.default_rng(seed), cmdp.discount
    (S, A), m, ends = cmdp.reward.shape, len(cmdp.thresholds), torch.tensor(terminals(cmdp))
    signals = torch.tensor(np.concatenate([cmdp.reward[None], cmdp.costs])).permute(1, 2, 0)
    logits, critic = torch.zeros(S, A).double().requires_grad_(), torch.zeros(S, 1 + m).double()
    τ, price = torch.tensor(cmdp.thresholds), torch.ones(m).double().requires_grad_()
    λ = Multipliers(cmdp.thresholds, rate=0.1, initial=1.0, proportional=1.0)
    descend, adam, history = torch.optim.SGD([logits], 5.0), torch.optim.Adam([price], 1e-3), []
    last, columns = (
        torch.arange(T)[:, None] == T - 1,
        [0 if f.wrong_critic else k for k in range(1 + m)],
    )
    for _ in range(iterations):
        policy = logits.detach().softmax(-1)
        s, a, after, following = sample(cmdp, policy.numpy(), T, E, rng)
        x, ended = signals[s, a], ends[after]  # (T, E, 1 + m), (T, E)
        # Ĵ_c: discounted cost of the episodes that began in the first half of the batch
        began = torch.cat([torch.ones(1, E).bool(), ended[:-1]])[: T // 2]
        none = torch.zeros_like(x[..., 1:])
        sums = gae(x[..., 1:], none, none, ended, ended | last, γ, 1.0)
        estimate = sums[: T // 2][began].mean(0)
        terminated, after = (0 * ended, following) if f.no_terminals else (ended, after)
        goes_on = 1 - terminated.double()[..., None]
        V, ahead = critic[s][..., columns], γ * goes_on * critic[after][..., columns]
        td_mean = (x + ahead - V)[..., 1:].mean((0, 1))
        x, V, ahead, rows = *(y.flatten(0, 1) for y in (x, V, ahead)), slice(None)
        if f.broadcast:  # as in the draft's program, (B,) and (B, 1), for every sixth sample
            rows = slice(None, None, 6)
            advantage = x[rows] + ahead[rows, None] - V[rows, None]  # (B, B, 1 + m)
            target = (advantage + V[rows, None]).mean(1)
        else:
            grid = [
                y.unflatten(0, (T, E)) for y in (x, V, critic[after][..., columns].flatten(0, 1))
            ]
            advantage = gae(*grid, terminated, terminated.bool() | last, γ).flatten(0, 1)
            target = advantage + V  # (B, 1 + m)
        s, a, ended = (y.flatten()[rows] for y in (s, a, ended))
        used = td_mean if f.advantage_mean else estimate
        felt = torch.tensor(λ.values) * (not f.constant_penalty) * (used > τ if f.hinge else 1)
        pair = advantage[..., 0], advantage[..., 1:]
        gain, free, losses = combined_advantage(*pair, felt), combined_advantage(*pair, 0 * τ), []
        for epoch in range(5):  # four steps; the fifth round only looks at the loss
            log_ratio = logits.log_softmax(-1)[s, a] - policy.log()[s, a]
            losses.append(clipped_loss(log_ratio, gain))
            if epoch == 0:
                without = losses[0] - clipped_loss(log_ratio, free)
                (pull,) = torch.autograd.grad(without, logits, retain_graph=True)
            if epoch < 4:
                descend.zero_grad()
                (-losses[-1] if f.ascent else losses[-1]).backward()
                descend.step()
        exact = evaluate(cmdp, policy.numpy())
        row = {"J_r": exact.J_r, "J_c": exact.J_c, "estimate": estimate, "used": used}
        row |= {"lambda": λ.values, "integral": λ.integral, "shape": advantage.dim() == 2}
        row |= {"felt": pull.norm(), "loss_change": (losses[-1] - losses[0]).detach()}
        # the return of a last step is its own signal, whatever the critic says
        row |= {"td_mean": td_mean, "after_end": (target - x[rows])[ended].abs().sum()}
        history.append(row)
        member = torch.nn.functional.one_hot(s, S).double()  # (B, S)
        visits = member.sum(0)[:, None]
        critic += 0.5 * (visits > 0) * (member.T @ target / visits.clamp(min=1) - critic)
        aim = torch.maximum(used, τ) if f.only_rises else used
        λ.update(aim.numpy())
        if f.adam_multiplier:
            price.grad = τ - aim
            adam.step()
            λ.integral = price.data.clamp_(min=0).numpy().copy()
            λ.values = np.maximum(0, λ.integral + λ.proportional * (aim - τ).numpy())
    return {name: np.array([np.array(row[name]) for row in history]) for name in history[0]}


def distance(history, best, window=20):
    """From the LP's optimum, in units of reward: |J_r − J_r*| + λ*·|J_c − J_c*|, (iterations,).

    J_r, J_c are means over the last `window` iterations: those of a mixture of their policies.
    """
    J = np.column_stack([history["J_r"], history["J_c"]]).cumsum(0)
    J[window:] = J[window:] - J[:-window]
    J /= np.minimum(np.arange(len(J)) + 1, window)[:, None]
    return abs(J[:, 0] - best.value) + abs(J[:, 1:] - best.costs) @ best.multipliers


def checks(history, thresholds):
    """Fault → whether the history passes the check that is made for it (True: passes)."""
    h, τ = history, thresholds
    over, priced = h["estimate"] > τ, h["lambda"] > 0.1
    step, violation = np.diff(h["integral"], axis=0), (h["estimate"] - τ)[:-1]
    far = violation > 0.02  # over budget by more than rounding
    ratio = step[far] / violation[far]
    late = slice(len(h["J_r"]) // 2, None)
    felt = h["felt"][:, None] > 1e-9
    return {
        "wrong_critic": bool((abs(h["td_mean"][late].mean(0)) < 0.05).all()),
        "advantage_mean": bool((abs((h["used"] - h["J_c"]).mean(0)) < 0.1 * τ + 0.02).all()),
        "hinge": bool(felt.repeat(len(τ), 1)[~over & priced].all()),
        "constant_penalty": bool(felt.repeat(len(τ), 1)[over & priced].all()),
        "ascent": bool((h["loss_change"] < 0).mean() > 0.9),
        "only_rises": bool((step[(violation < 0) & (h["integral"][:-1] > 0)] < 0).all()),
        "adam_multiplier": bool(np.ptp(ratio) <= 1e-6 * abs(ratio).max(initial=1)),
        "no_terminals": bool(h["after_end"].max() < 1e-9),
        "broadcast": bool(h["shape"].all()),
    }
