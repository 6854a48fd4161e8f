"""Notebook 04: solutions are the library's, the switches and their checks, what it claims."""

import re
import sys
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from lesson_pages import ROOT, solution, source

from safemarl_lite import as_printed, cmdp, lagrangian
from safemarl_lite.as_printed import NAMES, Faults, train
from safemarl_lite.lessons import lesson_04, switchboard, tasks

sys.path.insert(0, str(ROOT / "tests/benchmarks"))
import draft_faults

SOURCE = source("04")
TASK = tasks.delivery()
BEST = cmdp.solve_lp(TASK)
λ_STAR = BEST.multipliers[0]
LATE = slice(100, None)


@cache
def trained(name="", seed=0, iterations=200, proportional=1.0):
    faults = Faults(**({name: True} if name else {}))
    return train(TASK, faults, iterations, seed, proportional=proportional)


def cell(*names, keep=None):
    """What the code cells `names` of the page define, drawing left out."""
    space = {"np": np, "torch": torch, "cmdp": cmdp, "task": TASK, "best": BEST, "replace": replace}
    space |= {"Multipliers": lagrangian.Multipliers, "gae": lagrangian.gae, "train": train}
    space |= {"Faults": Faults, "corrected": trained(), "lesson_04": lesson_04, "tasks": tasks}
    exec("from scipy.special import softmax", space)
    for name in names:
        lines = SOURCE[name].split("\n")
        code = "\n".join(line for line in lines if not line.startswith("lesson_04.draw"))
        exec(code, space)
    return space


def test_solutions_are_the_library_s():
    space, rng = {"np": np, "torch": torch}, np.random.default_rng(0)
    exec(solution("4.2") + solution("4.3") + solution("4.4"), space)
    c, v, after = rng.random(9), rng.random((9, 2)), rng.random((9, 2))
    landed, ended = rng.random(9) < 0.2, rng.random(9) < 0.4
    tensors = map(torch.as_tensor, (c, v[:, 1], after[:, 1], landed, ended | landed))
    theirs = lagrangian.gae(*tensors, 0.9, 0.8).numpy()  # the page's "expected result" call
    mine = space["cost_advantage"](c, v, after, landed, ended | landed, 0.9, 0.8)
    assert np.allclose(mine, theirs)
    λ, cost = lagrangian.Multipliers([1.0, 2.0], 0.1, 0.7, 0.5), np.array([1.4, 0.3])
    integral, price = space["multiplier_rule"](λ.integral, cost, λ.thresholds, 0.1, 0.5)
    assert np.allclose(λ.update(cost), price) and np.allclose(λ.integral, integral)
    A, C, price = torch.randn(9), torch.randn(9, 2), torch.rand(2)
    assert torch.allclose(space["combine"](A, C, price), lagrangian.combined_advantage(A, C, price))
    assert torch.allclose(space["loss"](A, C[:, 0], 0.2), lagrangian.clipped_loss(A, C[:, 0]))


def test_the_log_check_catches_the_colleague_and_none_of_the_sound_runs():
    space = {"np": np}
    exec(solution("4.5"), space)
    stuck = {
        name: space["fault_shows"](
            trained(name)["lambda"][:, 0], trained(name)["estimate"][:, 0], 0.25
        )
        for name in ("", *NAMES)
    }
    assert stuck["only_rises"] and not stuck[""] and not stuck["hinge"]


def test_the_colleague_s_run_is_the_one_that_its_command_makes():
    table = np.loadtxt(lesson_04.COLLEAGUE, delimiter=",", skiprows=1)
    run = train(TASK, Faults(only_rises=True), 40, seed=5)
    mine = np.column_stack([run["lambda"][:, 0], run["estimate"][:, 0], run["J_r"]])
    assert np.allclose(mine, table[:40], atol=1e-4)


def test_every_switch_is_caught_by_its_check_and_the_corrected_update_passes_all():
    for name in ("", *NAMES):
        passed = switchboard.passes(history := trained(name, seed=11), TASK.thresholds)
        assert tuple(passed) == NAMES
        if name:
            assert not passed[name], name
        else:
            assert all(passed.values()), passed
            assert lesson_04.distance(history, BEST)[-50:].mean() < 0.3
            assert abs(history["lambda"][-100:].mean() - λ_STAR) < 0.3


