"""Submissions of students: solved, wrong or mutilated pages, and the points that nbgrader gives."""

import copy
import json
import re
import shutil
import subprocess
import sys

import numpy as np
from lesson_pages import EXERCISES, PAGES, cells

from safemarl_lite.lessons import assignment

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
    """An assignment's source; short: its first code cell and its exercises alone."""
    found = assignment.graded(cells(lesson))
    if short:
        first = next(cell["id"] for cell in found if cell["cell_type"] == "code")
        own = [e for e in EXERCISES.values() if e.number[0] == lesson[1]]
        needed = {first} | {found[e.at - k]["id"] for e in own for k in (0, 1)}
        found = [cell for cell in found if cell["id"] in needed]
        found[0]["source"] = found[0]["source"].replace("%matplotlib inline\n", "")
    kernel = {"kernelspec": {"name": "python3", "display_name": "python3", "language": "python"}}
    return {"cells": found, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}


def answer(book, solved, otherwise=None, own=OWN):
    """A submission: the given exercises are solved, in the others `otherwise` stands, or a stub."""
    book = copy.deepcopy(book)
    open_ = [c for c in book["cells"] if c[MARKS].get("nbgrader", {}).get("solution")]
    for e in own:
        stub = next(c for c in open_ if f"def {e.names[0]}(" in "".join(c["source"]))
        if e.number in solved:
            stub["source"] = e.solution
        elif otherwise:
            stub["source"] = re.sub(r"raise Not.*", otherwise, "".join(stub["source"]))
    return book


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


# ------------------------------------------------------------------ nbgrader's own commands


def nbgrader(course, *words):
    command = [sys.executable, "-m", "nbgrader", *words]
    return subprocess.run(command, cwd=course, capture_output=True, text=True)


def handed_out(course, lesson="01"):
    """What `generate_assignment` gives to students."""
    done = nbgrader(course, "generate_assignment", f"lesson_{lesson}")
    assert done.returncode == 0, done.stderr
    (page,) = (course / f"release/lesson_{lesson}").glob("*.ipynb")
    return json.loads(page.read_text())


def earned(course, students, lesson="01"):
    """Submissions, student → book or text, autograded → student → exercise → points; None where
    the submission could not be graded."""
    from nbgrader.api import Gradebook, MissingEntry

    numbers = {cells(lesson)[e.at]["id"]: e.number for e in EXERCISES.values()
               if e.number[0] == lesson[1]}  # fmt: skip
    shutil.rmtree(course / "submitted", ignore_errors=True)
    for student, book in students.items():
        folder = course / "submitted" / student / f"lesson_{lesson}"
        shutil.copytree(course / f"release/lesson_{lesson}", folder)
        text = book if isinstance(book, str) else json.dumps(book)
        (folder / PAGES[lesson].name).write_text(text)
    done = nbgrader(course, "autograde", f"lesson_{lesson}")
    (course / "autograde.log").write_text(done.stderr)
    found = {}
    with Gradebook(f"sqlite:///{course}/gradebook.db", "safemarl") as book:
        for student in students:
            found[student] = None
            if f"for student '{student}'" in done.stderr:
                continue
            try:
                (page,) = book.find_submission(f"lesson_{lesson}", student).notebooks
            except (MissingEntry, ValueError):
                continue
            found[student] = {numbers[g.name]: g.score for g in page.grades}
    return found


def scores(course, students, lesson="01"):
    """Student → the sum of the points, or None."""
    found = earned(course, students, lesson)
    return {name: None if x is None else sum(x.values()) for name, x in found.items()}
