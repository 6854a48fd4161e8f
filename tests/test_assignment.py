"""A lesson as an assignment: what students get, what nbgrader gives for it, and who fools it."""

import copy
import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from lesson_pages import EXERCISES, PAGES, ROOT, cells, check, functions, solution

from safemarl_lite.__main__ import main
from safemarl_lite.lessons import assignment, exercise, lesson_01

OWN = [e for e in EXERCISES.values() if e.number.startswith("1.")]
POINTS = {e.number: e.minutes for e in OWN}
MARKS = "metadata"


def release(book):
    """What nbgrader's `generate_assignment` makes of a source: solutions and hidden tests out."""
    book = copy.deepcopy(book)
    for cell in book["cells"]:
        text = "".join(cell["source"])
        text = re.sub(r"(?s) *### BEGIN SOLUTION.*?### END SOLUTION", "    raise "
                      "NotImplementedError('write this function')", text)  # fmt: skip
        cell["source"] = re.sub(r"(?s)### BEGIN HIDDEN.*?### END HIDDEN TESTS\n?", "", text)
    return book


def source_of(lesson="01", short=True):
    """An assignment's source; short: without the cells that no exercise needs."""
    found = assignment.graded(cells(lesson))
    if short:
        needed = {"setup"} | {found[e.at - k]["id"] for e in OWN for k in (0, 1)}
        found = [cell for cell in found if cell["id"] in needed]
        found[0]["source"] = found[0]["source"].replace("%matplotlib inline\n", "")
    kernel = {"kernelspec": {"name": "python3", "display_name": "python3", "language": "python"}}
    return {"cells": found, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}


def answer(book, solved, otherwise=None):
    """A submission: the given exercises are solved, in the others `otherwise` stands, or a stub."""
    book = copy.deepcopy(book)
    for e in OWN:
        stub = next(c for c in book["cells"] if f"def {e.names[0]}(" in "".join(c["source"]))
        if e.number in solved:
            stub["source"] = e.solution
        elif otherwise:
            stub["source"] = re.sub(r"raise Not.*", otherwise, "".join(stub["source"]))
    return book


def test_what_students_get():
    for lesson in PAGES:
        book = release({"cells": assignment.graded(cells(lesson))})
        text = json.dumps(book, ensure_ascii=False)
        assert "Solution</summary>" not in text and "../figures" not in text
        own = [e for e in EXERCISES.values() if e.number[0] == lesson[1]]
        marks = [cell["metadata"]["nbgrader"] for cell in book["cells"]]
        assert sum(mark.get("points", 0) for mark in marks) == sum(e.minutes for e in own)
        assert len({mark["grade_id"] for mark in marks}) == len(marks)
        assert sum(not mark["locked"] for mark in marks) == len(own)
        for e in own:
            stub, test = book["cells"][e.at - 1], book["cells"][e.at]
            assert test["source"] == f"{e.check}({', '.join(e.names)}).required()\n"
            found = check(e.number, stub["source"])
            assert "not written yet" in found.line
            told = [line.strip() for line in e.solution.splitlines() if "return " in line]
            assert not any(line in text for line in told if len(line) > 20)


@pytest.mark.parametrize("number", EXERCISES)
def test_the_source_s_answer_cell_is_right(number):
    e = EXERCISES[number]
    book = assignment.graded(cells(f"0{number[0]}"))
    assert check(number, book[e.at - 1]["source"])


def test_the_command_makes_a_course_and_keeps_what_is_there(tmp_path, capsys):
    main(["assignment", "01", "--out", str(tmp_path / "course")])
    made = tmp_path / "course/source/lesson_01"
    assert "nbgrader generate_assignment lesson_01" in capsys.readouterr().out
    assert (made / "figures/01_colleague.csv").exists() and (made / PAGES["01"].name).exists()
    config = tmp_path / "course/nbgrader_config.py"
    config.write_text("# mine")
    main(["assignment", "06", "--out", str(tmp_path / "course")])
    assert config.read_text() == "# mine"
    for words, line in ((["01"], "exists already"), (["1"], "must be one of 01, 02"),
                        (["00"], "must be one of 01, 02")):  # fmt: skip
        with pytest.raises(SystemExit) as stop:
            main(["assignment", *words, "--out", str(tmp_path / "course")])
        said = capsys.readouterr().err
        assert stop.value.code == 2 and line in said and said.count("\n") == 1


# ------------------------------------------------------------------ a hundred mutilated notebooks


