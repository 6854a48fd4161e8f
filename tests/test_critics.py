"""Critics against loops, NumPy, torch's own attention, and their claims of symmetry."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from safemarl_lite.critics import (
    AttentionCritic,
    Critic,
    Normaliser,
    mlp,
)
from safemarl_lite.lessons.regression import explained_variance, regress


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def attention_by_loops(critic, o, a):
    """The docstring's formulas for one swarm: o (N, O), a (N, A) → (N, heads_out)."""
    o, leaky = critic.scale(o), nn.functional.leaky_relu
    s, e = critic.own(o), critic.pair(torch.cat([o, a], -1))
    h = critic.attention_heads
    q, k, v = critic.query(s), critic.key(e), leaky(critic.value(e))
    d, rows = q.shape[-1] // h, []
    for i in range(len(o)):
        parts = []
        for head in range(h):
            at = slice(head * d, (head + 1) * d)
            others = [j for j in range(len(o)) if j != i]
            x = torch.zeros(d, dtype=o.dtype)
            if others:
                alpha = torch.stack([q[i, at] @ k[j, at] / d**0.5 for j in others]).softmax(0)
                x = sum(weight * v[j, at] for weight, j in zip(alpha, others, strict=True))
            parts.append(x)
        rows.append(critic.net(torch.cat([s[i], *parts])))
    return torch.stack(rows)


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 6), st.integers(0, 3), st.sampled_from((1, 2, 4)), st.integers(0, 99))
def test_attention_against_a_plain_loop(n, action_size, heads, seed):
    torch.manual_seed(seed)
    critic = AttentionCritic(5, action_size, 3, hidden=8, attention_heads=heads).double()
    o, a = torch.randn(2, n, 5).double(), torch.randn(2, n, action_size).double()
    critic.scale.update(3 * o + 1)
    values = critic(o, a if action_size else None)
    for swarm in (0, 1):
        assert torch.allclose(values[swarm], attention_by_loops(critic, o[swarm], a[swarm]))


def test_attention_against_torch_s_own():
    """nn.MultiheadAttention with the same W_q and W_k; h(W_v e) goes in as its ready-made value."""
    torch.manual_seed(0)
    critic = AttentionCritic(5, 2, 1, hidden=8, attention_heads=4)
    o, a = torch.randn(3, 6, 5), torch.randn(3, 6, 2)
    own, pair = critic.own(o), critic.pair(torch.cat([o, a], -1))
    value = nn.functional.leaky_relu(critic.value(pair))
    theirs = nn.MultiheadAttention(8, 4, bias=False, batch_first=True)
    weights = critic.query.weight, critic.key.weight, torch.eye(8)
    theirs.in_proj_weight.data.copy_(torch.cat(weights))
    theirs.out_proj.weight.data.copy_(torch.eye(8))
    mask = torch.eye(6, dtype=torch.bool)
    x, alpha = theirs(own, pair, value, attn_mask=mask, average_attn_weights=False)
    values, ours = critic(o, a, return_weights=True)
    assert torch.allclose(alpha, ours, atol=1e-5)
    assert torch.allclose(critic.net(torch.cat([own, x], -1)), values, atol=1e-5)


@pytest.mark.parametrize("action_size", (0, 2))
def test_renumbered_agents_have_renumbered_values(action_size):
    torch.manual_seed(0)
    critic, order = AttentionCritic(5, action_size, 2), torch.tensor([2, 0, 3, 1])
    o, a = torch.randn(7, 4, 5), torch.randn(7, 4, action_size) if action_size else None
    values, weights = critic(o, a, return_weights=True)
    moved, moved_weights = critic(o[:, order], a[:, order] if action_size else None, True)
    assert torch.allclose(moved, values[:, order], atol=1e-5)
    assert torch.allclose(moved_weights, weights[:, :, order][..., order], atol=1e-5)
    assert not torch.allclose(moved, values, atol=1e-3)  # control: the order did matter


def test_a_lone_agent_attends_to_nobody():
    critic = AttentionCritic(5, 2, 3)
    o, a = torch.randn(4, 1, 5), torch.randn(4, 1, 2, requires_grad=True)
    values, weights = critic(o, a, return_weights=True)
    own = critic.own(critic.scale(o))
    assert torch.equal(weights, torch.zeros(4, 4, 1, 1))
    assert torch.allclose(values, critic.net(torch.cat([own, torch.zeros_like(own)], -1)))
    values.sum().backward()
    assert torch.equal(a.grad, torch.zeros_like(a))


def test_own_action_never_enters():
    critic = AttentionCritic(5, 2, 3)
    o, a = torch.randn(4, 5), torch.randn(4, 2)
    jacobian = torch.autograd.functional.jacobian(lambda a: critic(o, a).sum(-1), a).abs().sum(-1)
    assert torch.equal(jacobian.diagonal(), torch.zeros(4))
    assert (jacobian[~torch.eye(4, dtype=torch.bool)] > 0).all()


def test_weights_add_up_over_the_others():
    _, weights = AttentionCritic(5, 0, 1)(torch.randn(3, 5, 5), return_weights=True)
    assert torch.allclose(weights.sum(-1), torch.ones(3, 4, 5))
    assert torch.equal(weights.diagonal(dim1=-2, dim2=-1), torch.zeros(3, 4, 5))


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 20), min_size=1, max_size=6), st.integers(0, 99))
def test_normaliser_against_numpy(sizes, seed):
    rng, scale, seen = np.random.default_rng(seed), Normaliser(3).double(), []
    for k, size in enumerate(sizes):
        batch = rng.normal(10 * k, 1 + k, (size, 2, 3))
        scale.update(torch.tensor(batch))
        seen.append(batch.reshape(-1, 3))
    rows = np.concatenate(seen)
    if len(rows) == 0:
        x = torch.randn(4, 3).double()
        assert torch.allclose(scale(x), x, atol=1e-5)
    else:
        assert np.allclose(scale.mean, rows.mean(0)) and np.allclose(scale.var, rows.var(0))
        assert scale.count == len(rows)