def test_a_budget_that_is_never_broken_has_no_price_and_no_check_fires():
    for loose in (TASK.with_thresholds(2.0), replace(TASK, costs=0 * TASK.costs)):
        history = train(loose, iterations=100)
        assert all(switchboard.passes(history, loose.thresholds).values())
        assert history["lambda"][-1] == 0


def test_the_printed_constraint_is_none_at_every_budget():
    printed = {"advantage_mean": True, "constant_penalty": True, "only_rises": True}
    free = train(TASK, Faults(constant_penalty=True), 60)["J_r"]
    for budget in (0.05, 0.25, 1.0):
        task = TASK.with_thresholds(budget)
        for wrong in (True, False):
            run = train(task, Faults(wrong_critic=wrong, **printed), 60)
            assert np.array_equal(run["J_r"], free)
            assert (run["lambda"][-1, 0] < 1.06) != wrong  # own critic: λ hardly moves
        assert not np.allclose(train(task, iterations=60)["J_r"], free, atol=0.1)  # control


def test_without_cost_the_printed_price_rises_and_the_corrected_one_falls():
    harmless = replace(TASK, costs=0 * TASK.costs)
    rule = Faults(wrong_critic=True, advantage_mean=True, only_rises=True)
    assert train(harmless, rule, 60)["lambda"][-1, 0] > 4
    assert train(harmless, iterations=60)["lambda"][-1, 0] == 0


def test_one_switch_is_one_change():
    """With the proportional part kept, λ that only rises ends near λ* and wastes the budget; Adam's
    integral stands still and the cost stays far above it, with λ near λ*."""
    for seed in range(3):
        rises, adam = trained("only_rises", seed), trained("adam_multiplier", seed)
        assert 1.03 < rises["lambda"][-1, 0] / λ_STAR < 1.08  # 3, 5 and 7 % too high
        assert rises["J_c"][LATE].mean() < 0.05 and rises["J_c"][-1] < 0.1 * 0.25
        assert abs(adam["lambda"][LATE].mean() / λ_STAR - 1) < 0.1
        assert 3.5 < adam["J_c"][LATE].mean() / 0.25 < 4.1
        right = trained("", seed)  # control
        assert abs(right["J_c"][LATE].mean() - 0.25) < 0.03
        assert abs(right["lambda"][LATE].mean() - λ_STAR) < 0.06


def test_the_hinge_as_the_page_describes_it():
    for seed in range(3):
        hinge = trained("hinge", seed)
        assert 0.6 < (hinge["estimate"][LATE] > 0.25).mean() < 0.72  # "two thirds of the time"
        assert 1.2 < hinge["J_c"][LATE].mean() / 0.25 < 1.4
        assert hinge["lambda"][150:].mean() > 1.6 * λ_STAR
    longer = trained("hinge", 3, 400)["lambda"]
    assert longer[200:].mean() > 1.8 * λ_STAR > trained("", 3, 400)["lambda"][200:].mean()


def test_estimates_measure_what_the_page_says():
    run = trained()
    assert abs((run["estimate"] - run["J_c"])[LATE].mean()) < 0.05
    assert abs(run["td_mean"][LATE].mean()) < 0.05 < run["J_c"][LATE].mean()


def test_all_nine_together_fire_all_nine_checks():
    assert not any(switchboard.passes(train(TASK, Faults(*[True] * 9)), TASK.thresholds).values())


def test_the_corrected_update_keeps_two_budgets_of_another_task():
    detour = np.zeros((6, 2))
    detour[2:5] = 0.1  # the detour has a small cost of another kind
    costs = np.stack([TASK.costs[0], detour])
    two = cmdp.TabularCMDP(TASK.transition, TASK.reward, costs, [0.4, 0.4], TASK.start, 0.95)
    history = train(two, seed=1)
    assert all(switchboard.passes(history, two.thresholds).values())
    assert (history["J_c"][-100:].mean(0) < two.thresholds + 0.05).all()


def test_the_draft_s_formulas_on_twenty_random_problems():
    for problem, rng in draft_faults.problems(20):
        errors, (slack, used) = draft_faults.lemmas(problem, rng)
        assert errors["|E_π[A^c_π]|, every state"] < 1e-12
        assert errors["printed E[c + γV(s′) − V(s)] − E[c − r]"] < 1e-12
        assert errors["performance difference"] < 1e-10
        assert not slack < -1e-12 and not used > 1
        assert all(draft_faults.stuck(problem).values())
        assert len(problem.thresholds) > 1 or draft_faults.too_high(problem)[0]


