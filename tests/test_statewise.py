"""State-wise constraints against brute force; the multiplier network against steps by hand."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from benchmarks import statewise_oracles as oracles
from benchmarks import statewise_swarm

from safemarl_lite import cmdp as C
from safemarl_lite import statewise as W
from safemarl_lite.lagrangian import combined_advantage
from safemarl_lite.lessons.tasks import courier
from safemarl_lite.mappo_statewise import (
    MultiplierNetwork,
    StatewiseConfig,
    StatewiseMAPPO,
    carry,
    costs_to_come,
)
from safemarl_lite.swarm import SwarmTask, SwarmVectorEnv

SMALL = {"iterations": 3, "num_envs": 4, "epochs": 1, "minibatches": 2, "hold": 0}


@pytest.fixture(scope="module")
def few():
    return list(oracles.problems(6, seed=1))


def test_brute_force_and_nonlinear_programming_agree_below_the_dual(few):
    for cmdp in few:
        best = oracles.brute_force(cmdp)[0]
        found = W.solve_states(cmdp)
        assert -1e-7 <= found.exact.J_r - best < 0.02  # the grid finds nothing better
        assert oracles.nonlinear(cmdp, starts=3) == pytest.approx(found.exact.J_r, abs=1e-6)
        assert max(found.errors(cmdp.thresholds[0])) < 1e-6
        dual, λ, weights = oracles.dual_optimum(cmdp)
        assert dual >= found.exact.J_r - 1e-7 and (λ >= 0).all()
        assert C.solve_lp(cmdp).value >= found.exact.J_r - 1e-7  # an expectation asks for less
        if oracles.mixed_in_one_state(cmdp, weights):  # then one stationary policy does the same
            assert dual == pytest.approx(found.exact.J_r, abs=1e-6)


def test_the_feasible_set_is_not_convex_in_the_occupancy(few):
    over, off = oracles.chords(courier())
    assert 1e-4 < over.max() < 0.01 and (over > 1e-6).mean() > 0.02
    assert np.abs(off).max() < 1e-9  # the control: a budget in expectation is linear there
    assert max(oracles.chords(cmdp)[0].max() for cmdp in few[:3]) > 1e-4


def test_the_dual_is_the_lagrangians_maximum_over_deterministic_policies(few):
    """Strong duality of the mixture's programme, and no stationary policy beats its maximum."""
    rng = np.random.default_rng(0)
    for cmdp in few[:3]:
        value, λ, _ = oracles.dual_optimum(cmdp)
        S, A = cmdp.reward.shape
        choices = [np.eye(A)[list(actions)] for actions in np.ndindex(*[A] * S)]
        random = list(rng.dirichlet(np.full(A, 0.5), (300, S)))

        def lagrangian(policy, cmdp=cmdp, λ=λ):
            exact = C.evaluate(cmdp, policy)
            return exact.J_r - λ @ (exact.v_c[0] - cmdp.thresholds[0])

        best = max(map(lagrangian, choices))
        assert best == pytest.approx(value, abs=1e-8)
        assert max(map(lagrangian, random)) < best


def test_the_courier_has_a_gap_and_the_carried_price_finds_its_optimum():
    cmdp = courier()
    best = oracles.brute_force(cmdp)[0]
    carried, local = (oracles.primal_dual(cmdp, 3000, carry=x) for x in (True, False))
    found = W.solve_states(cmdp)
    assert -1e-9 <= found.exact.J_r - best < 1e-4
    assert found.multipliers == pytest.approx(carried.multipliers, abs=1e-4)
    assert oracles.dual_optimum(cmdp)[0] > 2 * best
    assert carried.exact.J_r == pytest.approx(found.exact.J_r, abs=1e-6)
    assert max(carried.errors(1.0)) < 1e-6
    off = abs(local.exact.J_r - best) + local.errors(1.0)[0]
    assert off > 0.05  # the control: charged at the state alone it ends elsewhere


