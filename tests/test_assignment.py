"""A lesson as an assignment: what students get, what nbgrader gives for it, and who fools it."""

import json
import os
import pickle
import re
import signal
import sys

import pytest
from lesson_pages import EXERCISES, PAGES, ROOT, cells, check, functions, solution
from submissions import (
    MARKS,
    OWN,
    POINTS,
    answer,
    handed_out,
    mutilated,
    release,
    scores,
    source_of,
)

from safemarl_lite.__main__ import main
from safemarl_lite.lessons import assignment, exercise, lesson_01


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


# ---- a hundred mutilated notebooks


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


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    pytest.importorskip("nbgrader")
    folder = tmp_path_factory.mktemp("course")
    main(["assignment", "01", "--out", str(folder)])
    page = folder / "source/lesson_01" / PAGES["01"].name
    page.write_text(json.dumps(source_of()))
    return folder


@pytest.fixture(scope="module")
def out(course):
    return handed_out(course)


def test_nbgrader_gives_what_is_earned(course, out):
    assert "### BEGIN" not in json.dumps(out)
    found = scores(course, {
        "blank": out,
        "full": answer(out, POINTS),
        "half": answer(out, {"1.1", "1.3"}, "return 0.0"),
        "wrong": answer(out, {}, "return 0.0"),
    })  # fmt: skip
    half = POINTS["1.1"] + POINTS["1.3"]
    assert found == {"blank": 0, "full": sum(POINTS.values()), "half": half, "wrong": 0}


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