def test_the_repaired_update_reaches_the_optimum():
    for number, (problem, _) in enumerate(draft_faults.problems(6)):
        gaps = draft_faults.convergence(problem)
        assert gaps["value gap a step, |J_r − LP|"] < 1e-3
        assert gaps["budget exceeded, a step"] < 1e-3
        assert gaps["dual gap a step, d(λ) − LP"] < 1e-3
        assert not gaps["|λ − λ*| where λ* is unique"] > 1e-2  # NaN where it is not
        shipped = np.loadtxt(draft_faults.EXACT_UPDATE, delimiter=",", skiprows=1)[number, 1]
        assert (gaps["larger of the two gaps, a step"] <= 1e-4) == (shipped <= 1e-4)


def test_over_the_end_every_policy_is_worth_the_same():
    loop = TASK.transition.copy()
    loop[:, :, 0] += loop[:, :, 5]
    loop[:, :, 5] = 0
    for policy in (BEST.policy, np.full((6, 2), 0.5)):
        assert abs(cmdp.evaluate(replace(TASK, transition=loop), policy).J_r + 20) < 1e-9


def test_the_bound_of_one_step_is_tight_on_the_chain_only():
    page = cell("step-check")
    assert np.allclose(page["tight"], 1 / (1 + 9 * page["steps"])) and page["tight"][0] > 0.99
    assert max(page["random"]) < 0.01


def test_a_large_orbit_meets_zero_and_ends_on_the_one_that_touches_it():
    """Theorem 6 in continuous time, κ = 0 (projected at I = 0), and its control, a small orbit."""
    C, τ, star, α, η = 1.173, 0.25, BEST.multipliers[0], 0.1, 1.0
    middle = np.log(τ / (C - τ))

    def H(u, price):
        loop = α * (C * np.log1p(np.exp(u)) - τ * u)
        return loop + η * C * (price - (1 + star) * np.log1p(price))

    def flown(price, seconds, dt=2e-3):
        u, path = middle, []
        for _ in range(int(seconds / dt)):
            u -= dt * η * C * (price - star) / (1 + price)
            price = max(0.0, price + dt * α * (C / (1 + np.exp(-u)) - τ))
            path.append((u, price))
        return np.array(path)

    small = flown(2.5, 150)
    assert np.ptp(H(*small.T)) < 1e-3 and small[:, 1].min() > 0
    large = flown(6.0, 400)
    assert large[:, 1].min() == 0 and H(middle, 6.0) > H(middle, 0.0) + 0.1
    assert H(*large[-1]) == pytest.approx(H(middle, 0.0), abs=5e-3)


def test_one_criterion_for_all_schedules():
    page = cell("borkar-code")
    worst = {name: abs(path[-1000:] - page["limit"]).max(0) for name, path in page["paths"].items()}
    apart, equal, swapped, slow = worst.values()
    assert apart.max() < 0.03 and swapped.min() > 0.3 and slow.min() > 0.15
    assert apart.max() < equal.min() and equal.max() < 0.12  # b_k/a_k → 0 is violated, and yet


def test_orbit_and_spiral():
    page = cell("exact-code", "eigenvalues")
    α, C, h, G = (page[name] for name in ("α", "C", "h", "G"))
    for κ in (0.0, 0.01, 0.2):
        modulus = abs(np.linalg.eigvals([[1 - h * (α + κ) * G, -h], [α * G, 1]]))
        assert np.allclose(modulus, np.sqrt(1 - h * κ * G))
    once = np.eye(2) + [[0, -h], [α * G, 0]]
    assert np.allclose(abs(np.linalg.eigvals(once)), np.sqrt(1 + h * α * G))
    plain, damped = page["plain"], page["damped"]
    assert np.ptp(plain[-1000:, 0]) > 1.5 and np.allclose(
        damped[-1], [λ_STAR, 0.25, BEST.value], atol=1e-4
    )
    energies = []
    for path, κ in ((plain, 0.0), (damped, 0.2)):
        J_c, integral = path[500:, 1], path[500:, 0] - κ * (path[500:, 1] - 0.25)
        J_c = np.clip(J_c, 1e-12, C - 1e-12)
        u = np.log(J_c / (C - J_c))
        H = α * (C * np.log1p(np.exp(u)) - 0.25 * u)
        energies.append(H + C * (integral - (1 + λ_STAR) * np.log1p(integral)))
    assert energies[1][-1] < energies[1][0]
    alone, right = trained(proportional=0.0), trained()  # and from samples
    assert np.ptp(alone["lambda"][LATE]) > 4 * np.ptp(right["lambda"][LATE])