def test_the_carried_price_is_the_gradient_of_the_lagrangian(few):
    """Against finite differences in every entry of the policy; at the state alone it is not."""
    rng, step = np.random.default_rng(2), 1e-6
    for cmdp in few[:3]:
        S, A = cmdp.reward.shape
        policy, λ = rng.dirichlet(np.ones(A), S), rng.random(S)
        exact = C.evaluate(cmdp, policy)
        μ, carried = exact.occupancy.sum(1), W.carried(cmdp, policy, λ)
        for s, a in np.ndindex(S, A):
            moved = policy.copy()
            moved[s] = (1 - step) * moved[s] + step * np.eye(A)[a]
            to = C.evaluate(cmdp, moved)
            slope = (to.J_r - exact.J_r - λ @ (to.v_c[0] - exact.v_c[0])) / step
            given = [μ[s] * (exact.a_r[s, a] - p[s] * exact.a_c[0, s, a]) for p in (carried, λ)]
            assert slope == pytest.approx(given[0], abs=1e-4)
        assert abs(slope - given[1]) > 1e-3


def test_infeasible_states_are_named():
    cmdp = courier().with_thresholds(0.5)
    least = W.least_costs(cmdp)
    assert (least == 0).all()
    hard = oracles.problems(1, seed=5)
    hard = next(hard)
    with pytest.raises(W.InfeasibleStates, match="smallest feasible threshold") as info:
        W.solve_states(hard.with_thresholds(0.01))
    W.least_costs(hard.with_thresholds(info.value.least.max() + 1e-6))
    with pytest.raises(W.InfeasibleStates):
        oracles.dual_optimum(hard.with_thresholds(info.value.least.max() - 1e-6))
    two = C.TabularCMDP(hard.transition, hard.reward, [hard.costs[0]] * 2, [9, 9], hard.start, 0.9)
    with pytest.raises(ValueError, match="one cost, not 2"):
        W.least_costs(two)


def test_the_price_of_a_state_nobody_reaches_only_keeps_it_safe():
    P = np.zeros((2, 2, 2))
    P[0, :, 0], P[1, :, 1] = 1, 1  # two islands; all flights begin on the first
    cmdp = C.TabularCMDP(P, [[0, 1], [0, 1]], [[[0, 1], [0, 1]]], [1.0], [1, 0], 0.5)
    point = W.solve_states(cmdp)
    assert point.exact.v_c[0, 0] == pytest.approx(1.0) and point.exact.J_r == pytest.approx(1.0)
    assert point.exact.v_c[0, 1] <= 1.0 and max(point.errors(1.0)) < 1e-6


def test_costs_to_come_and_the_carried_price_by_hand():
    ended = torch.tensor([[False], [True], [False], [False]])
    costs = torch.tensor([1.0, 0, 0, 2]).reshape(4, 1, 1, 1).expand(4, 1, 2, 1)
    assert costs_to_come(costs, ended, 0.5)[:, 0, 1, 0].tolist() == [2, 0, 2, 4]
    prices = torch.tensor([1.0, 2, 4, 8]).reshape(4, 1, 1, 1)
    assert carry(prices, ended).flatten().tolist() == [1, 3, 4, 12]


def test_a_price_for_every_state_in_the_combined_advantage():
    torch.manual_seed(0)
    r, c, λ = torch.randn(6, 2), torch.randn(6, 2, 1), torch.rand(6, 2, 1)
    given = combined_advantage(r, c, λ)
    for t, e in np.ndindex(6, 2):
        wanted = (r[t, e] - r.mean() - λ[t, e, 0] * (c[t, e, 0] - c.mean())) / r.std()
        assert given[t, e].item() == pytest.approx((wanted / (1 + λ[t, e, 0])).item(), abs=1e-5)
    same = combined_advantage(r, c, torch.full((6, 2, 1), 0.7))
    assert torch.allclose(same, combined_advantage(r, c, torch.tensor([0.7])), atol=1e-6)


