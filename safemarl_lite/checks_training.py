"""Checks of the exercises from lesson 04 on; notebooks call them as `checks.check_…`."""

from functools import partial

import numpy as np

from . import cmdp
from .exercise import compare, random_task, run

# ---- 04: the cost advantage and the multiplier


def check_mean_advantage(mean_advantage):
    """Exercise 4.1: E over a ∼ π of c + γV(s′) − V(s), (S,), for *any* critic V (S,)."""
    task, policy, v = (
        random_task(41),
        np.random.default_rng(1).dirichlet(np.ones(3), 5),
        np.arange(5.0),
    )
    c, ahead, here = task.costs[0], 0.9 * cmdp.backup(task, v), v[:, None]
    slips = {
        "A plain mean over the actions; weight each by π(a|s).": (c + ahead - here).mean(1),
        "V(s) is not subtracted.": (policy * (c + ahead)).sum(1),
        "The discount γ is missing.": (policy * (c + ahead / 0.9 - here)).sum(1),
    }
    answer, right = partial(mean_advantage, policy, task.transition, c, v, 0.9), c + ahead - here
    run("Exercise 4.1", lambda: compare(answer(), (policy * right).sum(1), slips))


def check_cost_advantage(cost_advantage):
    """Exercise 4.2: GAE of the cost from values (T, 2) = [V^r, V^c]; ends by landing or by time."""
    c, v, after = np.random.default_rng(42).random((3, 6, 2))
    landed, ended = np.arange(6) == 2, np.isin(np.arange(6), (2, 4, 5))

    def gae(k=1, stop=landed, cut=ended):
        delta, out = c[:, 0] + 0.9 * (1 - stop) * after[:, k] - v[:, k], np.zeros(7)
        for t in reversed(range(6)):
            out[t] = delta[t] + 0.9 * 0.8 * (1 - cut[t]) * out[t + 1]
        return out[:6]

    slips = {
        "That is the reward's critic: use column 1.": gae(k=0),
        "A landed drone has no future: no bootstrap where `terminated`.": gae(stop=0 * ended),
        "An episode cut by time goes on: bootstrap where it is not `terminated`.": gae(stop=ended),
        "The sum runs on into the next episode: stop it where `ended`.": gae(cut=0 * ended),
    }
    answer = partial(cost_advantage, c[:, 0], v, after, landed, ended, 0.9, 0.8)
    run("Exercise 4.2", lambda: compare(answer(), gae(), slips))


def check_multiplier_rule(rule):
    """Exercise 4.3: (integral, Ĵ_c, τ, rate, proportional) → integral, λ, each (m,)."""
    start, e = np.array([1.0, 0.2, 2.0]), np.array([0.5, -4.0, -1.0])

    def pair(e, add=0.0, low=0.0):
        integral = np.maximum(low, start + 0.1 * e + add)
        return np.stack([integral, np.maximum(low, integral + 0.5 * e)])

    slips = {
        "λ cannot fall: keep the sign of Ĵ_c − τ.": pair(np.maximum(0, e)),
        "The sign is reversed: λ rises where the cost is above the budget.": pair(-e),
        "A price is never negative: project both on ≥ 0.": pair(e, low=-np.inf),
        "The proportional part must not pile up in the integral.": pair(e, add=0.5 * e),
    }
    answer = partial(rule, start, 3 + e, np.full(3, 3.0), 0.1, 0.5)
    run("Exercise 4.3", lambda: compare(answer(), pair(e), slips))


def check_diagnosis(diagnosis):
    """Exercise 4.4: () → the name of the one switch behind three curves."""
    slips = {
        "hinge": "With `hinge` the cost returns to the budget again and again, and λ rises on.",
        "constant_penalty": "Then the cost would not fall at all; here it does.",
        "adam_multiplier": "Then λ would creep at one pace; here it stops dead.",
        "no_terminals": "Then the drone would never land: look at J_r.",
    }
    right, other = "only_rises", "Look at λ while the cost is below the budget: what should it do?"
    run("Exercise 4.4", lambda: None if (x := diagnosis()) == right else slips.get(x, other))


# ---- 05: training


def check_multiplier_step(step):
    """Exercise 5.1: λ, Ĵ_c, τ, rate → the next λ."""

    def check():
        if np.isclose(step(1.0, 0.0, 1.0, 0.5), 1.0):
            return "λ must be able to fall: keep the sign of Ĵ_c − τ (no max around it)."
        if np.isclose(step(1.0, 3.0, 1.0, 0.5), 0.0):
            return "the sign is reversed: λ rises when the cost is above the budget."
        if step(0.1, 0.0, 1.0, 0.5) < 0:
            return "λ became negative: project with max(0, ·)."
        cases = ((1.0, 3.0, 1.0, 0.5, 2.0), (2.0, 0.0, 1.0, 0.5, 1.5), (0.1, 0.0, 1.0, 0.5, 0.0))
        right = all(np.isclose(step(*case[:4]), case[4]) for case in cases)
        return None if right else f"step(1, 3, 1, 0.5) should be 2, got {step(1.0, 3.0, 1.0, 0.5)}."

    run("Exercise 5.1", check)


