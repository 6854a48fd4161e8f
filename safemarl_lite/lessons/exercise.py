"""Runs the check of an exercise: one line when an answer is right, the likely slip when it is not.

`lesson_01.py`, `lesson_02.py`, … hold the checks, one `check_…` for each exercise of a lesson.
"""

import numpy as np

from .tasks import random_cmdp


def run(name, check):
    """Run `check()`, which returns None or the likely slip; print one line on exercise `name`."""
    try:
        slip = check()
    except NotImplementedError:
        print(f"{name}: not written yet. Replace the line that raises, then run this cell again.")
    except Exception as error:
        print(f"{name}: your function stopped with {type(error).__name__}: {error}")
    else:
        print(f"{name}: correct." if slip is None else f"{name}: not yet. {slip}")


def plain(answer):
    """Numbers, lists, arrays, tensors (also with a gradient), tuples of them → an array."""
    if isinstance(answer, tuple):
        return np.stack([plain(part) for part in answer])
    return np.asarray(answer.detach() if hasattr(answer, "detach") else answer, dtype=float)


def compare(answer, right, slips):
    """None where `answer` equals `right`, else the slip whose value it equals, else its error."""
    answer, right = plain(answer), plain(right)
    if answer.size == right.size == 1:
        answer = answer.reshape(right.shape)
    if answer.shape != right.shape:
        return f"Its shape is {answer.shape}; {right.shape} was expected."
    for slip, value in {None: right, **slips}.items():
        if np.allclose(answer, plain(value), atol=1e-6):
            return slip
    return f"The largest error is {np.abs(answer - right).max():.3g}."


def random_task(seed):
    """Five states, three actions, one cost, γ = 0.9."""
    return random_cmdp(np.random.default_rng(seed), 5, 3, 1)
