"""A lesson as an nbgrader assignment: `python -m safemarl_lite assignment 04 --out course/`.

The folder gets `source/lesson_04/` (the page with its solutions between nbgrader's marks, and
`figures/`) and a configuration. Students see the check's line; for the points a hidden test runs
the check in a fresh process, on the functions alone: what the notebook has changed in its own
kernel does not reach it.
"""

import json
import os
import re
import secrets
import shutil
import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from tyro.conf import Positional

ROOT = Path(__file__).parents[2]
CONFIG = """c = get_config()  # of nbgrader
c.CourseDirectory.course_id = "safemarl"
c.Execute.timeout = 180  # seconds for one cell
c.Execute.skip_cells_with_tag = "KEY"  # else a student's tag skips a test, which then counts
c.ClearSolutions.code_stub = {"python": 'raise NotImplementedError("write this function")'}
"""
TEST = '''### BEGIN HIDDEN TESTS
def _hidden(check, *answers):
    import cloudpickle, os, subprocess, sys

    key, child = os.urandom(16), [sys.executable, "-P", "-m", "safemarl_lite.lessons.assignment"]
    given = {"input": key + cloudpickle.dumps(answers), "capture_output": True}
    said = subprocess.run([*child, check], timeout=200, **given).stdout
    assert said.startswith(key), said.decode(errors="replace") or "the check died"

_hidden("CHECK", NAMES)
_shown = """  # to students; here the line is not run
### END HIDDEN TESTS
CHECK(NAMES).required()
### BEGIN HIDDEN TESTS
"""
### END HIDDEN TESTS'''


@dataclass(frozen=True)
class Exercise:
    """What a page says of one exercise; `at` is the place of its check among the cells, the stub
    stands just before it."""

    number: str
    minutes: int
    check: str
    names: tuple[str, ...]
    at: int
    stub: str
    solution: str


def exercises(cells: list[dict]) -> list[Exercise]:
    """The exercises of a page, in its order."""
    found, sources = [], ["".join(cell["source"]) for cell in cells]
    for at, source in enumerate(sources):
        if call := re.fullmatch(r"(lesson_\d\d\.check_\w+)\((.*)\)", source):
            names = tuple(call[2].split(", "))
            before, after = "\n".join(sources[:at]), "\n".join(sources[at:])
            number, minutes = re.findall(r"(?m)^### Exercise (\d\.\d).*?(\d+) minutes", before)[-1]
            blocks = re.findall(r"(?s)```python\n(.*?)```", after)
            solution = next(x for x in blocks if f"def {names[0]}(" in x)
            given = number, int(minutes), call[1], names, at, sources[at - 1], solution
            found.append(Exercise(*given))
    return found


def answered(stub: str, solution: str) -> str:
    """The stub, each line that raises replaced by the solution's lines between nbgrader's marks."""
    imports, *functions = re.split(r"(?m)^def ", solution)
    bodies = iter(re.split(r"(?m):(?: *#.*)?\n(?= {4})", f, maxsplit=1)[1] for f in functions)

    def lines(_):
        body = re.sub(r"(?m)^(?=\S)", "    ", imports) + next(bodies).rstrip()
        return f"    ### BEGIN SOLUTION\n{body}\n    ### END SOLUTION"

    return re.sub(r"(?m)^    raise NotImplementedError\(.*\)$", lines, stub)


def graded(cells: list[dict]) -> list[dict]:
    """The cells of a page as those of an nbgrader source; points are an exercise's minutes."""
    marks = {"schema_version": 3, "grade": False, "locked": True, "solution": False, "task": False}
    kinds, found = {}, exercises(cells)
    for e in found:
        test = TEST.replace("CHECK", e.check).replace("NAMES", ", ".join(e.names))
        kinds[e.at - 1] = answered(e.stub, e.solution), {"solution": True, "locked": False}
        kinds[e.at] = test, {"grade": True, "points": e.minutes}
    out = []
    for at, cell in enumerate(cells):
        source, own = kinds.get(at, ("".join(cell["source"]), {}))
        solved = r"(?s)<details><summary>Solution</summary>.*?</details>"
        source = re.sub(solved, "", source).replace("../figures", "figures")
        mark = {"nbgrader": {**marks, **own, "grade_id": cell["id"]}}
        cell = {**cell, "source": source, "metadata": {**cell["metadata"], **mark}}
        out.append(cell | ({"outputs": [], "execution_count": None} if "outputs" in cell else {}))
    return out


@dataclass(frozen=True)
class Assignment:
    """Make an nbgrader assignment from a lesson."""

    lesson: Positional[str]
    """Number of the lesson, as 04."""
    out: Path
    """Course folder; it may hold other assignments."""

    def __call__(self) -> None:
        pages = {
            path.name[:2]: path for path in sorted((ROOT / "notebooks").glob("0[1-9]_*.ipynb"))
        }
        if self.lesson not in pages:
            had = ", ".join(pages) or "none: run it in a clone of the repository"
            raise ValueError(f"lesson must be one of {had}, got {self.lesson!r}")
        target = self.out / "source" / f"lesson_{self.lesson}"
        if target.exists():
            raise ValueError(f"{target} exists already: it may hold your changes")
        page = json.loads(pages[self.lesson].read_text())
        page["cells"] = graded(page["cells"])
        shutil.copytree(ROOT / "figures", target / "figures")
        (target / pages[self.lesson].name).write_text(
            json.dumps(page, ensure_ascii=False, indent=1)
        )
        if not (config := self.out / "nbgrader_config.py").exists():
            config.write_text(CONFIG.replace("KEY", secrets.token_hex()))
        print(f"{target}: next, in {self.out}: nbgrader generate_assignment lesson_{self.lesson}")


def judge(check: str) -> None:
    """The child of a hidden test: a key and pickled functions come in; the check's line goes out,
    behind the key where it is right. What a function prints, or an exit, never looks like it."""
    import cloudpickle

    key, verdict = sys.stdin.buffer.read(16), os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    answers = cloudpickle.loads(sys.stdin.buffer.read())
    room, name = check.split(".")
    result = getattr(import_module(f"safemarl_lite.lessons.{room}"), name)(*answers)
    os.write(verdict, key * result.ok + result.line.encode())


if __name__ == "__main__":
    judge(sys.argv[1])
