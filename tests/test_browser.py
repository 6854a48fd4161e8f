"""The live pictures in a real browser: exact where the lesson is exact, grabbed in every way.

Each scene of the executed notebooks is opened from its own HTML, with the network off, and driven
by mouse, keyboard and touch; what its script computes is held against the Python modules; then in
JupyterLab, in exported pages and on the site. Runs where Chromium is installed, and says so where
it is not (`pytest -m "not browser"` leaves it out). With `-s` it prints what was grabbed in each
picture and how fast that answered.
"""

import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from html import unescape
from pathlib import Path
from shutil import which

import matplotlib
import numpy as np
import pytest

from safemarl_lite import cmdp
from safemarl_lite.lagrangian import Multipliers
from safemarl_lite.lessons import lesson_01, player, scenes, tasks
from safemarl_lite.swarm.task import InfeasibleTask, SwarmTask

ROOT = Path(__file__).parent.parent
SHOTS = Path(os.environ.get("SHOTS", tempfile.mkdtemp()))  # where photographs of the tests go
CHROMIUM = next(filter(None, map(which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM, reason="no Chromium installed: no live picture was tested"),
]


def live_scenes():
    """Name of the still → the scene's document, from the executed notebooks."""
    found = {}
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        for cell in json.loads(path.read_text())["cells"]:
            for output in cell.get("outputs", ()):
                html = "".join(output.get("data", {}).get("text/html", ""))
                for name, document in re.findall(r'data-still="(\w*)" srcdoc="([^"]*)"', html):
                    found[name or f"{path.stem[:2]}_{cell['id']}"] = unescape(document)
    return found


LIVE = live_scenes()
RATES = {}  # still → frames a second while it was dragged or played


@pytest.fixture(scope="module", autouse=True)
def table_of_rates():
    """At the end, what was measured."""
    yield
    for name, (grabbed, a_second) in sorted(RATES.items()):
        kilobytes = len(LIVE[name].encode()) / 1e3
        print(f"{name:16} {grabbed:18} {a_second:3.0f} frames a second  {kilobytes:4.0f} kB")


@pytest.fixture(scope="module")
def chromium():
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def opened(chromium, tmp_path):
    """A function: document → (page, frame of the scene), offline; no error may be logged."""
    errors, contexts = [], []

    def open_it(document, width=1000, **options):
        context = chromium.new_context(viewport={"width": width, "height": 900}, **options)
        context.route(re.compile("^https?:"), lambda route: route.abort())
        context.set_offline(True)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda m: m.type == "error" and errors.append(m.text))
        host = tmp_path / "page.html"
        quoted = document.replace("&", "&amp;").replace('"', "&quot;")
        host.write_text(
            '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
            '<body data-jp-theme-light="true" style="margin:0">'
            '<div><img alt="a still"></div>'
            f'<div><iframe srcdoc="{quoted}" style="width:100%;border:0"></iframe></div></body>'
        )
        page.goto(host.as_uri())
        frame = page.frames[1]
        frame.wait_for_function("window.scene")
        return page, frame

    yield open_it
    for context in contexts:
        context.close()
    assert not errors, errors


def live(opened, scene, data):
    return opened(player.page(scene, data))


def test_the_front_is_the_linear_programme_at_every_budget(opened):
    _, frame = live(opened, "front", scenes.front())
    task = tasks.grid_world(0.5)
    for budget in (0.0305, 0.06, 0.09, 0.2, 0.33, 0.5, 0.7, 1.0, 1.5, 1.7):
        best, ours = (cmdp.solve_lp(task.with_thresholds(budget)),
                      frame.evaluate(f"scene.optimum({budget})"))  # fmt: skip
        assert ours["value"] == pytest.approx(best.value, abs=1e-6)
        assert ours["price"] == pytest.approx(best.multipliers[0], abs=1e-4 * (1 + ours["price"]))
        if ours["price"] > 0:  # else the fastest policies may spend more than the least of them
            assert ours["cost"] == pytest.approx(best.costs[0], abs=1e-6)
    for budget in (0.2, 0.5, 0.7, 1.2):
        best = cmdp.solve_lp(task.with_thresholds(budget))
        moves = frame.evaluate(f"scene.moves({budget})")
        assert np.allclose(moves, lesson_01.first_moves(best.policy), atol=1e-6)
        # which of two equal ways round the ring a drone takes is free; its time in the air is not
        a, b = np.sum(frame.evaluate(f"scene.air({budget})"), axis=1)
        assert -(1.5 * a + b) == pytest.approx(best.value, abs=1e-6)
    assert frame.evaluate("scene.optimum(0.03)") is None


