"""Settings that check themselves: what a field may hold stands in its annotation.

Tasks and learners' settings call `check_fields(self)` when they are made, commands when they run.
"""

import math
from collections.abc import Callable, Iterable
from numbers import Integral, Real
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin, get_type_hints


class Rule(NamedTuple):
    """What is allowed: in words for the error message, and as a test of one number."""

    words: str
    allows: Callable[[float], bool]


Natural = Annotated[int, Rule("an integer ≥ 0", lambda x: x >= 0)]
Count = Annotated[int, Rule("an integer ≥ 1 and ≤ 1,000,000", lambda x: 1 <= x <= 10**6)]
Several = Annotated[int, Rule("an integer ≥ 2 and ≤ 1,000,000", lambda x: 2 <= x <= 10**6)]
Width = Annotated[int, Rule("an integer ≥ 1 and ≤ 4,096", lambda x: 1 <= x <= 4096)]  # or threads
Amount = Annotated[float, Rule("≥ 0 and finite", lambda x: 0 <= x < math.inf)]
Positive = Annotated[float, Rule("positive and finite", lambda x: 0 < x < math.inf)]
Above = Annotated[float, Rule("above 0", lambda x: x > 0)]  # may be infinite
Share = Annotated[float, Rule("in [0, 1]", lambda x: 0 <= x <= 1)]
Discount = Annotated[float, Rule("in (0, 1)", lambda x: 0 < x < 1)]
Point = tuple[float, float, float]  # m


def check_fields(settings: Any) -> None:
    """Check every annotated field of a dataclass; `ValueError` names it and what is allowed.

    Numbers are stored as plain `int` and `float`, points as tuples of floats.
    """
    for name, hint in get_type_hints(type(settings), include_extras=True).items():
        given = getattr(settings, name)
        rules = [note for note in getattr(hint, "__metadata__", ()) if isinstance(note, Rule)]
        if rules:
            value = _number(name, given, get_args(hint)[0], rules[0])
        elif hint == Point:
            value = _point(name, given)
        elif get_origin(hint) is Literal or hint is bool:
            value = _choice(name, given, get_args(hint) or (True, False))
        else:
            continue
        object.__setattr__(settings, name, value)


def _number(name, given, kind, rule):
    fits = isinstance(given, Integral if kind is int else Real) and not isinstance(given, bool)
    if not fits or not rule.allows(given):
        raise ValueError(f"{name} must be {rule.words}, got {given!r}")
    return kind(given)


def _point(name, given):
    point = _floats(given)
    if len(point) != 3 or not all(map(math.isfinite, point)):
        raise ValueError(f"{name} must be three finite numbers, got {given!r}")
    return point


def thresholds_of(name: str, given: Any) -> tuple[float, ...]:
    """One or two thresholds, of a number or of a sequence; `ValueError` on anything else."""
    limits = _floats(given if isinstance(given, Iterable) else (given,))
    if len(limits) not in (1, 2) or not all(0 <= x < math.inf for x in limits):
        raise ValueError(f"{name} must be one or two finite numbers ≥ 0, got {given!r}")
    return limits


def _floats(given):
    """The numbers of a sequence; none if anything in it is no number."""
    numbers = list(given) if isinstance(given, Iterable) else []
    fits = all(isinstance(x, Real) and not isinstance(x, bool) for x in numbers)
    return tuple(float(x) for x in numbers) if fits else ()


def _choice(name, given, allowed):
    if not any(given is x or (isinstance(x, str) and given == x) for x in allowed):
        raise ValueError(f"{name} must be one of {', '.join(map(str, allowed))}, got {given!r}")
    return given
