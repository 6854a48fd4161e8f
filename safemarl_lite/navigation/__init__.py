"""Constrained Cooperative Navigation and treasure collection: tasks, one world, and many."""

from .task import NavigationTask
from .treasure import TreasureEnv, TreasureTask, TreasureVectorEnv
from .world import NavigationEnv, NavigationVectorEnv

__all__ = ["NavigationEnv", "NavigationTask", "NavigationVectorEnv", "TreasureEnv", "TreasureTask",
           "TreasureVectorEnv"]  # fmt: skip