def test_normaliser_is_saved_with_the_weights_and_takes_no_gradient():
    scale, x = Normaliser(2), torch.randn(50, 2, requires_grad=True)
    scale.update(5 * x)
    assert not scale.var.requires_grad
    other = Normaliser(2)
    other.load_state_dict(scale.state_dict())
    assert torch.equal(other(x), scale(x))
    assert torch.allclose(scale(5 * x).std(0), torch.ones(2), atol=0.05)


def test_explained_variance():
    G = torch.randn(6, 5, 2, generator=generator()).double()
    V = G + torch.randn(6, 5, 2, generator=generator(1)) * 0.5
    g, v = G.reshape(-1, 2).numpy(), V.reshape(-1, 2).numpy()
    expected = 1 - ((g - v) ** 2).mean(0) / g.var(0)
    assert np.allclose(explained_variance(G, V), expected)
    assert torch.equal(explained_variance(G, G), torch.ones(2).double())
    mean = G.mean((0, 1)).expand_as(G)
    assert torch.allclose(explained_variance(G, mean), torch.zeros(2).double(), atol=1e-12)
    assert (explained_variance(G, mean + 1) < 0).all()  # a constant offset counts
    flat = torch.ones(4, 1)  # nothing to explain: no number but −∞, or NaN for a perfect critic
    assert explained_variance(flat, flat + 1).isneginf() and explained_variance(flat, flat).isnan()


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match="differ"):
        explained_variance(torch.zeros(8), torch.zeros(8, 1))
    with pytest.raises(ValueError, match="states"):
        Critic(3, 4, 1)(torch.zeros(8, 5, 3), torch.zeros(7, 4))
    with pytest.raises(ValueError, match="states"):
        Critic(3, 4, 1)(torch.zeros(8, 5, 3), torch.zeros(8, 5, 4))
    with pytest.raises(ValueError, match="multiple"):
        AttentionCritic(3, 0, 1, hidden=10, attention_heads=4)
    for critic, actions in (
        (AttentionCritic(3, 2, 1), None),
        (AttentionCritic(3, 0, 1), torch.zeros(8, 5, 2)),
    ):
        with pytest.raises(ValueError, match="action numbers"):
            critic(torch.zeros(8, 5, 3), actions)


def test_local_ignores_the_state_and_centralized_uses_it():
    o, s = torch.randn(6, 5, 3), torch.randn(6, 4)
    local, central = Critic(3, 4, 2, centralized=False), Critic(3, 4, 2)
    assert torch.equal(local(o, s), local(o, s + 1))
    assert not torch.allclose(central(o, s), central(o, s + 1), atol=1e-3)
    assert local(o, s).shape == central(o, s).shape == (6, 5, 2)
    assert torch.allclose(central(o[2], s[2]), central(o, s)[2], atol=1e-5)  # its own state's row


def test_a_hidden_coin_is_explained_by_the_centralized_critic_only():
    x = torch.randint(2, (1024, 1), generator=generator()).float()
    o, noise = torch.ones(1024, 1, 3), torch.randn(1024, 1, 1, generator=generator(1))
    G = 6 * x[:, None] + noise  # of the variance 9 + 1 the state knows 9
    explained = {}
    for centralized in (False, True):
        torch.manual_seed(0)
        critic = Critic(3, 1, 1, hidden=16, centralized=centralized)
        regress(critic, (o, x), G, generator(), epochs=60, rate=0.02)
        explained[centralized] = explained_variance(G, critic(o, x)).item()
    assert abs(explained[False]) < 0.02 and abs(explained[True] - 0.9) < 0.02


def test_one_head_learns_the_mean_of_two_signals_and_two_heads_learn_both():
    """The draft's fault: reward −10, cost 2, γ = 0; one V is best at (−10 + 2)/2 = −4."""
    o, nothing = torch.ones(512, 1, 3), torch.zeros(512, 0)
    both = torch.tensor([-10.0, 2.0]).expand(512, 1, 2)
    for heads, expected in ((1, [-4.0, -4.0]), (2, [-10.0, 2.0])):
        torch.manual_seed(0)
        critic = Critic(3, 0, heads, centralized=False)
        regress(critic, (o, nothing), both, generator(), epochs=300, rate=0.01)
        learned = critic(o, nothing).expand(512, 1, 2)
        assert torch.allclose(learned, torch.tensor(expected).expand_as(learned), atol=0.02)


def test_regress_is_reproducible_and_calls_after_each_epoch():
    o, s, G, calls = torch.randn(64, 2, 3), torch.randn(64, 4), torch.randn(64, 2, 1), []
    fits = []
    for _ in range(2):
        torch.manual_seed(0)
        critic = Critic(3, 4, 1, hidden=8)
        regress(critic, (o, s), G, generator(5), epochs=3, after=lambda: calls.append(1))
        fits.append(critic(o, s))
    assert torch.equal(*fits) and len(calls) == 6


def test_mlp_is_orthogonal_with_the_gains_asked_for():
    net = mlp([4, 8, 2], gain=0.01)
    first, last = net[0].weight, net[-1].weight
    assert torch.allclose(first.T @ first, 2 * torch.eye(4), atol=1e-5)
    assert torch.allclose(last @ last.T, 1e-4 * torch.eye(2), atol=1e-7)
    assert all((layer.bias == 0).all() for layer in (net[0], net[-1]))
