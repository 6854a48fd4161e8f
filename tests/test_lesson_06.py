"""Notebook 06: the page's cells agree with its files and with the module."""

import importlib.util
import json

import numpy as np
import pytest
import torch
from lesson_pages import ROOT, cells

LINES = json.loads((ROOT / "figures/06_results.json").read_text())


def mean(algo, name):
    return np.mean([run[name] for run in LINES[algo]])


@pytest.fixture(scope="module")
def page():
    """The names after the page's code cells have run, without the exercises."""
    import matplotlib

    matplotlib.use("Agg")
    space = {}
    for name, text in ((c["id"], c["source"]) for c in cells("06") if c["cell_type"] == "code"):
        if "lesson_06.check" in text or "NotImplementedError" in text:
            continue
        text = text.replace("%matplotlib inline", "").replace('"../figures"', f'"{ROOT}/figures"')
        exec(compile(text, name, "exec"), space)
    return space


def test_the_table_is_the_files(page):
    path = ROOT / "tests/quoted/lesson_06.py"
    spec = importlib.util.spec_from_file_location("quoted_06", path)
    quoted = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(quoted)
    rows = [line for line in quoted.SOURCE["attention-39"].splitlines() if line.startswith("| ")]
    assert rows[1:] == [quoted.row_of(algo) for algo in LINES]  # the first is the head


def test_the_result_is_a_pair(page):
    for algo in ("macaac", "mappo-lagrangian"):
        assert all(run["penalty"] <= 3 for run in LINES[algo])
    assert sum(run["penalty"] <= 3 for run in LINES["maddpg-c"]) >= 4
    assert all(run["upper95"] <= 3 for run in LINES["macaac"])
    assert all(run["penalty"] > 3 for run in LINES["maac"])  # the control, from every seed
    costs = [[run["cost"] for run in LINES[x]] for x in ("maac", "macaac", "maddpg-c")]
    assert all(a < b < c for a, b, c in zip(*costs, strict=True))  # Figure 1's order, each seed
    slow = ", one scale, long"  # the price hid what the networks could not read
    assert mean(f"maac{slow}", "cost") > mean(f"macaac{slow}", "cost") + 1
    assert mean("maac, long", "cost") > mean("macaac, long", "cost")
    assert all(run["upper95"] <= 3 and run["cost"] < 23 for run in LINES["macaac, long"])
    assert mean("mappo, λ = 0", "cost") < mean("mappo-lagrangian", "cost")  # the expected order
    assert all(pairs[0][1] < 3 for pairs in page["untrained"].values())  # proves nothing alone
    assert page["cost"] < min(mean(a, "cost") for a in LINES) and page["penalty"] > 3  # the script
    shares = page["shares"]
    assert shares["trained"] > 0.5 and max(shares["random"], shares["no-op"]) < 0.2


def test_a_script_can_keep_the_budget_at_a_price_far_below_any_learners_shortfall(page):
    careless, careful = page["pilots"]["careless"], page["pilots"]["careful"]
    assert careful[1] < 0.5 and careless[1] > 3
    assert 0 < careful[0] - careless[0] < 1.5
    best = min(mean(a, "cost") for a in LINES)
    assert best > careful[0] + 5
    unpriced = mean("mappo-lagrangian", "cost") - mean("mappo, λ = 0", "cost")
    assert 0 < unpriced < careful[0] - careless[0]
    assert page["off"]["trained"] > page["off"]["careful script"]
    assert page["shares"]["trained"] < page["shares"]["careful script"]


@pytest.mark.parametrize("algo", ["maac", "macaac"])
def test_more_scales_help_where_nothing_else_differs(algo):
    most = max(run["cost"] for run in LINES[algo])
    assert all(run["cost"] > most + 1 for run in LINES[f"{algo}, one scale"])