def test_equal_gains_are_the_optimistic_gradient():
    λ, e = lagrangian.Multipliers([0.25], 0.05, 1.0, 0.05), [0.3, 0.1, -0.2, 0.05]
    values = [λ.update(0.25 + x)[0] for x in e]
    assert np.allclose(
        np.diff(values), [0.05 * (2 * b - a) for a, b in zip(e, e[1:], strict=False)]
    )


def test_averages_keep_their_bounds(capsys):
    oracle = cell("exact-code", "eigenvalues", "average-check")["oracle"]
    costs = [oracle(λ, N).J_c[0] for λ in np.linspace(0, 4, 41) for N in (3, 10)]
    assert max(abs(cost - 0.25) for cost in costs) < 1  # the page's e_max
    rows = re.findall(
        r"(-?\d\.\d+)\s+\((\d\.\d+)\)\s+(-?\d\.\d+)\s+\((\d\.\d+)\)", capsys.readouterr().out
    )
    assert len(rows) == 2 and all(
        float(a) <= float(b) and float(c) <= float(d) for a, b, c, d in rows
    )


def test_the_gap_of_a_coarse_class():
    """p in eighths: v − (1 + λ*_ν)ν ≤ P_θ ≤ D_θ ≤ v."""
    ends = [
        cmdp.evaluate(TASK, cmdp.best_response(TASK, TASK.reward - k * TASK.costs[0]))
        for k in (0, 9)
    ]
    J_r, J_c = (np.array([e.J_r for e in ends]), np.array([e.J_c[0] for e in ends]))
    p = np.arange(9) / 8
    values, costs = p * J_r[0] + (1 - p) * J_r[1], p * J_c[0] + (1 - p) * J_c[1]
    ν = np.ptp(J_r) / 16
    tighter = cmdp.solve_lp(TASK.with_thresholds(0.25 - ν)).multipliers[0]
    best, prices = values[costs <= 0.25].max(), np.linspace(0, 9, 901)
    dual = min((values - λ * (costs - 0.25)).max() for λ in prices)
    assert BEST.value - (1 + tighter) * ν <= best <= dual + 1e-9 <= BEST.value + 0.01


def test_a_wrong_critic_bends_the_price_and_the_budget_only_if_trusted():
    follow = cell("exact-code")["follow"]
    C = 0.95 / 0.81
    for by_critic, cost in ((False, 0.25), (True, 0.25 * C / (C - 0.3))):
        price, J_c, J_r = follow(0.5, 3000, -0.3, by_critic)[-1]
        assert abs(J_c - cost) < 1e-3 and abs(price - λ_STAR * C / (C - 0.3)) < 1e-3
        assert by_critic or J_r > BEST.value - 2 * price * 0.3 / 0.05


def test_an_unreachable_goal_is_no_unmet_budget():
    stuck = TASK.transition.copy()
    stuck[:, :, 1] += (
        stuck[:, :, 5] * (np.arange(6) == 1)[:, None]
    )  # nobody lands: fly on, go nowhere
    stuck[:, :, 4] += stuck[:, :, 5] * (np.arange(6) == 4)[:, None]
    stuck[1:5, :, 5] = 0
    reward = TASK.reward.copy()
    reward[5] = -1
    best = cmdp.solve_lp(replace(TASK, transition=stuck, reward=reward))
    assert abs(best.costs[0]) < 1e-9 and abs(best.multipliers[0]) < 1e-9


def test_verdicts_in_words():
    said = {name: switchboard.verdict(trained(name), BEST, 0.25) for name in ("", *NAMES)}
    assert said[""] == "cost at the budget, λ near λ*"
    assert all(text != said[""] for name, text in said.items() if name), said


assert as_printed.NAMES == NAMES and len(switchboard.WORDS) == len(NAMES)