def cut(rng, book):
    del book["cells"][rng.integers(len(book["cells"]))]


def cut_some(rng, book):
    keep = rng.random(len(book["cells"])) < 0.6
    book["cells"] = [cell for cell, kept in zip(book["cells"], keep, strict=True) if kept]


def copied(rng, book):
    at, to = rng.integers(len(book["cells"]), size=2)
    book["cells"].insert(to, copy.deepcopy(book["cells"][at]))


def reordered(rng, book):
    rng.shuffle(book["cells"])


def renamed(rng, book):
    name = rng.choice([e.names[0] for e in OWN])
    for cell in book["cells"]:
        if f"def {name}(" in "".join(cell["source"]):
            cell["source"] = "".join(cell["source"]).replace(f"def {name}(", f"def my_{name}(")


def swapped_names(rng, book):
    one, other = rng.choice([e.names[0] for e in OWN], 2, replace=False)
    add(rng, book, f"{one} = {other}")


def endless_cell(rng, book):
    add(rng, book, "while True:\n    pass  # until the time is over")


def endless_function(rng, book):
    name = rng.choice([e.names[0] for e in OWN])
    add(rng, book, f"def {name}(*given):\n    while True:\n        pass", last=True)


def flood(rng, book):
    add(rng, book, "for k in range(20000):\n    print('x' * 50)")


def flooding_function(rng, book):
    name = rng.choice([e.names[0] for e in OWN])
    code = f"def {name}(*given, f={name}):\n    print('x' * 10**6)\n    return f(*given)"
    add(rng, book, code, last=True)


def broken(rng, book):
    book["cells"][rng.integers(len(book["cells"]))]["source"] = "def ("


def bare(rng, book):
    book["cells"][rng.integers(len(book["cells"]))][MARKS] = {}


def emptied_tests(rng, book):
    for cell in book["cells"]:
        if cell[MARKS].get("nbgrader", {}).get("grade"):
            cell["source"] = "42"


def stopped(rng, book):
    add(rng, book, rng.choice(["raise SystemExit", "1 / 0", "import nowhere"]))


def text_cell(rng, book):
    cell = book["cells"][rng.integers(len(book["cells"]))]
    cell["cell_type"] = "markdown"


TRICKS = [
    "lesson_01.check_occupancy = lambda f: exercise.Result('', True, 'correct.')",
    "for name in dir(lesson_01):\n    if name.startswith('check'):\n        setattr(lesson_01, "
    "name, lambda *f: type('R', (), {'required': lambda s: s})())",
    "from safemarl_lite.lessons import exercise\nexercise.expect = lambda *given: None\n"
    "exercise.ask = lambda *given: 0",
    "from safemarl_lite.lessons import exercise\nexercise.Result.__bool__ = lambda self: True\n"
    "exercise.Result.required = lambda self: self",
    "np.allclose = lambda *given, **named: True",
    "import sys\nsys.modules['safemarl_lite.lessons.exercise'] = sys",
    "class Yes:\n    def __eq__(self, other):\n        return True\n\n    "
    "def __array__(self):\n        return np.zeros(1)\n\n\n"
    "def occupancy(*given):\n    return Yes()",
    "def occupancy(*given):\n    import os\n    os.write(1, b'Exercise 1.1: correct.')\n    "
    "os._exit(0)",
    "def mixture(*given):\n    print('Exercise 1.4: correct.')\n    raise SystemExit(0)",
    "import builtins\nbuiltins.AssertionError = KeyError",
    "def _hidden(*given):\n    pass",
    "import os\nos.environ['SAFEMARL_SALT'] = '1'",
]


def trick(rng, book):
    add(rng, book, rng.choice(TRICKS), last=rng.random() < 0.7)


def add(rng, book, code, last=False):
    """A cell of the student's own: anywhere, or where the tests are still to come."""
    at = 1 + max(k for k, c in enumerate(book["cells"]) if "def " in "".join(c["source"]))
    tests = [k for k, c in enumerate(book["cells"]) if "required()" in "".join(c["source"])]
    at = min(tests or [at]) if last else rng.integers(len(book["cells"]) + 1)
    cell = {"cell_type": "code", "id": f"own-{rng.integers(10**9)}", "source": code}
    book["cells"].insert(at, cell | {MARKS: {}, "outputs": [], "execution_count": None})


KINDS = [cut, cut_some, copied, reordered, renamed, swapped_names, endless_cell, endless_function,
         flood, flooding_function, broken, bare, emptied_tests, stopped, text_cell, trick,
         trick, trick]  # fmt: skip


