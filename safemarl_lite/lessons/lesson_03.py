"""Lesson 03, centralized critics: its figures, and the checks of its exercises."""

from functools import partial

import numpy as np
import torch

from .exercise import compare, run


def regress(critic, inputs, targets, generator, epochs=20, rate=3e-3, rows=512, after=None):
    """Fit a critic to targets (B, N, heads) by least squares, Adam's rate falling to a tenth.

    inputs: a tuple of tensors (B, …), the critic's arguments. An epoch is a random quarter of the
    data, because neighbouring steps of a flight are much alike. `after()` is called after each.
    """
    optimizer = torch.optim.Adam(critic.parameters(), lr=rate)
    for epoch in range(epochs):
        optimizer.param_groups[0]["lr"] = rate * (1 - 0.9 * epoch / epochs)
        order = torch.randperm(len(targets), generator=generator)[: max(1, len(targets) // 4)]
        for batch in order.split(rows):
            loss = (critic(*[x[batch] for x in inputs]) - targets[batch]).pow(2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if after is not None:
            after()


def check_explained_variance(explained):
    """Exercise 3.1: explained(returns (B,), values (B,)) is 1 − E[(G − V)²] / Var(G)."""
    G, V = np.array([0.0, 2.0, 4.0, 6.0]), np.array([2.0, 3.0, 5.0, 7.0])
    slips = {"Var(G − V) forgives a constant offset; use the mean square.": 0.9625,
             "That is the share left over; take it from 1.": 0.35,
             "Divide by the variance of the returns, not of the values.": 0.5254237}  # fmt: skip
    run("Exercise 3.1", lambda: compare(explained(G, V), 0.65, slips))


def check_split_variance(split):
    """Exercise 3.2: split(returns (B,), state (B,)) → (E[Var(G|s)], Var(E[G|s]))."""
    G, s = np.array([0.0, 2, 2, 4, 10, 12]), np.array([0, 0, 0, 0, 1, 1])
    slips = {"Weight each state by how often it occurs.": (1.5, 20.25),
             "The two parts are swapped.": (18, 5 / 3),
             "With ddof=1 the parts do not add up to Var(G).": (22 / 9, 18)}  # fmt: skip
    run("Exercise 3.2", lambda: compare(split(G, s), (5 / 3, 18), slips))


def check_two_targets(targets):
    """Exercise 3.3: (reward (B,), cost (B,), V(s′) (B,2), terminated (B,), γ) → targets (B,2)."""
    ahead, end = np.array([[10.0, 3.0], [20.0, 4.0]]), np.array([False, True])
    slips = {"It bootstraps over termination: no future is left there.": ((10, 2.7), (23, 5.6)),
             "The cost's target is built on the reward's value.": ((10, 9), (5, 2)),
             "The discount γ is missing.": ((11, 3), (5, 2))}  # fmt: skip
    answer = partial(targets, np.array([1.0, 5.0]), np.array([0.0, 2.0]), ahead, end, 0.9)
    run("Exercise 3.3", lambda: compare(answer(), ((10, 2.7), (5, 2)), slips))


def check_attend(attend):
    """Exercise 3.4: attend(query (N,d), key (N,d), value (N,e)) → (N,e), over the others only."""
    query, key, value = np.random.default_rng(3).normal(size=(3, 4, 5))
    whole, plain = np.exp(query @ key.T / 5**0.5), np.exp(query @ key.T) * (1 - np.eye(4))
    other = whole * (1 - np.eye(4))
    right, own, late, unscaled = (
        x / y.sum(1, keepdims=True) @ value
        for x, y in ((other, other), (whole, whole), (other, whole), (plain, plain))
    )
    slips = {"An agent attends to itself too: leave out j = i.": own,
             "Masked after the softmax: the others' weights must add up to 1.": late,
             "The scores are not divided by √d.": unscaled}  # fmt: skip
    run("Exercise 3.4", lambda: compare(attend(query, key, value), right, slips))