def check_choose(choose):
    """Exercise 5.2: [(cost, return), …], τ → index of the checkpoint to keep."""

    def check():
        some = [(0.5, 20.0), (0.05, 11.0), (0.09, 14.0), (0.3, 9.0)]
        given = choose(some, 0.1)
        if given == 0:
            return "that one has the highest return and breaks the budget."
        if given == 1:
            return "that one is the safest; among the feasible ones the return decides."
        if given != 2:
            return f"index 2 is feasible with the highest return, got {given!r}."
        if choose(some, 0.01) != 1:
            return "where none is feasible, keep the least cost."

    run("Exercise 5.2", check)


def check_episodes(episodes_needed):
    """Exercise 5.3: p, level → clean episodes needed to bound P(violation) by p."""

    def check():
        given, right = episodes_needed(0.03, 0.99), int(np.ceil(np.log(0.01) / np.log(0.97)))
        if given == int(np.ceil(np.log(0.99) / np.log(0.97))):
            return "the probability of seeing no violation must be at most 1 − level."
        return None if given == right else f"episodes_needed(0.03, 0.99) is {right}, got {given}."

    run("Exercise 5.3", check)


# ---- 06: attention and the constrained actor–critic


def check_attention(attention):
    """Exercise 6.1: weights (N, N) of scaled dot-product attention over the others."""
    rng = np.random.default_rng(6)
    queries, keys = rng.normal(size=(2, 4, 9))
    scores = queries @ keys.T

    def softmax(x):
        e = np.exp(x - x.max(1, keepdims=True))
        return e / e.sum(1, keepdims=True)

    hidden = np.where(np.eye(4) > 0, -np.inf, 0)
    slips = {
        "The diagonal is zeroed after the softmax, so rows do not sum to one; mask the scores.": (
            softmax(scores / 3) * (1 - np.eye(4))
        ),
        "An agent attends to itself; mask the diagonal of the scores.": softmax(scores / 3),
        "The scores are not divided by √d.": softmax(scores + hidden),
        "The scores are divided by d, not by √d.": softmax(scores / 9 + hidden),
        "Keys ask and queries answer; the rows belong to the one who asks.": softmax(
            scores.T / 3 + hidden
        ),
    }
    right = softmax(scores / 3 + hidden)
    run("Exercise 6.1", lambda: compare(attention(queries.copy(), keys.copy()), right, slips))


def check_q_target(target):
    """Exercise 6.2: c + γ E_{a′ ∼ π}[Q(o′, a′)], and c alone after the last step, (B,)."""
    rng = np.random.default_rng(7)
    q, policy = rng.uniform(1, 9, (5, 3)), rng.dirichlet(np.ones(3), 5)
    c, last = np.array([1.0, 0, 1, 0, 1]), np.array([False, True, False, False, True])
    mean, on = (policy * q).sum(1), 1.0 - last
    slips = {
        "The last step of an episode has no future: its target is c.": c + 0.9 * mean,
        "The sign of `last` is turned: the future counts where the episode goes on.": (
            c + 0.9 * mean * last
        ),
        "A minimum over a′ is Q-learning; take the expectation under the policy.": (
            c + 0.9 * q.min(1) * on
        ),
        "A maximum over a′ is Q-learning; take the expectation under the policy.": (
            c + 0.9 * q.max(1) * on
        ),
        "A plain mean over a′; weight by the policy.": c + 0.9 * q.mean(1) * on,
        "The discount γ is missing.": c + mean * on,
    }
    right = c + 0.9 * mean * on
    run("Exercise 6.2", lambda: compare(target(c, q, policy, last, 0.9), right, slips))


def check_counterfactual(advantage):
    """Exercise 6.3: Q^k + λ Q^c less its mean under the policy, (N, A)."""
    rng = np.random.default_rng(8)
    k, c, policy = rng.normal(size=(4, 5)), rng.normal(size=(4, 5)), rng.dirichlet(np.ones(5), 4)

    def less_mean(q, weights=policy):
        return q - (weights * q).sum(1, keepdims=True)

    slips = {
        "Both are costs: the price is added, Q^k + λ Q^c.": less_mean(k - 2 * c),
        "The baseline is missing.": k + 2 * c,
        "The baseline weights all actions alike; weight by the policy.": less_mean(
            k + 2 * c, np.full((4, 5), 0.2)
        ),
        "The sign is turned: this is the advantage of a reward.": -less_mean(k + 2 * c),
        "The price λ is missing.": less_mean(k + c),
    }
    right = less_mean(k + 2 * c)
    run("Exercise 6.3", lambda: compare(advantage(k, c, policy, 2.0), right, slips))


def check_steps_allowed(steps_allowed):
    """Exercise 6.4: collision steps an episode that a bootstrapped, inflated Q lets pass."""
    cases = [(3.0, 0.99, 25, 0.0, 5), (3.0, 0.99, 25, 0.01, 5), (1.0, 0.99, 25, 0.01, 5)]
    inflation = [w * np.log(n) for *_, w, n in cases]
    base = np.array([alpha * (1 - gamma) for alpha, gamma, *_ in cases])
    slips = {
        "That is α itself: the reading as a plain sum.": [alpha for alpha, *_ in cases],
        "It may not be below zero.": 25 * (base - inflation),
        "The entropy is added as a cost: it leaves less room, not more.": 25 * (base + inflation),
        "The entropy term is missing.": 25 * base,
        "This is p, the probability in a step; multiply by L.": np.maximum(0, base - inflation),
    }
    right = 25 * np.maximum(0, base - inflation)
    run("Exercise 6.4", lambda: compare([steps_allowed(*case) for case in cases], right, slips))