def test_flights_in_the_page_cost_the_budget_on_average(opened):
    _, frame = live(opened, "front", scenes.front())
    for budget in (0.2, 0.5, 1.0):
        mean = frame.evaluate(f"scene.set({budget}); scene.fly(6000)")
        assert abs(mean - budget) < 0.06
        assert abs(mean - budget) > 0  # they are sampled


def test_the_envelope_is_the_dual_and_its_cuts_are_kelley_s(opened):
    _, frame = live(opened, "dual", scenes.front())
    task = tasks.grid_world(0.5)
    for price in np.linspace(0, 3, 13):
        dual = cmdp.dual_function(task, [price])[0]
        assert frame.evaluate(f"scene.dual({price})") == pytest.approx(dual, abs=1e-7)
    _, trace = cmdp.dual_ascent(task)
    cuts = frame.evaluate(
        f"for (let k = 0; k < {len(trace)}; k++) scene.drop(); scene.state().cuts"
    )
    assert np.allclose(cuts, trace, atol=1e-6)
    assert frame.evaluate("scene.state().star") == pytest.approx(1.414334, abs=1e-6)


def test_the_objections_are_the_task_s_own_sentences(opened):
    _, frame = live(opened, "feasible", scenes.feasible())
    rng, said = np.random.default_rng(0), []
    for _ in range(150):
        n, radius, spacing, thrust = (int(rng.integers(1, 13)), rng.uniform(0.5, 4),
                                      rng.uniform(1, 4), rng.uniform(0, 10))  # fmt: skip
        try:
            SwarmTask(n_drones=n, goal_radius=radius, start_spacing=spacing, max_thrust=thrust)
            right = None
        except InfeasibleTask as error:
            right = str(error)
        given = {"n": n, "radius": radius, "spacing": spacing, "thrust": thrust}
        assert frame.evaluate("task => scene.objection(task)", given) == right
        said.append(right and right.partition("=")[0])
    assert {None, "goal_radius", "start_spacing", "max_thrust"} <= set(said)
    assert frame.evaluate("scene.startCost(5, Math.SQRT2, 2)") == 8


def follow(rate, proportional, rounds, start=1.0):
    """The lesson's loop: exact advantages, a step along A^r − λ A^c, the rule of λ."""
    task, logits, path = tasks.delivery(), np.zeros((6, 2)), []
    λ = Multipliers([0.25], rate, start, proportional)
    for _ in range(rounds):
        policy = np.exp(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))
        exact = cmdp.evaluate(task, policy)
        price = λ.update(exact.J_c)[0]
        path.append((price, exact.J_c[0], exact.J_r))
        logits = logits + (exact.a_r - price * exact.a_c[0]) / (1 + price)
    return np.array(path)


@pytest.mark.parametrize(("rate", "proportional"), [(0.05, 0.0), (0.05, 0.5), (0.01, 0.2)])
def test_the_policy_that_trains_in_the_page_is_the_lesson_s(opened, rate, proportional):
    _, frame = live(opened, "multiplier", scenes.price())
    rule = {"rate": rate, "proportional": proportional}
    ours = frame.evaluate("rule => scene.follow(rule, 200)", rule)
    assert np.allclose(ours, follow(rate, proportional, 200), atol=1e-7)


def test_orbit_and_eigenvalues_are_the_lesson_s(opened):
    _, frame = live(opened, "phase", scenes.price())
    data = scenes.price()
    C, star = data["C"], data["star"]
    for rate, κ in ((0.01, 0.0), (0.03, 0.3)):
        rule = {"rate": rate, "proportional": κ}
        ours = frame.evaluate("rule => scene.orbit(0.6, 2.2, rule, 400)", rule)
        u, λ, path = np.log(0.6 / (C - 0.6)), Multipliers([0.25], rate, 2.2, κ), []
        for _ in range(400):
            cost = C / (1 + np.exp(-u))
            price = λ.update([cost])[0]
            u -= C * (price - star) / (1 + price)
            path.append((cost, price))
        assert np.allclose(np.transpose([ours["costs"], ours["prices"]]), path, atol=1e-8)
        p = 0.25 / C
        G, h = C * p * (1 - p), C / (1 + star)
        turn = np.linalg.eigvals([[1 - h * (rate + κ) * G, -h], [rate * G, 1]])
        modulus, spirals = frame.evaluate(f"scene.modulus({rate}, {κ})")
        assert modulus == pytest.approx(abs(turn).max(), abs=1e-9) and spirals == (turn.imag.any())
    rises = {"rate": 0.03, "proportional": 0, "rises": True}
    prices = frame.evaluate("rule => scene.orbit(0.6, 1, rule, 400).prices", rises)
    assert (np.diff(prices) >= 0).all() and prices[-1] > star


