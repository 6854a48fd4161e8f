"""The drone swarm: `SwarmTask` says what is flown; `SwarmEnv` and `SwarmVectorEnv` fly it.

Only the two environments need PyBullet: they are imported when they are first asked for.
"""

from .task import InfeasibleTask, SwarmTask

__all__ = ["InfeasibleTask", "SwarmEnv", "SwarmTask", "SwarmVectorEnv"]


def __getattr__(name: str):
    if name in ("SwarmEnv", "SwarmVectorEnv"):
        from . import world

        return getattr(world, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
