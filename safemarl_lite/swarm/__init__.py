"""The drone swarm: `SwarmTask` says what is flown; `SwarmEnv` and `SwarmVectorEnv` fly it.

Only the two environments need PyBullet: they are imported when they are first asked for.
"""

from .open import OpenTask
from .task import InfeasibleTask, SwarmTask
from .tasks import SwarmTasks

__all__ = [
    "InfeasibleTask",
    "OpenTask",
    "SwarmEnv",
    "SwarmTask",
    "SwarmTasks",
    "SwarmVectorEnv",
]


def __getattr__(name: str):
    if name in ("SwarmEnv", "SwarmVectorEnv"):
        from . import world

        return getattr(world, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