def test_a_flight_counts_the_costs_that_were_recorded(opened):
    for name in TURNED:
        data = json.loads(re.search(r'id="data">(.*?)</script>', LIVE[name])[1])["data"]
        _, frame = opened(LIVE[name])
        counted = frame.evaluate("scene.costs(0)")[1:]
        assert counted == pytest.approx(data["flights"][0]["costs"])


def test_a_flight_that_breaks_distances_shows_it(opened):
    """A negative control: two drones through each other and through an obstacle."""
    x = np.linspace(-4, 4, 41)
    positions = np.stack(
        [np.stack([x, 0 * x, 0 * x + 5], 1), np.stack([-x, 0 * x, 0 * x + 5], 1)], 1
    )
    apart = np.linalg.norm(positions[:, 0] - positions[:, 1], axis=-1)
    ball = np.array([0, 2.5, 5])
    walls = (np.linalg.norm(positions - ball, axis=-1) < 3).sum(1)
    costs = (2 * (apart < 2) + walls)[1:]
    flown = {"length": [40], "positions": positions[:, None], "success": [True],
             "obstacles": ball[None, None], "costs": 1.0 * costs[:, None, None]}  # fmt: skip
    _, frame = live(opened, "flight", scenes.flight(SwarmTask(), {"crash": flown}))
    assert frame.evaluate("scene.costs(0)")[1:] == costs.tolist() and costs.max() == 4
    weight = 0.99 ** np.arange(40)
    assert frame.evaluate("scene.paid(0)") == pytest.approx((weight * costs).sum())
    frame.evaluate("scene.at(20)")
    assert "cost <b" in frame.locator(".caption").inner_html()


def picture(page):
    """The pixels of the frame."""
    page.wait_for_timeout(120)
    return page.locator("iframe").screenshot()


GRABBED = {  # still → (what is grabbed, the state that moves)
    "01_front": ("budget τ", "τ"),
    "01_dual": ("price λ", "λ"),
    "02_feasible": ("goal radius", "radius"),
    "04_phase": ("gains of the rule", "proportional"),
    "04_multiplier": ("price λ", "λ"),
    "05_training": ("iteration", "at"),
    "06_training": ("iteration", "at"),
}
COUNT = """() => {
  window.counted = 0;
  window.began = performance.now();
  const count = () => { counted++; requestAnimationFrame(count); };
  requestAnimationFrame(count);
}"""


def rate(frame, name, grabbed):
    """Frames a second since COUNT ran; at least 20, or the drag does not feel like one."""
    a_second = 1000 * frame.evaluate("counted / (performance.now() - began)")
    RATES[name] = grabbed, a_second
    assert a_second >= 20


@pytest.mark.parametrize("name", GRABBED)
def test_it_is_grabbed_with_the_mouse_and_answers_while_dragging(opened, name):
    label, key = GRABBED[name]
    page, frame = opened(LIVE[name])
    assert page.locator("img").is_hidden()  # the still has made room
    for b in frame.locator("button[aria-pressed=true]").all():
        if "Pause" in b.inner_text():
            b.click()
    grip = frame.get_by_role("slider", name=label, exact=True)
    box = grip.bounding_box()
    x, y = box["x"] + 20, box["y"] + 20
    before, still = frame.evaluate("scene.state()"), picture(page)
    said = frame.locator(".caption").inner_text()
    page.mouse.move(x, y)
    page.mouse.down()
    frame.evaluate(COUNT)
    halfway = None
    for k in range(1, 31):
        page.mouse.move(x + 3 * k, y - 2 * k)
        page.wait_for_timeout(16)
        halfway = halfway or (k == 15 and frame.evaluate("scene.state()"))
    rate(frame, name, label)
    page.mouse.up()
    after = frame.evaluate("scene.state()")
    assert halfway[key] != before[key] and after[key] != halfway[key]
    assert frame.locator(".caption").inner_text() != said and picture(page) != still
    assert grip.get_attribute("aria-valuetext")


