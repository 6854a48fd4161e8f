"""PyBullet, imported without its greeting; where it is missing, one line says how to get it."""

import os

stderr, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
os.dup2(nothing, 2)  # the greeting is written by the C library, past sys.stderr
try:
    import pybullet as bullet  # noqa: F401
except ImportError:
    raise ImportError(
        "the swarm needs PyBullet, which is not installed: `pip install pybullet==3.2.7` on Linux "
        "x86-64 with Python 3.11, `conda install -c conda-forge pybullet` elsewhere; lessons 01, "
        "04 and 06 run without it"
    ) from None
finally:
    os.dup2(stderr, 2)
    os.close(stderr)
    os.close(nothing)