def test_the_raw_view_is_enough_where_it_is_read_as_lists(page):
    for run in LINES["paper view, entities"]:
        assert run["cost"] <= 40 and run["penalty"] <= 3
    best = max(run["cost"] for run in LINES["paper view, entities"])
    assert all(run["cost"] > best + 5 for run in LINES["paper view"])  # the plain network
    assert not torch.equal(page["view"], page["swapped"]) and torch.equal(*page["read"])


def test_the_switches_do_what_the_page_says(page):
    ablation = page["ablation"]
    relational, raw = ablation["relational"], ablation["paper"]

    def each(runs, name):
        return np.array([run[name] for run in runs])

    assert {len(runs) for x in (relational, raw) for runs in x.values()} == {5}
    wrong, right = (each(relational[x], "entropy") for x in ("wrong_entropy_sign", "corrected"))
    assert wrong.max() < right.min()
    dear = each(relational["corrected"], "cost").max()
    for name in ("no_episode_end", "faithful"):  # with a clock: ruin
        assert each(relational[name], "cost").min() > 4 * dear
        assert (abs(each(relational[name], "q_penalty")) > 1e5).all()
    endless = raw["no_episode_end"]  # without one: the Q of an endless episode
    ratio = each(endless, "q_penalty") / each(endless, "penalty")
    assert (ratio > 2).all() and (ratio < 5).all()
    assert np.median(each(endless, "penalty")) < 3 < np.median(each(raw["corrected"], "penalty"))
    stale = each(relational["stale_multiplier"], "lambda")
    assert (stale > each(relational["corrected"], "lambda")).all()
    assert (np.array([run["lambda"] for run in raw["faithful"]]) > 1.3).all()


def test_who_works_breaks_the_collectors_budget_and_who_drifts_does_not(page):
    collectors, costs, budget = page["collectors"], page["costs"], page["hunt"].thresholds[0]
    assert collectors["script"] > 1.5 * budget
    assert max(collectors["random"], collectors["no-op"]) < budget / 4
    assert costs["script"] < -80 and 20 < costs["no-op"] < costs["random"]


def test_the_learners_of_the_second_task_are_as_far_as_the_page_says(page):
    second, costs, (first, other) = page["second"], page["costs"], page["hunt"].thresholds
    runs = [run for each in second.values() for run in each]
    assert min(run["cost"] for run in runs) > costs["script"] + 50
    assert all(run["penalty"][0] <= first for run in second["macaac"])
    assert [run["upper95"][1] <= other for run in runs].count(True) == 1  # of MADDPG-C
    assert not any(run["upper95"][1] <= other for run in second["macaac"] + second["maac"])
    assert max(run["cost"] for run in second["macaac"]) > 3 * costs["no-op"]
    paths = page["paths"]
    assert paths[2][-1] > paths[1][-1] and paths[2][-1] > paths[2][len(paths[2]) // 2]


def test_attention_is_not_explanation(page):
    assert all(share > 0 for share in page["explained"].values())
    start, signal, untrained = page["distances"].values()
    assert signal / 2 < start and untrained < start
    assert page["correlation"] < 0.6 and page["top"] < 0.7


def test_the_own_action_does_not_enter_and_the_others_do(page):
    change = page["change"]
    assert (change.diagonal() == 0).all() and (change[~np.eye(5, dtype=bool)] > 0).all()
    policy, advantage = page["policy"], page["advantage"]
    assert abs(float((np.array([0.1, 0.2, 0.3, 0.2, 0.2]) * advantage.numpy()).sum())) < 1e-6
    assert policy.task.kind == "navigation"


def test_the_colleagues_price_moves_too_little(page):
    curves = page["curves"]
    ours, his = curves("macaac, one scale, long", "lambda")[3], curves("colleague", "lambda")[0]
    penalty = curves("colleague", "penalty")[0]
    assert (penalty[5:] > 3).all() and (np.diff(his)[5:] > 0).all()  # it sees the violation
    iterations = curves("colleague", "episodes")[0][-1] / 128
    assert his[-1] <= 1e-5 * 1.0 * iterations < 0.01 * ours[-1]  # steps × rate × violation cap
