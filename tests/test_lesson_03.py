"""Notebook 03: solutions are the library's, and what its text asserts in passing."""

from itertools import product

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from lesson_pages import ROOT, cells, functions, solution, source

from safemarl_lite import critics, lagrangian
from safemarl_lite.lessons import lesson_03, player, regression

SOURCE = source("03")


def written(number):
    """The function that the solution of an exercise defines."""
    return functions(number, solution(number))[0]


def test_solutions_are_the_library_s():
    rng = np.random.default_rng(0)
    G, V = rng.normal(size=(2, 50))
    theirs = regression.explained_variance(torch.tensor(G)[:, None], torch.tensor(V)[:, None])
    assert np.isclose(written("3.1")(G, V), theirs.item())
    state = rng.integers(4, size=50)
    assert np.isclose(sum(written("3.2")(G, state)), G.var())
    r, c, ahead, end = G, V, rng.normal(size=(50, 2)), rng.random(50) < 0.3
    targets = written("3.3")(r, c, ahead, end, 0.9)
    signals, none = torch.tensor(np.stack([r, c], -1))[:, None], torch.zeros(1, 1, 2)
    for k in range(50):  # one step of GAE with critic 0 in s is the target
        step = signals[k : k + 1], none, torch.tensor(ahead[k])[None, None]
        over = torch.tensor(end[k]).reshape(1, 1)
        assert np.allclose(lagrangian.gae(*step, over, over, 0.9, 1.0)[0, 0], targets[k])


def test_the_state_s_velocities_are_the_view_s():
    """What the check of the silent bug relies on, and that it is not true of shifted rows."""
    space = {"torch": torch, "np": np}
    exec(SOURCE["bug-agree"].split("print(")[0], space)
    velocity = torch.randn(8, 5, 3)
    view, state = torch.zeros(8, 5, 17), torch.zeros(8, 42)
    view[..., :3], state[:, 15:30] = velocity / 3, velocity.reshape(8, 15)
    assert space["agree"](view, state) and not space["agree"](view, state.roll(1, 0))


@pytest.fixture(scope="module")
def page():
    """What the page's cells define, without its pictures and its exercises."""
    patch, space = pytest.MonkeyPatch(), {}
    patch.chdir(ROOT / "notebooks")
    patch.setattr(lesson_03, "figure", lambda fig, alt: plt.close(fig))
    for live in ("show", "stills"):
        patch.setattr(player, live, lambda *given, **named: None)
    matplotlib.use("agg")
    for cell in cells("03"):
        if cell["cell_type"] == "code" and not cell["id"].startswith("ex-"):
            exec(cell["source"].replace("%matplotlib inline", ""), space)
    patch.undo()
    return space


def interval(page, critic, measure, signal):
    """The ratio to the local critic's, with its 95 % interval over flights: low, value, high."""
    ratio = page["ratio"][critic][measure, signal]
    low, high = np.percentile(ratio[1:], (2.5, 97.5))
    return low, ratio[0], high


def test_the_text_follows_the_intervals(page):
    """Cell bars-read, line by line: 0 progress, 1 bonus, 2 own cost, 3 team cost."""
    for measure in (0, 1):  # the advantage's mean square, the gradient's noise
        assert interval(page, "centralized", measure, 1)[2] < 0.7
        assert interval(page, "attention", measure, 1)[2] < 0.2
        low, _, high = interval(page, "attention", measure, 3)
        assert 0.74 < low < high < 0.93
        assert interval(page, "local, wide view", measure, 2)[2] < 0.9
        assert interval(page, "local, wide view", measure, 1)[2] < 0.3
        for critic in ("centralized", "attention", "shuffled state", "local, wide view"):
            assert interval(page, critic, measure, 0)[0] > 1
        for signal in range(4):  # controls
            assert interval(page, "shuffled state", measure, signal)[0] > 0.97
            assert interval(page, "constant", measure, signal)[0] > 1.1
    for signal in (2, 3):  # not settled: own cost and team cost of the centralized critic
        low, _, high = interval(page, "centralized", 0, signal)
        assert low < 1 < high
        assert 0.9 < interval(page, "centralized", 1, signal)[2] < 1.05
    low, _, high = interval(page, "attention", 1, 2)
    assert low < 1 < high


def test_waiting_drones_and_the_flights(page):
    waits, explained = page["waits"], {}
    for name in ("local", "centralized", "attention"):
        pair = page["G_test"][waits][:, 1:2], page["values"][name][waits][:, 1:2]
        explained[name] = regression.explained_variance(*pair).item()
    assert explained["attention"] > 0.5 > explained["centralized"] > explained["local"]
    assert (page["test"]["arrived"] & page["test"]["flying"]).any(0).mean() > 0.9


def test_one_critic_learns_the_mean_of_two_targets(page):
    one, two = (curve[-1] for curve in page["learned"].values())
    assert np.allclose(one, -4, atol=0.01) and np.allclose(two, (-10, 2), atol=0.01)


def test_labels_matter_to_slots_and_not_to_attention(page):
    moved = {k: (a - b).abs().mean() for k, (a, b) in page["pairs"].items()}
    assert moved["centralized"] > 0.01 and moved["attention"] < 1e-4


