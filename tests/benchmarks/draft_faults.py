"""The draft's formulas and their repair on random CMDPs, and every switch against its check.

`python tests/benchmarks/draft_faults.py [count]`: the problems of `cmdp_oracles.py` (up to 20
states × 5 actions, m = 1..3, discount 0 to 0.99), all quantities exact. Every number is the worst
over all problems unless it says otherwise. Gaps "a step" are multiplied by 1 − γ. With 200 problems
it writes `figures/04_exact_update.csv`.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from cmdp_oracles import problems

from safemarl_lite import as_printed
from safemarl_lite import cmdp as C
from safemarl_lite.lagrangian import Multipliers
from safemarl_lite.lessons import lesson_04, switchboard, tasks

EXACT_UPDATE = Path(__file__).parents[2] / "figures/04_exact_update.csv"


def lemmas(cmdp, rng):
    """Errors of the identities, and slack and tightness of the bound, for random policies."""
    S, A = cmdp.reward.shape
    γ, one, two = cmdp.discount, *(rng.dirichlet(np.ones(A), S) for _ in range(2))
    mix = rng.choice([1.0, 0.1, 0.01, 0.001])  # steps of every length
    two = (1 - mix) * one + mix * two
    at, to = C.evaluate(cmdp, one), C.evaluate(cmdp, two)
    printed = cmdp.costs + γ * C.backup(cmdp, at.v_r) - at.v_r[:, None]
    d, ahead = at.occupancy.sum(1), (two * at.a_c).sum(-1)  # d sums to 1/(1 − γ); ahead (m, S)
    distance = 0.5 * np.abs(two - one).sum(1)
    penalty = 2 * γ / (1 - γ) * np.abs(ahead).max(1) * (d @ distance)
    slack = ahead @ d + penalty - (to.J_c - at.J_c)
    used = np.abs(to.J_c - at.J_c - ahead @ d) / np.maximum(penalty, 1e-300)
    return {
        "|E_π[A^c_π]|, every state": np.abs((one * at.a_c).sum(-1)).max(),
        "performance difference": np.abs(
            to.J_c - at.J_c - np.einsum("sa,msa->m", to.occupancy, at.a_c)
        ).max(),
        "printed E[c + γV(s′) − V(s)] − E[c − r]": np.abs(
            (one * (printed - cmdp.costs + cmdp.reward)).sum(-1)
        ).max(),
        "policy-step bound exceeded by": max(-slack.min(), 0),
    }, (slack.min(), used.max()) if γ > 0 else (np.nan, np.nan)  # at γ = 0 it is an identity


def stuck(cmdp):
    """Critic repaired, mean kept: does the constraint move λ or θ? And the corrected update?"""
    A = cmdp.reward.shape[1]
    policy = 0.98 * C.best_response(cmdp, cmdp.reward) + 0.02 / A
    exact, τ = C.evaluate(cmdp, policy), torch.tensor(cmdp.thresholds)
    θ = torch.tensor(np.log(policy), requires_grad=True)
    visits = torch.tensor((1 - cmdp.discount) * exact.occupancy.sum(1))
    mean = ((visits[:, None] * θ.softmax(1)) * torch.tensor(exact.a_c)).sum((1, 2))  # E[A^c], (m,)
    penalty = torch.relu(mean - τ)
    (pull,) = torch.autograd.grad(penalty.sum(), θ, retain_graph=True)
    λ = Multipliers(cmdp.thresholds, rate=0.1, initial=1.0)
    moved = np.abs(λ.update(exact.J_c) - 1.0).max()
    (right,) = torch.autograd.grad(mean.sum() / (1 - cmdp.discount), θ)  # ∇ Σ_j J_cj
    return {
        "budget broken by the policy": bool((exact.J_c > cmdp.thresholds).any()),
        "printed λ unmoved, exactly": float(penalty.detach().sum()) == 0.0,
        "printed θ unmoved, exactly": float(pull.abs().max()) == 0.0,
        "control: corrected λ moves": bool(moved > 1e-6),
        "control: corrected θ moves": bool(right.abs().max() > 1e-6),
    }


def repaired(cmdp, steps=1000, plan=((5.0, 12), (2.0, 4)), tolerance=1e-5):
    """The corrected update with exact advantages → J_r, J_c, λ, steps: a single iterate, no mean.

    θ ← max(θ + 3 (A^r − Σ λ_j A^{c_j}) / (1 + Σ λ_j) − max_a, −15), the natural policy gradient of
    a softmax table (mirror descent), one step for each step of `Multipliers` (rate 0.2) on costs
    a step, (1 − γ) J_c. Every 1,000 steps the iterate is certified without the linear programme:
    dual gap d(λ) − J_r and excess over the budgets. `plan` is (proportional part, rounds of
    `steps`): where the first does not reach `tolerance`, the second starts anew, and the best
    certificate of all decides.
    """
    scale, signals = 1 - cmdp.discount, np.concatenate([cmdp.reward[None], cmdp.costs])
    found, taken = [], 0
    for proportional, rounds in plan:
        λ = Multipliers(cmdp.thresholds * scale, 0.2, proportional=proportional)
        logits = 0 * cmdp.reward
        for k in range(1, steps * rounds + 1):
            policy = np.exp(logits)
            policy /= policy.sum(1, keepdims=True)
            V = C.state_values(cmdp, policy, signals)
            advantage = signals + cmdp.discount * C.backup(cmdp, V) - V[..., None]
            price = λ.update(V[1:] @ cmdp.start * scale)
            gain = advantage[0] - np.tensordot(price, advantage[1:], 1)
            logits = logits + 3 * gain / (1 + price.sum())
            logits = np.maximum(logits - logits.max(1, keepdims=True), -15)
            if k % steps == 0:
                taken, J = taken + steps, V @ cmdp.start
                gap = (C.dual_function(cmdp, price)[0] - J[0]) * scale
                excess = (J[1:] - cmdp.thresholds).max() * scale
                found.append((max(abs(gap), excess), J[0], J[1:], price, taken))
                if found[-1][0] <= tolerance:
                    return found[-1][1:]
    return *min(found, key=lambda row: row[0])[1:4], taken


def convergence(cmdp):
    """Gaps of the last iterate to the linear programme, and the steps that it took."""
    scale, best = 1 - cmdp.discount, C.solve_lp(cmdp)
    J_r, J_c, price, steps = repaired(cmdp)
    binding = (best.costs > cmdp.thresholds - 1e-9).sum()
    unique = (
        C.extra_actions(best.occupancy) == binding and (best.multipliers > 1e-9).sum() == binding
    )
    return {
        "value gap a step, |J_r − LP|": abs(J_r - best.value) * scale,
        "budget exceeded, a step": max((J_c - cmdp.thresholds).max(), 0) * scale,
        "dual gap a step, d(λ) − LP": (bound := C.dual_function(cmdp, price)[0] - best.value)
        * scale,
        "|λ − λ*| where λ* is unique": np.abs(price - best.multipliers).max() if unique else np.nan,
        "steps": steps,
        "larger of the two gaps, a step": max(bound, abs(J_r - best.value)) * scale,
    }


def too_high(cmdp):
    """m = 1, a λ above every optimal one that cannot fall: the exact best response wastes budget.
    Returns (wastes, value lost a step), or None where this λ is optimal."""
    best = C.solve_lp(cmdp)
    λ = best.multipliers + 1.0
    bound, exact = C.dual_function(cmdp, λ)
    if bound <= best.value + 1e-9:
        return None
    return bool(exact.J_c[0] < cmdp.thresholds[0]), (best.value - exact.J_r) * (1 - cmdp.discount)


def switches(seeds=range(5)):
    """Fault ("" for none) → per seed the names of the checks that fail, and the distance."""
    task, table = tasks.delivery(), {}
    best = C.solve_lp(task)
    for name in ("", *as_printed.NAMES):
        faults, rows = as_printed.Faults(**({name: True} if name else {})), []
        for seed in seeds:
            history = as_printed.train(task, faults, seed=seed)
            passed = switchboard.passes(history, task.thresholds)
            failed = [check for check, good in passed.items() if not good]
            rows.append((failed, lesson_04.distance(history, best)[-1]))
        table[name] = rows
    return table


def main(count=200):
    """Print every table."""
    worst, facts, gaps, bounds, waste = {}, {}, [], [], []
    for cmdp, rng in problems(count):
        errors, bound = lemmas(cmdp, rng)
        worst = {name: max(worst.get(name, 0), float(e)) for name, e in errors.items()}
        facts = {name: facts.get(name, 0) + fact for name, fact in stuck(cmdp).items()}
        gaps.append(convergence(cmdp))
        bounds.append(bound)
        waste += [too_high(cmdp)] if len(cmdp.thresholds) == 1 else []
    print(f"{count} random CMDPs; worst absolute error")
    for name, error in worst.items():
        print(f"  {name:42s} {error:.1e}")
    slack, used = np.array(bounds).T
    print(f"  smallest slack of the policy-step bound    {np.nanmin(slack):.1e}   (discount > 0)")
    print(f"  used of its penalty: median {np.nanmedian(used):.1%}, most {np.nanmax(used):.1%}")
    for name, fact in facts.items():
        print(f"  {name:42s} {fact} of {count}")
    larger = np.array([row["larger of the two gaps, a step"] for row in gaps])
    if count == 200:
        numbered = np.column_stack([np.arange(count), larger])
        np.savetxt(EXACT_UPDATE, numbered, ["%d", "%.3e"], ",", header="problem,gap", comments="")
    print("corrected update, exact, one iterate:       median      90 %       worst")
    for name in gaps[0]:
        column = np.array([row[name] for row in gaps])
        column = column[~np.isnan(column)]
        three = " ".join(f"{np.quantile(column, q):10.1e}" for q in (0.5, 0.9, 1))
        print(f"  {name:38s} {three}   ({len(column)} problems)")
    print(f"  value and dual within 1e-4 a step          {(larger <= 1e-4).sum()} of {count}")
    waste = [row for row in waste if row]
    wasting, lost = sum(w for w, _ in waste), np.array([v for _, v in waste])
    print(f"  λ = λ* + 1 that cannot fall, m = 1: wastes budget in {wasting} of {len(waste)};")
    print(f"    value lost a step: median {np.median(lost):.3f}, most {lost.max():.3f}")
    print("one switch on, five seeds:  caught by its check, distance from the LP, other checks")
    for name, rows in switches().items():
        own = sum(name in failed for failed, _ in rows) if name else 0
        others = sorted({check for failed, _ in rows for check in failed} - {name})
        far = np.median([d for _, d in rows])
        caught = f"{own} of {len(rows)}" if name else "passes all"
        print(f"  {name or 'corrected':17s} {caught:10s} {far:6.2f}   {', '.join(others) or '–'}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
