"""Notebook 07: what its theorems, figures and silent bug say."""

import json

import numpy as np
import pytest
import torch
from benchmarks import statewise_oracles as oracles
from lesson_pages import ROOT, functions, solution, source

from safemarl_lite import cmdp, statewise
from safemarl_lite.lagrangian import Multipliers
from safemarl_lite.lessons import lesson_07, tasks
from safemarl_lite.mappo_statewise import carry

WALL, COURIER = tasks.passage(), tasks.courier()


def train(text=""):
    """The page's own loop, one line changed where `text` says so."""
    code = source("07")["price-train"].split("\n\n\npath")[0]
    line = "statewise.carried(task, policy, price)[:, None]"
    assert line in code
    space = {"np": np, "cmdp": cmdp, "statewise": statewise, "Multipliers": Multipliers}
    exec(code.replace(line, text or line), space)
    return space["train"](COURIER)


def test_an_expectation_hides_what_every_state_asks():
    mean = cmdp.evaluate(WALL, cmdp.solve_lp(WALL).policy)
    every = statewise.solve_states(WALL)
    assert mean.J_c[0] == pytest.approx(0.3) and mean.v_c[0, 0] > 0.7
    assert max(every.errors(0.3)) < 1e-9 and every.exact.v_c[0].max() <= 0.3 + 1e-9
    assert every.exact.J_r < mean.J_r - 0.9
    free = every.multipliers == 0
    assert (every.prices[free] > 0).sum() > 20  # charged, though their own budget does not bind


def test_the_page_s_loop_finds_the_optimum_and_the_colleague_s_does_not():
    best = statewise.solve_states(COURIER)
    path, λ = train()
    assert path[-1][0] == pytest.approx(best.exact.J_r, abs=1e-6)
    assert best.multipliers == pytest.approx(λ, abs=1e-4)
    theirs = np.array(train("price[:, None]")[0])
    stored = np.loadtxt(ROOT / "figures/07_colleague.csv", delimiter=",", skiprows=1)
    assert np.abs(theirs - stored).max() < 1e-5
    assert theirs[-1, 1] == pytest.approx(1, abs=1e-5) and np.ptp(theirs[-50:, 0]) < 1e-4
    assert theirs[-1, 0] < best.exact.J_r - 0.05


def test_the_mixture_breaks_the_budget_once_it_is_drawn():
    dual, _, weights = oracles.dual_optimum(COURIER)
    working = cmdp.evaluate(COURIER, np.array([[0, 1.0], [0, 1]]))
    assert dual == pytest.approx(0.2 * working.J_r) and weights == pytest.approx([0.8, 0, 0, 0.2])
    assert working.v_c[0] == pytest.approx([5, 5])


def test_the_squares_are_the_exact_values():
    p, J, base, field = lesson_07.squares(COURIER, 5)
    exact = cmdp.evaluate(COURIER, np.array([[1 - p[1], p[1]], [1 - p[3], p[3]]]))
    assert exact.J_r == pytest.approx(J[1, 3])
    assert exact.v_c[0] == pytest.approx([base[1, 3], field[1, 3]])


def test_the_table_of_small_tasks_says_what_the_page_says():
    table = json.loads((ROOT / "figures/07_statewise.json").read_text())
    assert table["with a gap"] + table["mixture in one state"] == table["problems"]
    assert table["largest gap, mixture in one state"] < oracles.ENOUGH < table["largest gap"]
    assert (
        table["carried price at the optimum"]
        > 1.5 * table["price at the state alone at the optimum"]
    )
    assert table["with a gap"] == 7 and table["of those with a gap"] == 4
    assert table["carried: over the budget"] == 7


def test_exercises_2_and_3_are_what_the_learner_does():
    rng = np.random.default_rng(0)
    prices, ended = rng.random((9, 4)), rng.random((9, 4)) < 0.2
    (carried_price,) = functions("7.2", solution("7.2"))
    given = carry(torch.tensor(prices)[..., None, None], torch.tensor(ended))
    assert given[..., 0, 0].numpy() == pytest.approx(carried_price(prices, ended))
    (target,) = functions("7.3", solution("7.3"))
    λ, G = torch.tensor([0.05, 0.05]), torch.tensor([0.0, 4.0])
    assert target(λ, G, 0.1, 0.5).tolist() == pytest.approx([0, 2])


def test_the_carried_price_is_that_of_theorem_3_and_of_the_learner_s_flights():
    """Exercise 7.5: `statewise.carried` of the multipliers μλ, and the mean of `carry` over flights
    that end with probability 1 − γ a step, so that a visit at step t weighs γ^t."""
    (mean_carried,) = functions("7.5", solution("7.5"))
    assert mean_carried(np.array([[0, 1.0], [0, 1]]), np.array([1.0, 0]), np.array([0, 1.0]), 0.5)[
        1
    ] == pytest.approx(2)  # as the page says
    γ, policy, λ = COURIER.discount, np.full((2, 2), 0.5), np.array([0.3, 1.1])
    step = cmdp.policy_matrix(COURIER, policy)
    found = mean_carried(step, COURIER.start, λ, γ)
    visits = cmdp.evaluate(COURIER, policy).occupancy.sum(1)
    assert statewise.carried(COURIER, policy, visits * λ) == pytest.approx(found)
    rng, E, T = np.random.default_rng(0), 20_000, 60
    states = np.zeros((T, E), int)
    states[0] = rng.random(E) < COURIER.start[1]
    for t in range(1, T):
        states[t] = rng.random(E) < step[states[t - 1], 1]
    alive = np.arange(T)[:, None] < rng.geometric(1 - γ, E)
    prices = torch.tensor(λ[states])[..., None, None]
    carried = carry(prices, torch.zeros(T, E, dtype=torch.bool))[..., 0, 0].numpy()
    for s in (0, 1):
        assert carried[(states == s) & alive].mean() == pytest.approx(found[s], rel=0.03)


def test_a_crowd_is_cleaner_than_independent_drones_of_its_own_would_be():
    """Answer (c) of section 6, by its band, and what it says of independent drones."""
    drawn = json.loads((ROOT / "figures/any_swarm.json").read_text())["drawn"]
    each = drawn["learned"]["16"]["all"]["agent"][0]
    own = drawn["learned"]["128"]["all"]["agent"][0]
    assert own**128 < drawn["learned"]["128"]["all"]["clean"][1]
    assert drawn["learned"]["128"]["all"]["clean"][2] < each**128
    assert drawn["straight"]["128"]["all"]["clean"][2] < 0.5 < each**128
