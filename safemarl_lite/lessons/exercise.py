"""How a check works: a learner's function, fresh inputs, a verdict of one line.

`lesson_01.py`, `lesson_02.py`, … hold the checks, one `check_…` for each exercise of a lesson. A
check asks the function (`ask`) about copies of inputs that are drawn anew at every call, compares
what it returns with what is right and with the likely slips (`expect`), and returns a `Result`.
"""

import copy
import functools
import os
import secrets
import signal
import threading
import warnings
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from ..cmdp import dual_function
from .tasks import random_cmdp

SECONDS = 20  # for one check; a right answer needs less than one


@dataclass(frozen=True)
class Result:
    """The verdict of a check: true or false, and shown as its one line."""

    name: str
    ok: bool
    line: str

    def __bool__(self) -> bool:
        return self.ok

    def __repr__(self) -> str:
        return self.line

    def required(self) -> "Result":
        """Itself; where it is not ok an AssertionError with its line, for graders and tests."""
        if not self.ok:
            raise AssertionError(self.line)
        return self


class Slip(Exception):
    """What is wrong with an answer, in one line."""


class OutOfTime(BaseException):
    """No Exception, so that `except Exception` in an endless loop does not swallow it."""


@contextmanager
def limit(seconds):
    """Raise OutOfTime in the block after `seconds`; without signals, or in another thread than
    the main one, it runs without a limit."""
    main = threading.current_thread() is threading.main_thread()
    if not (main and hasattr(signal, "setitimer")):
        yield
        return

    def stop(*_):
        raise OutOfTime

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds, 1)  # again every second: a bare `except` passes
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def exercise(number: str) -> Callable:
    """Make of `check(rng, *functions)`, which raises Slip, the check of an exercise: it runs three
    times with fresh inputs and returns a Result. SAFEMARL_SALT=7 draws the same inputs again."""

    def decorate(check):
        @functools.wraps(check)
        def checked(*functions) -> Result:
            name, salt = f"Exercise {number}", os.environ.get("SAFEMARL_SALT")
            salt = secrets.randbits(64) if salt is None else int(salt)
            rng, line = np.random.default_rng([salt, *number.encode()]), "correct."
            try:
                with limit(SECONDS), warnings.catch_warnings(action="ignore"):
                    for _ in range(3):
                        check(rng, *functions)
            except NotImplementedError:
                line = "not written yet. Replace the line that raises, then run this cell again."
            except Slip as slip:
                line = f"not yet. {slip}"
            except OutOfTime:
                line = f"stopped after {SECONDS} seconds. Is there a loop that never ends?"
            except (Exception, SystemExit) as error:
                said = " ".join(str(error).split())[:200]
                line = f"your function stopped with {type(error).__name__}: {said}"
            return Result(name, line == "correct.", f"{name}: {line}")

        return checked

    return decorate


def ask(function, *given):
    """What a learner's function returns for copies of `given`, which it may change."""
    answer = function(*copy.deepcopy(given))
    if answer is None:
        raise Slip("It returns nothing (None): is its `return` missing?")
    return answer


def plain(answer):
    """Numbers, lists, arrays, tensors (also with a gradient), tuples of them → an array."""
    if isinstance(answer, tuple | list):
        return np.stack([plain(part) for part in answer])
    return np.asarray(answer.detach() if hasattr(answer, "detach") else answer, dtype=float)


def expect(answer, right, slips):
    """Raise Slip unless `answer` equals `right`; it names the slip whose value it equals."""
    right = plain(right)
    try:
        answer = plain(answer)
    except (TypeError, ValueError):
        kind = type(answer).__name__
        raise Slip(f"It returns a {kind}; numbers of shape {right.shape} were expected.") from None
    if answer.size == right.size == 1:
        answer = answer.reshape(right.shape)
    if answer.shape != right.shape:
        raise Slip(f"Its shape is {answer.shape}; {right.shape} was expected.")
    near = 1e-6 * max(1.0, np.abs(right).max())
    for slip, value in {None: right, **slips}.items():
        if np.allclose(answer, plain(value), atol=near):
            if slip is not None:
                raise Slip(slip)
            return
    raise Slip(f"The largest error is {np.abs(answer - right).max():.3g}.")


def random_task(rng):
    """A random CMDP with one cost, whose budget binds: 5 to 8 states, 3 or 4 actions, any γ."""
    while True:
        task = random_cmdp(rng, *rng.integers((5, 3), (9, 5)), 1, rng.uniform(0.8, 0.95))
        if dual_function(task, [0.0])[1].J_c > 1.05 * task.thresholds:
            return task