def mutilated(seed):
    """A submission with some exercises solved, and with one to three things done to it."""
    rng = np.random.default_rng(seed)
    solved = {e.number for e in OWN if rng.random() < 0.5}
    wrong = rng.choice([None, "return 0.0", "return None"])
    book = answer(release(source_of()), solved, wrong)
    done = [KINDS[seed % len(KINDS)], *rng.choice(KINDS, rng.integers(3))]
    for change in done:
        if book["cells"] and any("def " in "".join(c["source"]) for c in book["cells"]):
            change(rng, book)
    return book, solved, done


def forked(task, *given):
    """What `task` returns in a process of its own; None where that dies or takes a minute."""
    read, write = os.pipe()
    if (child := os.fork()) == 0:
        signal.alarm(60)
        sys.stdout = sys.stderr = open(os.devnull, "w")
        try:
            said = pickle.dumps(task(*given))
            os.write(write, said)
        finally:
            os._exit(0)
    os.close(write)
    said = b""
    while part := os.read(read, 1 << 16):
        said += part
    os.close(read)
    os.waitpid(child, 0)
    return pickle.loads(said) if said else None


def run_page(book, source):
    """nbgrader's steps in this process: ids once, locked sources back, every cell run; a test cell
    hands its functions over. Grade id → what was handed over."""
    import cloudpickle

    once, seen, handed = set(), {"__name__": "__main__"}, {}
    true = {cell["id"]: cell for cell in source["cells"]}
    for cell in book["cells"][::-1]:
        name = cell[MARKS].get("nbgrader", {}).get("grade_id")
        if name in once:
            cell[MARKS] = {}
        once.add(name)
    for cell in book["cells"]:
        mark = cell[MARKS].get("nbgrader", {})
        if mark.get("grade_id") in true and mark["locked"]:
            cell |= {key: true[mark["grade_id"]][key] for key in ("source", "cell_type")}
        elif cell["cell_type"] != "code":
            continue
        code = "".join(cell["source"])

        def hand_over(check, *answers, mark=mark):
            handed[mark["grade_id"]] = check, cloudpickle.dumps(answers)

        try:
            with exercise.limit(0.3):
                tree = compile(re.sub(r"(?m)^def _hidden", "def _unused", code), "cell", "exec")
                exec(tree, seen | {"_hidden": hand_over} if mark.get("grade") else seen)
        except BaseException:
            pass
    return handed


def judged(name, answers, monkeypatch=None):
    """What the hidden test's own child says, with a limit of half a second."""
    read, write = os.pipe()
    key = os.urandom(16)
    with open("answers", "wb") as file:
        file.write(key + answers)
    exercise.SECONDS = 0.5
    sys.stdin = open("answers")
    keep = os.dup(1)
    os.dup2(write, 1)
    try:
        assignment.judge(name)
    finally:
        os.dup2(keep, 1)
    os.close(write)
    return os.read(read, 1000).startswith(key)