@pytest.mark.parametrize("name", GRABBED)
def test_it_is_moved_by_arrow_keys(opened, name):
    label, key = GRABBED[name]
    _, frame = opened(LIVE[name])
    grip = frame.get_by_role("slider", name=label, exact=True)
    now = float(grip.get_attribute("aria-valuenow"))
    grip.focus()
    moves = []
    for press in ("ArrowRight", "ArrowUp", "Shift+ArrowRight"):
        grip.press(press)
        moves.append(frame.evaluate("scene.state()")[key])
    assert now < moves[0] <= moves[1] < moves[2]
    frame.wait_for_timeout(200)
    assert float(grip.get_attribute("aria-valuenow")) == pytest.approx(moves[2], abs=1e-3)


@pytest.mark.parametrize("name", GRABBED)
def test_it_is_moved_by_a_finger(opened, name):
    label, key = GRABBED[name]
    page, frame = opened(LIVE[name], width=400, has_touch=True, is_mobile=True)
    grip = frame.get_by_role("slider", name=label, exact=True)
    grip.scroll_into_view_if_needed()
    box, before = grip.bounding_box(), frame.evaluate("scene.state()")[key]
    touch = page.context.new_cdp_session(page)
    x, y = box["x"] + 20, box["y"] + 20

    def send(kind, *points):
        points = [{"x": x + dx, "y": y - dy} for dx, dy in points]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    send("touchStart", (0, 0))
    for k in range(1, 13):
        send("touchMove", (3 * k, 3 * k))
    send("touchEnd")
    assert frame.evaluate("scene.state()")[key] != before
    assert page.evaluate("document.documentElement.scrollWidth") <= 400  # nothing is cut off


TURNED = ["00_flight", "02_flight", "05_three", "05_flight", "07_flight"]


@pytest.mark.parametrize("name", TURNED)
def test_a_flight_turns_and_plays(opened, name):
    page, frame = opened(LIVE[name])
    canvas = frame.locator("canvas").first
    box, before = canvas.bounding_box(), frame.evaluate("scene.state()")
    page.mouse.move(box["x"] + 300, box["y"] + 200)
    page.mouse.down()
    frame.evaluate(COUNT)
    for k in range(30):
        page.mouse.move(box["x"] + 300 + 4 * k, box["y"] + 200 + k)
        page.wait_for_timeout(16)
    page.mouse.up()
    rate(frame, name, "the flight itself")
    turned = frame.evaluate("scene.state()")
    assert turned["yaw"] != before["yaw"] and turned["pitch"] > before["pitch"]
    canvas.focus()
    canvas.press("ArrowLeft")
    assert frame.evaluate("scene.state()")["yaw"] != turned["yaw"]
    frame.evaluate("scene.at(0)")
    frame.get_by_role("button", name="Play").click()
    time.sleep(0.7)
    assert frame.evaluate("scene.state().at") > 2
    slider = frame.get_by_role("slider", name="time")
    slider.press("Home")
    assert frame.evaluate("scene.state().at") == 0 and not frame.evaluate("scene.state().playing")


@pytest.mark.parametrize(("name", "one"), [("03_attention", "drone"), ("06_attention", "agent")])
def test_a_silenced_agent_is_not_attended_to(opened, name, one):
    page, frame = opened(LIVE[name])
    whole = picture(page)
    before = frame.evaluate("scene.state()")
    others = [j for j in range(5) if j != before["focus"]]
    assert sum(before["weights"]) == pytest.approx(1, abs=0.01)
    frame.get_by_role("button", name=f"silence {one} {others[0] + 1}").click()
    after = frame.evaluate("scene.state()")
    assert after["silent"] == others[0] and after["weights"][others[0]] == 0
    assert sum(after["weights"]) == pytest.approx(1, abs=0.01)
    moved = frame.evaluate(f"scene.influence({round(after['at'])}, {after['focus']}, {others[0]})")
    assert abs(after["value"] - before["value"]) == pytest.approx(moved, abs=1e-6)
    assert picture(page) != whole
    frame.evaluate(COUNT)
    frame.get_by_role("button", name="Play").click()
    frame.wait_for_timeout(700)
    rate(frame, name, f"{one}s, silenced")
    assert frame.evaluate("scene.state().at") != after["at"]


