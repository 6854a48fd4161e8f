"""Checks of the exercises: one line when an answer is right, the likely slip when it is not.

Every check calls the learner's function on cases with a known answer. A stub that still raises
`NotImplementedError` gets a friendly line, never a traceback.
"""


def _run(name, check):
    """Run `check()` (it returns None, or the likely slip) and print one line about exercise `name`."""
    try:
        slip = check()
    except NotImplementedError:
        print(f"{name}: not written yet. Replace the line that raises, then run this cell again.")
    except Exception as error:
        print(f"{name}: your function stopped with {type(error).__name__}: {error}")
    else:
        print(f"{name}: correct." if slip is None else f"{name}: not yet. {slip}")
