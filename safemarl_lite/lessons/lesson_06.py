"""Lesson 06, the attention actor-critic: its figures, and the checks of its exercises."""

import matplotlib.pyplot as plt
import numpy as np

from ..navigation.task import RADIUS
from .exercise import compare, run
from .style import REWARD, THRESHOLD


def tracks(axis, positions, landmarks):
    """Draw an episode of navigation from above: positions (T, N, 2), landmarks (L, 2)."""
    for agent in range(positions.shape[1]):
        axis.plot(*positions[:, agent].T, color=REWARD, linestyle=("-", "--", "-.", ":")[agent % 4])
    axis.plot(*positions[0].T, "o", color="white", markeredgecolor=REWARD, markersize=5)
    for place in positions[-1]:
        axis.add_patch(plt.Circle(place, RADIUS, color=REWARD, alpha=0.4, linewidth=0))
    axis.plot(*landmarks.T, "x", color=THRESHOLD, markersize=7)
    axis.set(aspect="equal", xlabel="x", ylabel="y", xlim=(-1.4, 1.4), ylim=(-1.4, 1.4))


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