@pytest.mark.parametrize("name", ["05_training", "06_training"])
def test_a_training_shows_what_was_logged_and_flown(opened, name):
    recorded = json.loads((ROOT / f"figures/{name[:2]}_watched.json").read_text())
    page, frame = opened(LIVE[name])
    for run in recorded["runs"]:
        frame.get_by_role("button", name=run["name"], exact=True).click()
        last = len(run["log"]["cost"])
        for at in (1, last // 2, last):
            frame.evaluate(f"scene.set({at})")
            state = frame.evaluate("scene.state()")
            assert (state["who"], state["at"]) == (run["name"], at)
            assert state["cost"] == run["log"]["cost"][at - 1]
            assert state["price"] == run["log"]["price"][at - 1]
            then = [f["iteration"] for f in run["flights"] if f["iteration"] <= at]
            assert not then or state["flight"] == then[-1]
    before = picture(page)
    frame.evaluate("scene.choose(0); scene.set(1)")
    frame.get_by_role("button", name="Train").click()
    frame.wait_for_timeout(900)
    assert 1 < frame.evaluate("scene.state().at") and picture(page) != before
    frame.evaluate("scene.clock(0)")
    frame.get_by_role("button", name="Fly").click()
    frame.wait_for_timeout(400)
    assert frame.evaluate("scene.state().clock") > 0


def test_a_live_training_appears_beside_the_recorded_ones(opened):
    given = json.loads(re.search(r'id="data">(.*?)</script>', LIVE["05_training"])[1])["data"]
    page, frame = live(opened, "training", given | {"live": True})
    flight = next(run["flights"][-1] for run in given["runs"] if run["flights"])

    def news(n, state):
        log = {"won": [0.5] * n, "cost": [3.0] * n, "price": [0.3] * n}
        told = {"iteration": n, "state": state, "rule": "PI", "log": log, "flight": flight}
        page.evaluate(
            "text => { let feed = document.querySelector('.safemarl-feed');"
            "if (!feed) { feed = document.createElement('div'); feed.className = 'safemarl-feed';"
            "document.body.append(feed); } feed.textContent = text; }",
            json.dumps(told),
        )
        frame.wait_for_function(f"scene.state().live === {n}")

    news(3, "running")
    state = frame.evaluate("scene.state()")
    assert state["who"] == "yours, live" and state["at"] == 3 and state["cost"] == 3
    assert "rule of λ: PI" in frame.locator(".caption").inner_text()
    news(4, "paused")  # it follows, until it is dragged away
    assert frame.evaluate("scene.state().at") == 4
    frame.evaluate("scene.set(2)")
    news(6, "running")
    assert frame.evaluate("scene.state().at") == 2
    news(0, "ready")  # reset
    assert frame.evaluate("scene.state().who") == given["runs"][-1]["name"]


def test_stills_change_with_their_slider(opened):
    for name in ("03_credit-panel", "04_board-runs", "06_attention-49"):
        page, frame = opened(LIVE[name])
        before, slider = picture(page), frame.get_by_role("slider")
        slider.press("Home")
        slider.press("ArrowRight")
        assert frame.evaluate("scene.state().at") == 1 and picture(page) != before


def test_a_dark_page_makes_a_dark_picture(opened):
    page, frame = opened(LIVE["01_front"])
    light = frame.evaluate("shade.ink")
    page.evaluate("document.body.dataset.jpThemeLight = 'false'")
    page.wait_for_timeout(100)
    assert frame.evaluate("shade.dark") and frame.evaluate("shade.ink") != light
    assert frame.evaluate("getComputedStyle(document.body).backgroundColor") == "rgba(0, 0, 0, 0)"


def test_scripts_are_small_and_need_no_network():
    for path in player.SCRIPTS.iterdir():
        assert path.stat().st_size < 60_000
        assert not re.search(r"https?:|//cdn|import\(|fetch\(|<script", path.read_text())


def test_committed_pages_hold_the_scripts_as_they_are():
    """After a change of a script: `python tests/benchmarks/photograph.py stills`."""
    for name, document in LIVE.items():
        given = json.loads(re.search(r'id="data">(.*?)</script>', document)[1])
        assert document == player.page(given["scene"], given["data"]), name


def test_every_live_picture_has_its_still():
    named = {name for name in LIVE if (player.STILLS / f"{name}.png").exists()}
    assert {*GRABBED, *TURNED, "03_attention", "06_attention"} <= named


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """JupyterLab on loopback, in a folder with one small notebook that shows one live picture."""
    home, shown = tmp_path_factory.mktemp("lab"), []
    with pytest.MonkeyPatch.context() as patch:  # what a kernel would have displayed
        patch.setattr(player, "display", lambda data, raw, metadata=None: shown.append(
            {"output_type": "display_data", "data": data, "metadata": metadata or {}}))  # fmt: skip
        player.show("front", scenes.front(), "01_front", "a front that is dragged")
    source = (
        "from safemarl_lite.lessons import player, scenes\n"
        'player.show("front", scenes.front(), "01_front", "a front that is dragged")'
    )

    def write(name, outputs, words):
        cells = [{"cell_type": "markdown", "id": "a", "metadata": {}, "source": words},
                 {"cell_type": "code", "id": "b", "metadata": {}, "source": source,
                  "execution_count": 1 if outputs else None, "outputs": outputs}]  # fmt: skip
        spec = {"name": "python3", "display_name": "Python 3", "language": "python"}
        book = {"cells": cells, "metadata": {"kernelspec": spec}, "nbformat": 4}
        (home / f"{name}.ipynb").write_text(json.dumps(book | {"nbformat_minor": 5}))

    write("fresh", [], "Not run yet.")
    write("trusted", shown, "Run here, and signed.")
    write("stranger", shown, "Run elsewhere: not signed.")
    source = COCKPIT
    write("cockpit", [], "A training to be driven.")
    (home / "notebooks").mkdir()
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        shutil.copy(path, home / "notebooks")
    for name in ("figures", "requirements.txt"):
        (home / name).symlink_to(ROOT / name)
    env = os.environ | {"JUPYTER_CONFIG_DIR": str(home / "config"), "PYTHONPATH": str(ROOT)}
    env |= {"JUPYTER_DATA_DIR": str(home / "data"), "HOME": str(home), "OMP_NUM_THREADS": "1"}
    env |= {"MPLCONFIGDIR": matplotlib.get_configdir()}  # fonts that were found once
    jupyter, token = Path(sys.executable).with_name("jupyter"), secrets.token_hex(8)
    signed = [home / "trusted.ipynb", *(home / "notebooks").glob("*.ipynb")]
    subprocess.run([jupyter, "trust", *signed], env=env, check=True, capture_output=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["--no-browser", "--ip=127.0.0.1", f"--port={port}", "--allow-root"]
    words += [f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={home}"]
    server = subprocess.Popen([jupyter, "lab", *words], env=env, stderr=subprocess.DEVNULL)

    def address(name):
        space = name.replace("/", "-")
        there = f"http://127.0.0.1:{port}/lab/workspaces/{space}/tree/{name}.ipynb"
        return f"{there}?reset&token={token}"

    yield address
    server.terminate()
    try:
        server.wait(30)
    except subprocess.TimeoutExpired:  # its kernels are slow to end
        server.kill()


def at_home(chromium, address):
    """A page of JupyterLab; the outside world cannot be reached."""
    context = chromium.new_context(viewport={"width": 1200, "height": 900})
    context.route(re.compile(r"^https?://(?!127\.0\.0\.1)"), lambda route: route.abort())
    page = context.new_page()
    for _ in range(60):
        try:
            page.goto(address)
            break
        except Exception:
            time.sleep(1)
    page.locator(".jp-Notebook").wait_for(timeout=90_000)
    return page


def run_all(page):
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_text("Run All Cells", exact=True).click()


def alive(page, name):
    """The frame of a live picture, scrolled to, once it is alive."""
    there = page.locator(f"iframe[data-still='{name}']")
    for _ in range(300):  # pages of JupyterLab render what is near the screen
        if there.count():
            break
        page.locator(".jp-WindowedPanel-outer").first.evaluate("panel => panel.scrollBy(0, 600)")
        page.wait_for_timeout(100)
    there.first.scroll_into_view_if_needed(timeout=60_000)
    frame = there.first.element_handle().content_frame()
    frame.wait_for_function("window.scene")
    return frame


def drag(page, frame, label):
    """Pull a handle by 60 px to the right → the state before and after."""
    grip, box = frame.get_by_role("slider", name=label, exact=True), None
    grip.scroll_into_view_if_needed()
    while box != (box := grip.bounding_box()):  # the page around it may still be moving
        page.wait_for_timeout(300)
    before = frame.evaluate("scene.state()")
    x, y = box["x"] + 20, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 60, y - 30, steps=6)
    page.mouse.up()
    return before, frame.evaluate("scene.state()")


COCKPIT = f"""from safemarl_lite.lessons import cockpit
from safemarl_lite.mappo import MAPPOConfig
from safemarl_lite.swarm import SwarmTask
config = MAPPOConfig(iterations=400, num_envs=2, epochs=1, minibatches=1, eval_episodes=2,
                     eval_every=400)
drive = cockpit.show(SwarmTask(horizon=20), config, "{ROOT}/figures/05_watched.json",
                     "05_training", "a training that is driven", folder="run")"""


def test_in_jupyterlab_with_a_kernel_it_is_dragged(chromium, lab):
    page = at_home(chromium, lab("fresh"))
    run_all(page)
    page.locator("iframe[data-still]").wait_for(timeout=120_000)
    frame = page.locator("iframe[data-still]").element_handle().content_frame()
    frame.wait_for_function("window.scene")
    assert page.locator(".jp-OutputArea img").first.is_hidden()
    box = frame.get_by_role("slider", name="budget τ").bounding_box()
    page.mouse.move(box["x"] + 20, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + 120, box["y"] + 20, steps=5)
    page.mouse.up()
    assert frame.evaluate("scene.state().τ") > 0.55
    page.context.close()


def test_opened_again_without_a_kernel_it_is_alive_if_trusted_and_a_still_if_not(chromium, lab):
    page = at_home(chromium, lab("trusted"))
    page.locator("iframe[data-still]").wait_for(timeout=60_000)
    frame = page.locator("iframe[data-still]").element_handle().content_frame()
    frame.wait_for_function("window.scene")
    assert page.locator(".jp-OutputArea img").first.is_hidden()
    page.context.close()
    page = at_home(chromium, lab("stranger"))
    still = page.locator(".jp-OutputArea img").first
    still.wait_for(timeout=60_000)
    assert still.is_visible() and page.locator("iframe[data-still]").count() == 0
    assert "(live" not in page.locator(".jp-OutputArea").first.inner_text()
    page.context.close()


def test_in_jupyterlab_a_training_is_driven(chromium, lab):
    page = at_home(chromium, lab("cockpit"))
    run_all(page)
    page.get_by_role("button", name="One step").wait_for(timeout=120_000)
    frame = page.locator("iframe[data-still]").element_handle().content_frame()
    frame.wait_for_function("window.scene")
    assert frame.evaluate("scene.state().live") == 0  # nothing runs before it is asked to

    def until(condition):
        frame.wait_for_function(condition, timeout=60_000)

    page.get_by_role("button", name="One step").click()
    until("scene.state().live === 1")
    page.get_by_role("button", name="fixed").click()
    page.get_by_role("spinbutton").fill("7")
    page.get_by_role("spinbutton").press("Enter")
    page.get_by_role("button", name="Start").click()
    until("scene.state().live > 3 && scene.state().price === 7")
    page.get_by_role("button", name="none").click()  # while it runs
    until("scene.state().price === 0")
    page.get_by_role("button", name="Pause").click()
    page.get_by_text("paused, iteration").wait_for(timeout=30_000)
    done = frame.evaluate("scene.state().live")
    assert f"iteration {done} of 400" in page.locator(".jp-OutputArea").last.inner_text()
    page.screenshot(path=SHOTS / "lab_cockpit.png")
    page.get_by_role("button", name="One step").click()
    until(f"scene.state().live === {done + 1}")
    page.get_by_role("button", name="Reset").click()
    until("scene.state().live === 0")
    page.context.close()


IN_LAB = {  # lesson → what is grabbed there
    "00_start_here": ("00_flight", "time"),
    "01_constrained_mdp": ("01_front", "budget τ"),
    "02_swarm_environment": ("02_feasible", "goal radius"),
    "03_centralized_critics": ("03_attention", "frame"),
    "04_cost_advantage_and_lagrangian": ("04_multiplier", "price λ"),
    "05_training_mappo_lagrangian": ("05_training", "iteration"),
    "06_attention_actor_critic": ("06_training", "iteration"),
    "07_scaling_and_guarantees": ("07_flight", "time"),
}


@pytest.mark.parametrize("lesson", IN_LAB)
def test_a_lesson_in_jupyterlab_is_grabbed_without_a_kernel(chromium, lab, lesson):
    name, label = IN_LAB[lesson]
    page, errors = at_home(chromium, lab(f"notebooks/{lesson}")), []
    page.on("pageerror", lambda error: errors.append(str(error)))
    frame = alive(page, name)
    if frame.get_by_role("button", name="Pause").count():
        frame.get_by_role("button", name="Pause").click()
    before, after = drag(page, frame, label)
    assert before != after and not errors
    page.screenshot(path=SHOTS / f"lab_{name}.png")
    page.context.close()


def test_lesson_00_runs_in_jupyterlab(chromium, lab):
    page = at_home(chromium, lab("notebooks/00_start_here"))
    run_all(page)
    page.get_by_text("price λ* [").wait_for(timeout=240_000)
    loud = page.locator("[data-mime-type='application/vnd.jupyter.stderr']").all_inner_texts()
    assert not loud
    page.locator(".jp-WindowedPanel-outer").first.evaluate("panel => panel.scrollTo(0, 0)")
    frame = alive(page, "00_flight")
    frame.evaluate("scene.at(0)")
    frame.get_by_role("button", name="Play").click()
    frame.wait_for_function("scene.state().at > 2")
    page.context.close()


def exported(path, **options):
    """A notebook as nbconvert writes it → HTML."""
    exporter = pytest.importorskip("nbconvert").HTMLExporter(**options)
    return exporter.from_filename(str(path))[0]


@pytest.mark.parametrize("lesson", IN_LAB)
def test_exported_to_html_it_is_grabbed_without_a_network(chromium, tmp_path, lesson):
    name, label = IN_LAB[lesson]
    (tmp_path / "page.html").write_text(exported(ROOT / "notebooks" / f"{lesson}.ipynb"))
    context, errors = chromium.new_context(viewport={"width": 1200, "height": 900}), []
    context.route(re.compile("^https?:"), lambda route: route.abort())
    context.set_offline(True)
    page = context.new_page()
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto((tmp_path / "page.html").as_uri(), wait_until="domcontentloaded")
    there = page.locator(f"iframe[data-still='{name}']")
    there.scroll_into_view_if_needed(timeout=60_000)
    frame = there.element_handle().content_frame()
    frame.wait_for_function("window.scene")
    if frame.get_by_role("button", name="Pause").count():
        frame.get_by_role("button", name="Pause").click()
    before, after = drag(page, frame, label)
    assert before != after
    assert not [error for error in errors if "MathJax" not in error and "require" not in error]
    page.screenshot(path=SHOTS / f"html_{name}.png")
    context.close()


def test_where_no_script_runs_a_still_stands_and_no_bare_name(chromium, tmp_path):
    """As GitHub shows notebooks: scripts and frames are taken out of the outputs."""
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    for path in sorted((ROOT / "notebooks").glob("0*.ipynb")):
        whole = exported(path, sanitize_html=True)
        (tmp_path / "page.html").write_text(re.sub(r"(?s)<script.*?</script>", "", whole))
        page.goto((tmp_path / "page.html").as_uri(), wait_until="domcontentloaded")
        assert page.locator("iframe").count() == 0
        live = [name for name in LIVE if name[:2] == path.stem[:2]]
        stills = page.locator(".jp-OutputArea-output img")
        assert stills.count() >= len(live)
        assert all(stills.nth(k).is_visible() for k in range(stills.count()))
        said = "\n".join(page.locator(".jp-OutputArea-output").all_inner_texts())
        bare = re.search(r"\(live: | at 0x|^Figure\(|Cockpit|\w+Panel\(|VBox\(", said)
        assert not bare, (path.stem, bare)
    context.close()


def test_the_site_needs_no_network(chromium, tmp_path):
    pytest.importorskip("latex2mathml")
    words = [sys.executable, ROOT / "tests/benchmarks/make_site.py", "--out", tmp_path]
    subprocess.run(words, check=True, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})
    context, asked = chromium.new_context(), []
    context.set_offline(True)
    page = context.new_page()
    page.on("request", lambda r: r.url.startswith("http") and asked.append(r.url))
    page.on("requestfailed", lambda r: asked.append(r.url))
    page.on("pageerror", lambda error: asked.append(str(error)))
    page.goto((tmp_path / "index.html").as_uri())
    page.get_by_role("link", name="01 constrained mdp").click()
    page.wait_for_load_state()
    assert page.locator("math").count() > 100 and page.locator("merror").count() == 0
    text = page.locator("main").inner_text()
    assert "$" not in text and "\\tau" not in text and "\\lambda" not in text
    page.frames[1].wait_for_function("window.scene")
    page.get_by_role("link", name=re.compile("Lesson 02")).first.click()
    assert "02_swarm" in page.url
    for path in sorted(tmp_path.glob("0*.html")):
        page.goto(path.as_uri())
        frames = [f for f in page.frames[1:] if f.wait_for_function("window.scene")]
        assert len(frames) == sum(name[:2] == path.stem[:2] for name in LIVE)
        for frame in frames:
            grip = frame.locator("[role=slider], input[type=range], canvas").first
            before = frame.evaluate("JSON.stringify(scene.state())")
            for key in ("ArrowRight", "ArrowLeft", "ArrowLeft"):
                grip.press(key)
            assert frame.evaluate("JSON.stringify(scene.state())") != before, path.stem
    assert not asked
    for path in tmp_path.glob("*.html"):
        assert not re.search(r'(?:src|href)="https?://[^"]+\.(?:js|css)', path.read_text())
    context.close()
