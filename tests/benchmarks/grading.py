"""Pages and a hundred mutilated ones through nbgrader's own commands: who earns what.

    PYTHONPATH=. python tests/benchmarks/grading.py 01 04          # or no number: every lesson
    PYTHONPATH=. python tests/benchmarks/grading.py --short        # exercises and imports alone
    PYTHONPATH=. python tests/benchmarks/grading.py --mutilated 100

Each page: `assignment`, `generate_assignment`, `autograde` of a blank submission, one with all
solutions, one with about half of the points solved and the rest wrong, one wrong everywhere. It
takes the time of running each page four times; `--short` leaves the cells out that are no
exercise's. Mutilated: the submissions of `tests/submissions.py` on lesson 01's exercises, ten at a
time, after every trick, a dying kernel and a torn file. The table goes to `figures/grading.json`.
"""

import argparse
import json
import re
import sys
import tempfile
import time
from itertools import combinations
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from lesson_pages import EXERCISES, PAGES  # noqa: E402
from submissions import (  # noqa: E402
    POINTS,
    TRICKS,
    add,
    answer,
    earned,
    handed_out,
    mutilated,
    scores,
    source_of,
)  # fmt: skip

from safemarl_lite.__main__ import main  # noqa: E402

TABLE = ROOT / "figures/grading.json"


def half_of(own):
    """Exercises whose points are as near as can be to half of all."""
    some = [pick for k in range(1, len(own)) for pick in combinations(own, k)]
    return min(some, key=lambda x: abs(2 * sum(e.minutes for e in x) - sum(e.minutes for e in own)))


def whole(lesson, course, short=False):
    """Points of the four submissions of a page, and what they should be."""
    main(["assignment", lesson, "--out", str(course)])
    if short:
        page = course / f"source/lesson_{lesson}" / PAGES[lesson].name
        page.write_text(json.dumps(source_of(lesson)))
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
    points = sum(e.minutes for e in own)
    row = {"page": "short" if short else "whole", "exercises": len(own), "points": points}
    return {**row, **found, "as expected": right, "seconds": seconds}


def mutilations(count, course, row, keep):
    """What happened to mutilated pages: graded or not, points, and points that nobody had solved
    (none may be), all of lesson 01's exercises. It goes on with `row`; `keep` writes it."""
    main(["assignment", "01", "--out", str(course)])
    (course / "source/lesson_01" / PAGES["01"].name).write_text(json.dumps(source_of()))
    config = course / "nbgrader_config.py"  # an endless cell may have a minute here
    config.write_text(config.read_text().replace("timeout = 180", "timeout = 60"))
    out = handed_out(course)
    names = "special", "pages", "not graded", "points", "points solved", "points unearned"
    row = row or dict.fromkeys(names, 0)

    def grade(books):  # name → page, numbers that are solved
        found = earned(course, {name: book for name, (book, _) in books.items()})
        for name, (_, solved) in books.items():
            points = found[name] or {}
            row["pages"] += 1
            row["not graded"] += found[name] is None
            row["points"] += sum(points.values())
            row["points solved"] += sum(POINTS[number] for number in solved)
            row["points unearned"] += sum(x for k, x in points.items() if k not in solved)
        said = re.findall(
            r"(?m)^[\w.]*(?:Error|Exception)\b.*", (course / "autograde.log").read_text()
        )
        row.setdefault("why not", []).extend(line[:100] for line in said)
        print(row, flush=True)

    if not row["special"]:
        grade(books := special(out))
        row["special"] = len(books)
        keep(row)
    for first in range(row["pages"] - row["special"], count, 10):
        seeds = range(first, min(first + 10, count))
        grade({f"s{seed}": mutilated(seed)[:2] for seed in seeds})
        keep(row)


def special(out):
    """Every trick; tests tagged away; a kernel that dies; a torn file; a sound page."""
    rng, books = np.random.default_rng(0), {}
    for k, code in enumerate(TRICKS):
        books[f"trick{k}"] = answer(out, {"1.3"}, "return 0.0"), {"1.3"}
        add(rng, books[f"trick{k}"][0], code, last=True)
    books["tagged"] = answer(out, {}, "return 0.0"), set()
    for cell in books["tagged"][0]["cells"]:
        cell["metadata"]["tags"] = ["skip-execution"]
    books["dies"] = answer(out, POINTS), set(POINTS)
    add(rng, books["dies"][0], "import os\nos._exit(1)")
    return books | {"torn": (json.dumps(out)[:3000], set()), "sound": (answer(out, POINTS), POINTS)}


def run():
    look = argparse.ArgumentParser()
    look.add_argument("lessons", nargs="*", default=[])
    look.add_argument("--short", action="store_true")
    look.add_argument("--mutilated", type=int, default=0)
    given = look.parse_args()
    table = json.loads(TABLE.read_text()) if TABLE.exists() else {}
    for lesson in given.lessons or ([] if given.mutilated else PAGES):
        with tempfile.TemporaryDirectory() as course:
            table[lesson] = whole(lesson, Path(course), given.short)
        print(lesson, table[lesson], flush=True)
        TABLE.write_text(json.dumps(dict(sorted(table.items())), indent=1) + "\n")

    def keep(row):
        table["mutilated"] = row
        TABLE.write_text(json.dumps(dict(sorted(table.items())), indent=1) + "\n")

    if given.mutilated:
        with tempfile.TemporaryDirectory() as course:
            mutilations(given.mutilated, Path(course), table.get("mutilated"), keep)


if __name__ == "__main__":
    run()