def test_the_regression_is_the_projected_dual_step_under_noise():
    """max(0, λ + α(V^c − τ)) for every state; a maximum inside the mean would be too high."""
    torch.manual_seed(0)
    S, τ, α, start = 4, 0.1, 0.05, 0.05
    V = torch.tensor([0.0, 0.05, 0.2, 1.0])
    s = torch.randint(0, S, (16_000,))
    ahead = 4.0 * (torch.rand(len(s)) < V[s] / 4)  # mean V(s), mostly 0
    config = StatewiseConfig(states_rate=α)
    network = MultiplierNetwork(S, 1, 32, start)
    assert network(torch.eye(S)).flatten().tolist() == pytest.approx([start] * S, rel=0.02)
    learner = SimpleNamespace(
        config=config, states=network, multipliers=SimpleNamespace(thresholds=np.array([τ])),
        states_optimizer=torch.optim.Adam(network.parameters(), config.states_learning_rate),
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    wanted = torch.full((S,), start)
    views, ahead = torch.eye(S)[s].reshape(100, 16, 10, S), ahead.reshape(100, 16, 10, 1)
    for _ in range(8):
        StatewiseMAPPO.fit(learner, views, ahead)
        wanted = (wanted + α * (V - τ)).clamp(min=0)
    found = network(torch.eye(S)).detach().flatten()
    assert (found - wanted).abs().max() < 0.03
    assert found[0] < 0.02 < 0.3 < found[3]  # it falls and it rises


def test_the_learner_pays_the_carried_price_and_goes_on_where_it_stopped():
    torch.set_num_threads(1)
    task = SwarmTask(horizon=30, threshold=(0.1, 0.2))

    def new():
        world, learning = np.random.SeedSequence(0).spawn(2)
        config = StatewiseConfig(states_delay=2, **SMALL)
        return StatewiseMAPPO(SwarmVectorEnv(task, 4, world), config, learning)

    whole, parts, again = new(), new(), new()
    data = whole.collect()
    log = {"success": 1.0, "cost_0": 1.0, "cost_1": 0.0}
    values = torch.zeros(30, 4, 5, 3)
    before = whole.states(data["view"]).detach()
    price = whole.price(data, log, values, values)
    ended = (data["terminated"] + data["truncated"]) > 0
    moved = whole.states(data["view"]).detach()
    scalar = torch.tensor(whole.multipliers.values, dtype=torch.float32)
    assert price.shape == (30, 4, 5, 2) and (price > scalar).all()
    assert torch.allclose(price, scalar + carry(moved, ended)) and not torch.equal(before, moved)
    whole.iteration = 1  # no step of the network in this one
    whole.price(data, log, values, values)
    assert torch.allclose(moved, whole.states(data["view"]).detach(), atol=1e-3)
    log = [parts.iterate() for _ in range(3)][-1]
    other = new()
    other.iterate()
    again.load_state_dict(other.state_dict())
    again.iterate()
    assert again.iterate() == log and {"lambda_states", "states_over"} <= log.keys()


def test_the_price_of_one_step_only_is_the_scalars():
    """λ(o) = 0 everywhere: MAPPO-Lagrangian's own price, state by state."""
    torch.set_num_threads(1)
    config = StatewiseConfig(states_start=1e-9, states_rate=0.0, **SMALL)
    world, learning = np.random.SeedSequence(0).spawn(2)
    learner = StatewiseMAPPO(SwarmVectorEnv(SwarmTask(horizon=30), 4, world), config, learning)
    data, values = learner.collect(), torch.zeros(30, 4, 5, 2)
    price = learner.price(data, {"success": 1.0, "cost_0": 3.0}, values, values)
    assert price.mean().item() == pytest.approx(learner.multipliers.values[0], rel=1e-5)
    assert price.std() < 1e-6


def test_there_is_one_flight_from_a_visited_state_and_its_cost_is_the_value():
    """So that the table of the swarm needs no critic; with other places it is another flight."""
    torch.set_num_threads(1)
    task = SwarmTask(horizon=60)

    def act(views):
        return (5 * views[..., 3:6] - 3 * views[..., :3]).clip(-1, 1)  # straight: it costs

    with task.vector_env(8, 2, autoreset=False) as env:
        env.reset(2)
        statewise_swarm.fly(act, env, 12)
        then = statewise_swarm.moments(env)
        costs = statewise_swarm.fly(act, env)[1]
    values = statewise_swarm.to_come(costs, task.discount)
    straight = (costs * 0.99 ** np.arange(60)[:, None]).sum(0)
    assert (values[0] > 1).any() and values[0] == pytest.approx(straight)
    assert statewise_swarm.ahead(act, task, then) == pytest.approx(values[0], abs=1e-6)
    swapped = then | {"places": then["places"][:, ::-1].copy()}
    assert np.abs(statewise_swarm.ahead(act, task, swapped) - values[0]).max() > 1
