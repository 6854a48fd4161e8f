"""Least squares, as the pages of lesson 03 fit their critics, and how good a fit is."""

import torch
from torch import Tensor


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


def explained_variance(returns: Tensor, values: Tensor) -> Tensor:
    """1 − E[(G − V)²] / Var(G) for each head: (…, heads), (…, heads) → (heads,).

    1: perfect; 0: no better than the mean return; below 0: worse. A constant offset counts.
    Returns that do not vary have nothing to explain: −inf, or nan where the values are exact.
    """
    if returns.shape != values.shape:  # (B,) against (B, 1) would broadcast to (B, B)
        raise ValueError(f"returns {tuple(returns.shape)} and values {tuple(values.shape)} differ")
    returns, values = returns.flatten(0, -2), values.flatten(0, -2)
    return 1 - (returns - values).pow(2).mean(0) / returns.var(0, unbiased=False)
