"""The draft's update, kept runnable: every fault a switch. Notebook 04."""

import torch


def printed_violation(costs, values, next_values, terminated, discount, threshold):
    """The draft's constraint: max(0, E[c + γV(s′) − V(s)] − τ), with the *reward's* critic V.

    All tensors of one shape; returns a scalar ≥ 0. Since E[r + γV(s′) − V(s)] = 0, it is the
    violation of E[c − r], whatever the cost does.
    """
    printed = costs + discount * (1 - terminated) * next_values - values
    return torch.relu(printed.mean() - threshold)
