"""Held-out evaluation of a policy, and the certificate: an upper bound on its expected cost.

Notebook: `05_training_mappo_lagrangian`. Per episode, c_t the cost of the whole swarm:
discounted cost C = Σ_t γ^t c_t (what the threshold τ is about), episode cost Σ_t c_t, violation =
any c_t > 0, success = terminated. Episodes are independent draws, run to their end.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from scipy import stats

Act = Callable[[np.ndarray], np.ndarray]  # observations (E, N, O) → actions

LEVEL = 0.99
ENOUGH = 10  # episodes with a cost, from which their mean is bounded by how they spread
HELD_OUT = (1948,)  # branch of the seeds that no training draws from


def clopper_pearson(count: int, n: int, level: float = LEVEL) -> float:
    """Exact one-sided upper bound of a probability: `count` events in `n` independent trials."""
    test = stats.binomtest(count, n, alternative="less")
    return float(test.proportion_ci(level, "exact").high)


def upper_bound(costs: np.ndarray, cap: float, level: float = LEVEL, most: float = np.inf) -> float:
    """Upper confidence bound of E[C] from independent episodes' costs C ≥ 0, (n,), n ≥ 2.

    E[C] = P(C > 0) · E[C | C > 0], and each factor is bounded at half the error: the probability
    by Clopper and Pearson (exact), the mean cost of an episode that has one by `cap`, the most that
    an episode is taken to cost, and from `ENOUGH` such episodes on by `skewed_mean_bound` too
    (asymptotic). A sample with a cost above the cap refutes it: what is left is `most`, which no
    episode can exceed. Raises `ValueError` on costs that are no numbers ≥ 0: what is not finite is
    never certified.
    """
    costs = np.asarray(costs, float)
    if costs.ndim != 1 or len(costs) < 2 or not ((costs >= 0) & (costs < np.inf)).all():
        raise ValueError(f"a bound needs two or more finite costs ≥ 0, got {_listed(costs)}")
    hit, half = costs[costs > 0], 1 - (1 - level) / 2
    if costs.max() <= cap:
        most = cap
    if len(hit) >= ENOUGH:
        most = min(most, skewed_mean_bound(hit, half))
    return float(clopper_pearson(len(hit), len(costs), half) * most)


def _listed(costs):
    """An array in one line: its shape, and its least and largest number."""
    return f"shape {costs.shape}" + (f", {costs.min()} to {costs.max()}" if costs.size else "")


def skewed_mean_bound(x: np.ndarray, level: float) -> float:
    """Upper bound of E[x] from n ≥ 2 draws (n,): Student's t, corrected for skewness by Johnson.

    Johnson 1978, eq. 2.6; asymptotic in n, assumes a finite third moment.
    """
    n, deviation = len(x), x.std(ddof=1)
    if deviation <= 1e-12 * abs(x.mean()):
        return float(x.mean())
    t = stats.t.ppf(level, n - 1)
    skew = stats.skew(x) / (6 * n**0.5)
    return float(x.mean() + deviation / n**0.5 * (t + skew * (1 + 2 * t**2)))


def bernstein_bound(costs: np.ndarray, cap: float, level: float = LEVEL) -> float:
    """Empirical Bernstein bound of E[C] from independent costs C in [0, cap], (n,), n ≥ 2.

    With the sample variance v and ℓ = ln(2 / (1 − level)), for every n (Maurer & Pontil 2009,
    Theorem 4): E[C] ≤ mean + √(2 v ℓ / n) + 7 cap ℓ / (3 (n − 1)). No asymptotics; the cap is an
    assumption unless the task proves it. Raises `ValueError` on a cost outside [0, cap].
    """
    costs = np.asarray(costs, float)
    if costs.ndim != 1 or len(costs) < 2 or not ((costs >= 0) & (costs <= cap)).all():
        given = _listed(costs)
        raise ValueError(f"the bound needs two or more costs in [0, {cap:g}], got {given}")
    n, doubt = len(costs), np.log(2 / (1 - level))
    spread = np.sqrt(2 * costs.var(ddof=1) * doubt / n)
    return float(costs.mean() + spread + 7 * cap * doubt / (3 * (n - 1)))


def rollout(
    act: Act, env, seed: int | np.random.SeedSequence | None = None, record: bool = False
) -> dict[str, np.ndarray]:
    """One episode of every environment of `env` (made with autoreset=False) under `act`.

    `act` maps observations (E, N, O) to actions. Returns a dict of arrays (E, …): `discounted`
    and `episode` cost (E, m), `reward` and `gain` (its sum and discounted sum, mean over agents),
    `success`, `length`, `contacts`; with `record`, also `positions` (T + 1, E, N, D), `costs`
    (T, E, m) and what stands in the world: `obstacles` or `landmarks` (E, M, D).
    """
    observations, _ = env.reset(seed)
    size, m = env.num_envs, len(env.task.thresholds)
    alive, weight = np.ones(size, bool), 1.0
    out = {"discounted": np.zeros((size, m)), "episode": np.zeros((size, m))}
    out |= {name: np.zeros(size) for name in ("reward", "gain", "success", "length", "contacts")}
    frames = [env.positions.copy()], []
    for _ in range(env.task.horizon):
        step = env.step(act(observations))
        costs = step.costs.sum(1) * alive[:, None]
        out["discounted"] += weight * costs
        out["episode"] += costs
        out["reward"] += alive * step.rewards.mean(1)
        out["gain"] += weight * alive * step.rewards.mean(1)
        out["contacts"] += alive * step.contacts
        out["success"] += alive & step.terminated
        out["length"] += alive
        if record:
            frames[0].append(env.positions.copy())
            frames[1].append(costs)
        alive &= ~(step.terminated | step.truncated)
        weight *= env.task.discount
        observations = step.observations
        if not alive.any():
            break
    if record:
        out |= {"positions": np.array(frames[0]), "costs": np.array(frames[1])}
        name = "obstacles" if hasattr(env, "obstacles") else "landmarks"
        out[name] = getattr(env, name).copy()
    return out


def fly(
    act: Act, task, episodes: int, seed: int, wave: int = 250, turn: tuple[int, int] = (0, 1)
) -> dict[int, dict[str, np.ndarray]]:
    """Episodes of `task` in an even number of waves of at most `wave` → number of wave: rollout.

    With `turn` = (k, n) only every n-th wave from k on: n processes share the flights, and the
    numbers stay the same.
    """
    if episodes < 2:
        raise ValueError(f"episodes must be at least 2, got {episodes}")
    wave = -(-episodes // (2 * -(-episodes // (2 * wave))))
    count = -(-episodes // wave)
    waves, seeds = {}, np.random.SeedSequence(seed, spawn_key=HELD_OUT).spawn(count)
    sizes = {k: min(wave, episodes - k * wave) for k in range(turn[0], count, turn[1])}
    for size in set(sizes.values()):  # making a world takes as long as flying in it
        with task.vector_env(size, seeds[0], autoreset=False) as env:
            waves |= {k: rollout(act, env, seeds[k]) for k in sizes if sizes[k] == size}
    return waves


def evaluate(act: Act, task, episodes: int, seed: int, wave: int = 250) -> dict[str, Any]:
    """Independent episodes of `task`, the whole team's costs → what `evaluate --json` prints."""
    return summary(fly(act, task, episodes, seed, wave), task)