@pytest.mark.parametrize("first", range(0, 100, 10))
def test_a_hundred_mutilated_notebooks_earn_nothing_that_is_not_solved(
    first, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert lesson_01  # imported before the forks
    source, earned = source_of(), 0
    for seed in range(first, first + 10):
        book, solved, done = mutilated(seed)
        handed = forked(run_page, book, source) or {}
        for cell in source["cells"]:
            if (name := cell["id"]) in handed:
                (number,) = [e.number for e in OWN if e.check in cell["source"]]
                got = bool(forked(judged, *handed[name]))
                assert not got or number in solved, (seed, number, [f.__name__ for f in done])
                earned += got
    assert earned  # the control: what is solved and not spoilt still counts


# ------------------------------------------------------------------ through nbgrader itself


def nbgrader(course, *words):
    command = [sys.executable, "-m", "nbgrader", *words]
    return subprocess.run(command, cwd=course, capture_output=True, text=True)


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    pytest.importorskip("nbgrader")
    folder = tmp_path_factory.mktemp("course")
    main(["assignment", "01", "--out", str(folder)])
    page = folder / "source/lesson_01" / PAGES["01"].name
    page.write_text(json.dumps(source_of()))
    done = nbgrader(folder, "generate_assignment", "lesson_01")
    assert done.returncode == 0, done.stderr
    return folder


def scores(course, students):
    """Submissions, student → book or text, autograded → student → points, None where it failed."""
    from nbgrader.api import Gradebook, MissingEntry

    shutil.rmtree(course / "submitted", ignore_errors=True)
    for student, book in students.items():
        folder = course / "submitted" / student / "lesson_01"
        folder.mkdir(parents=True)
        text = book if isinstance(book, str) else json.dumps(book)
        (folder / PAGES["01"].name).write_text(text)
    done = nbgrader(course, "autograde", "lesson_01")
    (course / "autograde.log").write_text(done.stderr)
    found = {}
    with Gradebook(f"sqlite:///{course}/gradebook.db", "safemarl") as book:
        for student in students:
            failed = f"for student '{student}'" in done.stderr
            try:
                found[student] = book.find_submission("lesson_01", student).score
            except MissingEntry:
                found[student] = None
            found[student] = None if failed else found[student]
    return found


@pytest.fixture(scope="module")
def handed_out(course):
    (page,) = (course / "release/lesson_01").glob("*.ipynb")
    return json.loads(page.read_text())


def test_nbgrader_gives_what_is_earned(course, handed_out):
    assert "### BEGIN" not in json.dumps(handed_out)
    found = scores(course, {
        "blank": handed_out,
        "full": answer(handed_out, POINTS),
        "half": answer(handed_out, {"1.1", "1.3"}, "return 0.0"),
        "wrong": answer(handed_out, {}, "return 0.0"),
    })  # fmt: skip
    half = POINTS["1.1"] + POINTS["1.3"]
    assert found == {"blank": 0, "full": sum(POINTS.values()), "half": half, "wrong": 0}


def test_nbgrader_survives_mutilated_notebooks(course, handed_out):
    """One of each kind on a page half of which is solved; a kernel that dies or a file that is no
    notebook fails alone."""
    rng, students, solved = np.random.default_rng(0), {}, {"1.1", "1.4"}
    for change in dict.fromkeys(KINDS):
        students[change.__name__] = book = answer(handed_out, solved, "return 0.0")
        change(rng, book)
    for k, code in enumerate(TRICKS):
        students[f"trick-{k}"] = book = answer(handed_out, {"1.3"}, "return 0.0")
        add(rng, book, code, last=True)
    students["tag"] = book = answer(handed_out, {}, "return 0.0")
    for cell in book["cells"]:
        cell["metadata"]["tags"] = ["skip-execution"]
    students["dead"] = book = answer(handed_out, POINTS)
    add(rng, book, "import os\nos._exit(1)")
    students["torn"] = json.dumps(handed_out)[:3000]
    students["sound"] = answer(handed_out, POINTS)
    found = scores(course, students)
    assert found["sound"] == sum(POINTS.values()) and found["tag"] == 0
    assert found["dead"] in (None, 0) and found["torn"] in (None, 0)
    for student, points in found.items():
        if student.startswith("trick-"):
            assert points in (0, POINTS["1.3"]), student
        elif student not in ("sound", "dead", "torn", "tag"):
            assert points is not None and points <= POINTS["1.1"] + POINTS["1.4"], student


def test_the_teachers_table_adds_up():
    page = (ROOT / "notebooks/TEACHERS.md").read_text()
    rows = re.findall(r"(?m)^\| [\d, ]+ \| (?:00, )?(\d\d) \| (\d+) \| (\d+) \|", page)
    assert [lesson for lesson, *_ in rows] == list(PAGES)
    for lesson, minutes, own in rows:
        assert int(own) == sum(e.minutes for e in EXERCISES.values() if e.number[0] == lesson[1])
        assert int(own) < int(minutes)
    slips = re.findall(r"(?m)^\| (\d\.\d(?:, \d\.\d)*) \|", page)
    assert len(slips) >= 12 and set(", ".join(slips).split(", ")) <= set(EXERCISES)


def test_otter_grades_with_the_same_checks(tmp_path):
    """The paragraph of the teachers' page: a test file whose case calls the check."""
    otter = pytest.importorskip("otter")
    page = (ROOT / "notebooks/TEACHERS.md").read_text()
    code = re.search(r"(?s)```python\n(from otter.*?)```", page).group(1)
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests/q11.py").write_text(code)
    (right,) = functions("1.1", solution("1.1"))
    grader = otter.Notebook(tests_dir=str(tmp_path / "tests"))
    for function, passes in ((right, True), (lambda *given: 0.0, False)):
        result = grader.check("q11", global_env={"occupancy": function})
        assert (result.grade == 1) == passes
