"""Every exercise of every page: its solution passes in any form, each slip gets its own line, other
wrong answers fail, and what is hard-coded fails."""

import ast
import inspect
import re
from importlib import import_module

import numpy as np
import pytest
import torch
from exercise_slips import SLIPS
from lesson_pages import EXERCISES, PAGES, ROOT, cells, check, functions, solution

from safemarl_lite.lessons import exercise
from safemarl_lite.lessons.exercise import Result

SALTS = range(5)
VERDICTS = {"2.3", "4.5"}  # their answers are True or False: no list, no tensor


@pytest.fixture(autouse=True)
def salted(monkeypatch):
    """The same inputs in every run of the tests."""
    monkeypatch.setenv("SAFEMARL_SALT", "1")


def test_every_lesson_has_three_to_five_exercises_with_all_their_parts():
    for lesson in PAGES:
        own = [e for e in EXERCISES.values() if e.number[0] == lesson[1]]
        assert 3 <= len(own) <= 5, lesson
        numbers = [e.number for e in own]
        assert sorted(numbers) == [f"{lesson[1]}.{k + 1}" for k in range(len(own))]
        text = "\n".join(cell["source"] for cell in cells(lesson))
        derived = [e.number for e in own if e.minutes == 30]  # half of it on paper, proof folded
        assert len(derived) == 1, lesson
        assert min(e.minutes for e in own) <= 10
        for number in derived:
            assert re.search(rf"### Exercise {number} .*30 minutes, half of them? on paper", text)
            solved = text.partition(f"### Exercise {number}")[2].partition("Solution</summary>")[2]
            assert "∎" in solved.partition("</details>")[0]
        assert re.search("silent bug", text)
        for e in own:
            after = "\n".join(cell["source"] for cell in cells(lesson)[e.at :])
            parts = ("Hint", "Expected result", "Common slip", "Solution")
            at = [after.index(f"<details><summary>{part}") for part in parts]
            assert at == sorted(at) and after[at[3] :].index(f"def {e.names[0]}") < 400
            for node in ast.parse(e.stub).body:
                if isinstance(node, ast.FunctionDef):
                    assert node.returns and ast.get_docstring(node), e.number
            statement = "\n".join(cell["source"] for cell in cells(lesson)[: e.at])
            statement = statement.rpartition(f"### Exercise {e.number}")[2].split("\n", 1)[1]
            assert len(statement.split("\ndef ")[0].split()) >= 10, e.number
            assert 5 <= e.minutes <= 30


@pytest.mark.parametrize("number", EXERCISES)
@pytest.mark.parametrize("salt", SALTS)
def test_solution_passes_whatever_is_drawn(number, salt, monkeypatch):
    monkeypatch.setenv("SAFEMARL_SALT", str(salt))
    found = check(number, solution(number)).required()
    assert found and repr(found) == f"Exercise {number}: correct."


@pytest.mark.parametrize("number", EXERCISES)
def test_stub_gets_the_friendly_line_and_has_the_solution_s_arguments(number):
    stub = EXERCISES[number].stub
    found = check(number, stub)
    assert not found and repr(found).startswith(f"Exercise {number}: not written yet.")
    for one, other in zip(
        functions(number, stub), functions(number, solution(number)), strict=True
    ):
        assert list(inspect.signature(one).parameters) == list(inspect.signature(other).parameters)
    for message in re.findall(r"NotImplementedError\((.*)\)", stub):
        assert not re.search(r"[=/*+]|max|sum", message)  # it does not print the formula


@pytest.mark.parametrize(
    ("number", "right", "wrong", "line"),
    [(number, *slip) for number, slips in SLIPS.items() for slip in slips],
)
def test_slips_are_named(number, right, wrong, line):
    code = solution(number)
    for old, new in zip(*((x,) if isinstance(x, str) else x for x in (right, wrong)), strict=True):
        assert old in code, old
        code = code.replace(old, new)
    found = check(number, code)
    assert not found and line in found.line and "\n" not in found.line, found


def messages(number):
    """The lines that a check may say: texts in its tables of slips, and what it raises."""
    room, name = EXERCISES[number].check.split(".")
    code = inspect.getsource(getattr(import_module(f"safemarl_lite.lessons.{room}"), name))
    for node in ast.walk(ast.parse(code)):
        texts = []
        if isinstance(node, ast.Dict):
            texts = [*node.keys, *node.values]
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Slip":
            texts = node.args
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Subscript):
            texts = [node.targets[0].slice]
        elif isinstance(node, ast.Tuple):
            texts = node.elts
        for text in texts:
            parts = text.values if isinstance(text, ast.JoinedStr) else [text]
            parts = [x.value for x in parts if isinstance(x, ast.Constant)]
            if parts and isinstance(parts[0], str) and " " in "".join(parts):
                yield "…".join(parts)