def summary(waves: dict[int, dict[str, np.ndarray]], task) -> dict[str, Any]:
    """What all episodes of `fly` say together."""
    waves = [waves[k] for k in sorted(waves)]
    all_ = {name: np.concatenate([w[name] for w in waves]) for name in waves[0]}
    total, episode = all_["discounted"].sum(1), all_["episode"].sum(1)
    episodes = len(total)
    m, cap = len(task.thresholds), task.cost_cap
    most = getattr(task, "cost_most", cap)  # where the cap is proved there is no other
    bound = partial(upper_bound, cap=cap, most=most)
    late = task.discount ** (1 - task.horizon)  # Σ c_t ≤ late · Σ γ^t c_t
    constraints = [  # Bonferroni: all m bounds hold together at their level
        {
            "mean": float(c.mean()),
            "error": float(c.std(ddof=1) / episodes**0.5),
            "upper95": bound(c, level=1 - 0.05 / m),
            "upper99": bound(c, level=1 - (1 - LEVEL) / m),
            "threshold": tau,
        }
        for c, tau in zip(all_["discounted"].T, task.thresholds, strict=True)
    ]
    violations = int((episode > 0).sum())
    return {
        "episodes": episodes,
        "success_rate": float(all_["success"].mean()),
        "discounted_cost": {
            "mean": float(total.mean()),
            "upper99": bound(total),
            "upper99_bernstein": bernstein_bound(total, cap) if total.max() <= cap else None,
            "cap": cap,
        },
        "episode_cost": {
            "mean": float(episode.mean()),
            "upper99": bound(episode, cap=late * cap, most=late * most),
        },
        "violation_rate": {
            "mean": violations / episodes,
            "upper99": clopper_pearson(violations, episodes),
        },
        "cost_per_step": float(episode.sum() / all_["length"].sum()),
        "contacts": int(all_["contacts"].sum()),
        "return_mean": float(all_["reward"].mean()),
        "return_discounted": float(all_["gain"].mean()),
        "episode_length_mean": float(all_["length"].mean()),
        "threshold": task.threshold,
        "constraints": constraints,
        "certified": all(c["upper99"] <= c["threshold"] for c in constraints),
    }


def rank(
    result: dict[str, Any], constrained: bool = True, price: np.ndarray | float = 0.0
) -> tuple[float, float, float]:
    """Order of checkpoints: more flights, 95 % bounds within budget, return − Σ_j λ_j Ĵ_{c_j}.

    Out of budget by cost. `price` is today's λ (m,); without λ (not `constrained`) by return alone.
    """
    flights = result.get("episodes", 0)
    if not constrained:
        return (flights, 1.0, result["return_mean"])
    costs = np.array([c["mean"] for c in result["constraints"]])
    if all(c["upper95"] <= c["threshold"] for c in result["constraints"]):
        return (flights, 1.0, result["return_mean"] - float((price * costs).sum()))
    return (flights, 0.0, -max(c["mean"] - c["threshold"] for c in result["constraints"]))
