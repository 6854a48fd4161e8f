"""Whole pages and a hundred mutilated ones through nbgrader's own commands: who earns what.

    PYTHONPATH=. python tests/benchmarks/grading.py 01 04          # or no number: every lesson
    PYTHONPATH=. python tests/benchmarks/grading.py --mutilated 100

Each page: `assignment`, `generate_assignment`, `autograde` of a blank submission, one with all
solutions, one with about half of the points solved and the rest wrong, one wrong everywhere.
Mutilated: the submissions of `tests/submissions.py` on lesson 01's exercises, ten at a time.
Takes the time of running each page four times, and about eight minutes for a hundred mutilations.
The table goes to `figures/grading.json`.
"""

import argparse
import json
import sys
import tempfile
import time
from itertools import combinations
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from lesson_pages import EXERCISES, PAGES  # noqa: E402
from submissions import OWN, answer, handed_out, mutilated, scores, source_of  # noqa: E402

from safemarl_lite.__main__ import main  # noqa: E402

TABLE = ROOT / "figures/grading.json"


def half_of(own):
    """Exercises whose points are as near as can be to half of all."""
    some = [pick for k in range(1, len(own)) for pick in combinations(own, k)]
    return min(some, key=lambda x: abs(2 * sum(e.minutes for e in x) - sum(e.minutes for e in own)))


def whole(lesson, course):
    """Points of the four submissions of a page, and what they should be."""
    main(["assignment", lesson, "--out", str(course)])
    out, began = handed_out(course, lesson), time.perf_counter()
    own = [e for e in EXERCISES.values() if e.number[0] == lesson[1]]
    half, every = half_of(own), [e.number for e in own]
    students = {
        "blank": out,
        "full": answer(out, every, own=own),
        "half": answer(out, [e.number for e in half], "return 0.0", own),
        "wrong": answer(out, [], "return 0.0", own),
    }
    found = scores(course, students, lesson)
    points = {"full": sum(e.minutes for e in own), "half": sum(e.minutes for e in half)}
    right = found == {"blank": 0, "wrong": 0} | points
    seconds = round(time.perf_counter() - began)
    return {"exercises": len(own), **found, "as expected": right, "seconds": seconds}


def mutilations(count, course):
    """How many mutilated pages were graded, and how many of their exercises earned points that
    were not solved: none may."""
    main(["assignment", "01", "--out", str(course)])
    (course / "source/lesson_01" / PAGES["01"].name).write_text(json.dumps(source_of()))
    handed_out(course)
    points, row = {e.number: e.minutes for e in OWN}, {"graded": 0, "failed": 0, "points": 0}
    row |= {"solved": 0, "unearned": 0}
    for first in range(0, count, 10):
        seeds = range(first, min(first + 10, count))
        books = {f"s{seed}": mutilated(seed)[:2] for seed in seeds}
        found = scores(course, {name: book for name, (book, _) in books.items()})
        for name, (_, solved) in books.items():
            most = sum(points[number] for number in solved)
            row["solved"] += most
            row["failed" if found[name] is None else "graded"] += 1
            row["points"] += found[name] or 0
            row["unearned"] += max(0, (found[name] or 0) - most)
        print(row, flush=True)
    return row


def run():
    look = argparse.ArgumentParser()
    look.add_argument("lessons", nargs="*", default=[])
    look.add_argument("--mutilated", type=int, default=0)
    given = look.parse_args()
    table = json.loads(TABLE.read_text()) if TABLE.exists() else {}
    for lesson in given.lessons or ([] if given.mutilated else PAGES):
        with tempfile.TemporaryDirectory() as course:
            table[lesson] = whole(lesson, Path(course))
        print(lesson, table[lesson], flush=True)
        TABLE.write_text(json.dumps(dict(sorted(table.items())), indent=1) + "\n")
    if given.mutilated:
        with tempfile.TemporaryDirectory() as course:
            table["mutilated"] = mutilations(given.mutilated, Path(course))
        TABLE.write_text(json.dumps(dict(sorted(table.items())), indent=1) + "\n")


if __name__ == "__main__":
    run()
