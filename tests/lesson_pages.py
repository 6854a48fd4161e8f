"""The lessons' pages as the tests read them: sources by cell, exercises, solutions, functions."""

import json
from functools import cache
from importlib import import_module
from pathlib import Path

import numpy as np
import torch

from safemarl_lite import cmdp
from safemarl_lite.lessons.assignment import exercises
from safemarl_lite.swarm import InfeasibleTask, SwarmTask

ROOT = Path(__file__).parents[1]
PAGES = {path.name[:2]: path for path in sorted((ROOT / "notebooks").glob("0[1-9]_*.ipynb"))}


@cache
def cells(lesson):
    """The cells of a page, each source as one text; lesson: "01", "02", …"""
    book = json.loads(PAGES[lesson].read_text())
    return [cell | {"source": "".join(cell["source"])} for cell in book["cells"]]


def source(lesson):
    """Cell id → source."""
    return {cell["id"]: cell["source"] for cell in cells(lesson)}


EXERCISES = {e.number: e for lesson in PAGES for e in exercises(cells(lesson))}


def solution(number):
    """The source of the solution that the page prints."""
    return EXERCISES[number].solution


def functions(number, code):
    """The functions of an exercise as `code` defines them, with what a page has imported."""
    space = {"np": np, "torch": torch, "cmdp": cmdp}
    space |= {"SwarmTask": SwarmTask, "InfeasibleTask": InfeasibleTask}
    exec(code, space)
    return [space[name] for name in EXERCISES[number].names]


def check(number, *answers):
    """The verdict on functions, or on the source of functions."""
    answers = functions(number, *answers) if isinstance(answers[0], str) else answers
    room, name = EXERCISES[number].check.split(".")
    return getattr(import_module(f"safemarl_lite.lessons.{room}"), name)(*answers)