@pytest.mark.parametrize("number", EXERCISES)
def test_no_line_of_a_check_is_without_an_answer_that_earns_it(number):
    listed = list(messages(number))
    lines = [line for _, _, line in SLIPS[number]]
    assert listed and len(SLIPS[number]) >= 3
    for text in listed:
        assert any(line in text for line in lines), text


def zero(*given, **named):
    return 0.0


def nothing(*given, **named):
    return None


def echo(*given, **named):
    return given[0] if given else named


def not_a_number(*given, **named):
    return float("nan")


def text(*given, **named):
    return "the answer"


def forever(*given, **named):
    while True:
        try:
            pass
        except:  # noqa: E722
            pass


def leaves(*given, **named):
    raise SystemExit("done")


def deep(*given, **named):
    return deep()


@pytest.mark.parametrize("number", EXERCISES)
@pytest.mark.parametrize(
    ("wrong", "line"),
    [(zero, ""), (nothing, ""), (echo, ""), (not_a_number, ""), (text, ""),
     (forever, "a loop that never ends"), (leaves, "SystemExit: done"), (deep, "RecursionError")],
)  # fmt: skip
def test_other_wrong_answers_fail(number, wrong, line, monkeypatch):
    if wrong is forever:
        monkeypatch.setattr(exercise, "SECONDS", 0.2)
    right = functions(number, solution(number))
    for at in range(len(right)):
        found = check(number, *right[:at], wrong, *right[at + 1 :])
        assert not found and line in found.line and "\n" not in found.line
        if wrong is nothing and number != "2.3":
            assert "`return` missing" in found.line


@pytest.mark.parametrize("number", EXERCISES)
def test_a_hard_coded_answer_fails(number, monkeypatch):
    """What the solution returned on one draw, call by call, on another draw."""
    seen, again = [], []

    def keep(function):
        return lambda *given, **named: seen.append(function(*given, **named)) or seen[-1]

    assert check(number, *map(keep, functions(number, solution(number))))
    monkeypatch.setenv("SAFEMARL_SALT", "2")
    again = iter(seen)
    assert not check(number, *[lambda *given, **named: next(again)] * len(EXERCISES[number].names))


def spoil(given):
    """Write into every array and tensor of `given`."""
    for x in given:
        if isinstance(x, np.ndarray) and x.dtype == float:
            x *= np.nan
        elif isinstance(x, torch.Tensor):
            x.data.mul_(np.nan)


FORMS = {
    "lists": lambda x: np.asarray(x).tolist(),
    "float32": lambda x: np.asarray(x, np.float32),
    "tensors": lambda x: torch.tensor(np.asarray(x, float), requires_grad=True),
}


@pytest.mark.parametrize("number", EXERCISES)
def test_answers_that_write_into_their_arguments_pass(number):
    def careless(function):
        def answer(*given, **named):
            found = function(*given, **named)
            found = found.clone() if isinstance(found, torch.Tensor) else found
            spoil(given)
            return found

        return answer

    check(number, *map(careless, functions(number, solution(number)))).required()


@pytest.mark.parametrize("number", [n for n in EXERCISES if n not in VERDICTS])
@pytest.mark.parametrize("form", FORMS)
def test_answers_in_another_form_pass(number, form):
    def other(function):
        def answer(*given):
            found = function(*given)
            if isinstance(found, torch.Tensor) and found.requires_grad:
                return found.double() if form == "tensors" else found  # the loss of 4.4
            if isinstance(found, tuple):
                return tuple(map(FORMS[form], found))
            return FORMS[form](found)

        return answer

    check(number, *map(other, functions(number, solution(number)))).required()


def test_a_verdict_is_shown_as_its_one_line_and_is_one(capsys):
    from IPython.core.interactiveshell import InteractiveShell

    found = check("3.1", solution("3.1"))
    shell = InteractiveShell.instance()
    assert shell.display_formatter.format(found)[0] == {"text/plain": "Exercise 3.1: correct."}
    assert not capsys.readouterr().out  # nothing is printed besides
    wrong = check("3.1", zero)
    with pytest.raises(AssertionError, match=re.escape(wrong.line)):
        wrong.required()
    with pytest.raises(AttributeError):
        wrong.ok = True
    assert found.required() is found and wrong == Result("Exercise 3.1", False, wrong.line)


def test_inputs_are_fresh_at_every_call_and_the_salt_draws_them_again(monkeypatch):
    def given(salt):
        if salt is None:
            monkeypatch.delenv("SAFEMARL_SALT", raising=False)
        else:
            monkeypatch.setenv("SAFEMARL_SALT", salt)
        seen = []
        check("3.1", lambda G, V: seen.append(G) or solve(G, V))
        return np.concatenate(seen)

    (solve,) = functions("3.1", solution("3.1"))
    assert len(given(None)) == 24 and not np.isclose(given(None), given(None)).any()
    assert np.array_equal(given("3"), given("3")) and not np.isclose(given("3"), given("4")).any()


