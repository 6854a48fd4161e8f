"""safemarl_lite: an interactive workbook on safe multi-agent reinforcement learning.

`train(task, config, seed, folder=…)`, `certify(folder)`, `load(folder)`: see `runs.py`. They are
imported when they are first asked for, so that a module of theory loads without the rest.
"""

__version__ = "0.2.0"
__all__ = ["certify", "load", "train"]


def __getattr__(name: str):
    if name in __all__:
        from . import runs

        return getattr(runs, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