def test_the_colleague_s_curve_again(page):
    torch.manual_seed(0)
    theirs = [page["careless"](page[name]) for name in ("train", "test")]
    _, again = page["fit"](critics.Critic(17, page["S"], 4), *theirs)
    assert abs(again - page["theirs"])[5:].max() < 0.03
    assert abs(page["curves"]["centralized"] - page["theirs"])[5:].max() > 0.03  # control


def test_the_noise_of_team_sums(page):
    g = page["g"]
    noise, signal = g.std(0), g.mean(0)
    snr = signal / noise
    assert snr[0] * 250**0.5 > 5 and snr[9] < 0.6 * snr[0] and noise[9] > 1.5 * noise[0]
    assert (abs(signal - signal[0]) < 3 * noise / 250**0.5).all()
    assert 5 < (snr[0] / snr[9]) ** 2 < 7.5  # "about six times the flights"


def test_the_race(page):
    own, team, same = page["ends"].values()
    own_rate, team_rate, same_rate = (np.median(x[0], 1) for x in (own, team, same))
    assert ((own_rate > 0.9) & (team_rate < 0.1)).any()
    assert not ((own_rate < 0.1) & (team_rate > 0.9)).any()
    assert (np.median(own[1], 1) > 0.9).all() and np.median(team[1], 1)[0] > 0.9
    assert np.median(team[1], 1)[8] < 0.1 and np.allclose(same_rate, own_rate, atol=0.1)
    alone = [page["toy"](1, team_sum, 0.1, seeds=3)[0] for team_sum in (False, True)]
    assert np.array_equal(*alone)  # control: one drone


def two_drones():
    """The cells of the two-drone example, without its figure."""
    space = {"np": np, "product": product}
    for cell in ("two-run", "two-check", "two-solve"):
        exec(SOURCE[cell].split("\nlesson_03.")[0], space)
    return space


def test_the_team_s_gradient_is_the_sum_over_drones_and_own_shares_are_not(capsys):
    space = two_drones()
    team, gradient, chance = space["team"], space["gradient"], space["chance"]
    for θ in np.random.default_rng(0).uniform(0.1, 0.9, (5, 2, 2)):
        slope = np.array([(chance(θ + h) - chance(θ - h)) @ team[:, 0] / 2e-6
                          for h in 1e-6 * np.eye(4).reshape(4, 2, 2)]).reshape(2, 2)  # fmt: skip
        assert np.allclose(gradient(θ, team), slope, atol=1e-6)
        assert np.allclose(gradient(θ, team - 3.7), slope, atol=1e-6)  # any baseline
        own = gradient(θ, space["cost"])
        assert np.allclose(own, slope * (0.5, 1), atol=1e-6)  # half of the pair's part
        twice = space["cost"] + space["coins"][..., 0].prod(1)[:, None]  # a pair charged twice
        assert np.allclose(gradient(θ, twice), slope, atol=1e-6)


def test_own_shares_come_to_rest_elsewhere_and_their_price_is_no_slope(capsys):
    points = two_drones()["points"]
    (_, _, λ, J_r), (_, _, λ_own, J_own) = points["team cost"], points["own shares"]
    assert np.allclose((λ, J_r, λ_own, J_own), (1.291, 1.549, 2.041, 1.470), atol=5e-4)
    grid = np.linspace(0, 0.3**0.5, 2001)  # no shared policy within the budget earns more
    assert (2 * grid + 2 * np.sqrt(0.3 - grid**2)).max() <= J_r + 1e-9
    assert abs((2 * 0.601**0.5 - 2 * 0.599**0.5) / 0.002 - λ) < 1e-3
    own_slope = 3 * ((0.601 / 2.5) ** 0.5 - (0.599 / 2.5) ** 0.5) / 0.002
    assert abs(own_slope - 1.225) < 1e-3 and abs(own_slope - λ_own) > 0.5


def test_the_team_gradient_of_the_exercise_is_unbiased_for_the_two_drones():
    space = two_drones()
    θ, draws = np.array([[0.4, 0.3], [0.4, 0.3]]), np.random.default_rng(0)
    rows = draws.choice(64, 200_000, p=space["chance"](θ))
    p = θ[:, [0, 1, 1]]
    score = (space["coins"][rows] - p) / (p * (1 - p))
    score = np.stack([score[..., 0], score[..., 1:].sum(-1)], -1)
    found = written("3.5")(score, space["cost"][rows])
    assert np.allclose(found, space["gradient"](θ, space["team"]).sum(0), atol=0.03)


def test_the_last_drone():
    """Exact mean and variance of the three estimators, against the histogram's code."""
    space = {"np": np}
    exec(SOURCE["cold-open-figure"] + "\n" + SOURCE["cold-open-critics"], space)
    for value_of, variance in zip(space["critics_by_hand"].values(), (6.5, 2.5, 0.25), strict=True):
        drawn = space["estimates"](value_of)
        assert abs(drawn.mean() - 0.5) < 4 * (variance / 40_000) ** 0.5
        assert np.isclose(drawn.var(), variance / 20, rtol=0.15)