def test_a_check_leaves_the_alarm_as_it_was_and_works_in_a_thread(monkeypatch):
    import signal
    import threading

    monkeypatch.setattr(exercise, "SECONDS", 0.2)
    before = signal.signal(signal.SIGALRM, signal.SIG_IGN)
    try:
        assert not check("3.1", forever)
        assert signal.getsignal(signal.SIGALRM) is signal.SIG_IGN
        assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
    finally:
        signal.signal(signal.SIGALRM, before)
    found = []
    thread = threading.Thread(target=lambda: found.append(check("3.1", solution("3.1"))))
    thread.start()
    thread.join()
    assert found[0]


def test_pages_show_the_line_of_an_untouched_stub():
    for e in EXERCISES.values():
        (shown,) = cells(f"0{e.number[0]}")[e.at]["outputs"]
        line = "".join(shown["data"]["text/plain"])
        assert shown["output_type"] == "execute_result" and line == repr(check(e.number, e.stub))


def test_no_check_prints():
    for path in (ROOT / "safemarl_lite/lessons").glob("lesson_*.py"):
        assert "print(" not in path.read_text()


# ------------------------------------------------------------------ derivations, another way


@pytest.mark.parametrize("seed", range(20))
def test_the_front_from_its_corners_is_a_linear_program(seed):
    from scipy.optimize import linprog

    (front,) = functions("1.5", solution("1.5"))
    points = np.random.default_rng(seed).normal(size=(8, 2))
    τ = np.sort(points[:, 0])[1:3].mean()
    best = linprog(-points[:, 1], [points[:, 0]], [τ], np.ones((1, 8)), [1])
    assert np.allclose(front(points, τ), (-best.fun, -best.ineqlin.marginals[0]), atol=1e-9)


@pytest.mark.parametrize(("D", "a", "k"), [(10, 9, 1.5), (2, 4, 0.5), (300, 9, 1.5)])
def test_the_least_time_is_that_of_small_steps(D, a, k):
    (least_time,) = functions("2.4", solution("2.4"))
    t = least_time(D, a, k)
    steps, x, v = 20_000, 0.0, 0.0
    for _ in range(steps):
        x, v = x + t / steps * v, v + t / steps * (a - k * v)
    assert x == pytest.approx(D, rel=1e-3) and 0 < t - D * k / a <= 1 / k
    assert least_time(10.0, 9.0, 1.5) == pytest.approx(2.313, abs=5e-4)  # as the page says


def test_the_best_baseline_leaves_least_variance():
    """Estimates of many small batches: the exercise's, and one with the mean as the baseline."""
    (estimate,) = functions("3.5", solution("3.5"))
    rng, found = np.random.default_rng(0), []
    for _ in range(3000):
        scores = rng.normal(size=(40, 2, 1)) * rng.choice((0.2, 3.0), (40, 1, 1))
        costs = (np.abs(scores[..., 0]).sum(1, keepdims=True) + rng.random((40, 2))) / 2
        team, s = costs.sum(1), scores.sum(1)[:, 0]
        found.append((estimate(scores, costs)[0], s @ (team - team.mean()) / 40))
    ours, plain = np.array(found).T
    assert ours.var() < 0.8 * plain.var() and abs(ours.mean()) < 4 * (ours.var() / 3000) ** 0.5


def test_hoeffdings_flights_fail_as_often_as_they_may():
    (flights,) = functions("5.5", solution("5.5"))
    assert flights(10.0, 0.02, 0.1, 0.99) == 35978  # as the page says
    n, rng = flights(2.0, 0.4, 0.6, 0.9), np.random.default_rng(0)
    assert n == 116  # 4 · ln 10 / 0.08
    means = 2.0 * rng.binomial(n, 0.2, 5000) / n  # costs 0 or 2, J_c = 0.4
    assert ((means + 0.2 < 0.4).mean() <= 0.1) and (means + 0.2 < 0.4).any()


@pytest.mark.parametrize(("w", "n"), [(0.0, 5), (0.01, 5), (0.004, 3)])
def test_the_threshold_in_force_is_that_of_an_iterated_bellman_equation(w, n):
    (allowed,) = functions("6.4", solution("6.4"))
    α, γ, L, Q = 3.0, 0.99, 25, 0.0
    p = allowed(α, γ, L, w, n) / L
    for _ in range(5000):
        Q = p + γ * (Q + w * np.log(n))
    assert pytest.approx(α) == Q
