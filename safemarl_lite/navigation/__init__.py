"""Constrained Cooperative Navigation: the task, one world of it, and many."""

from .task import NavigationTask
from .world import NavigationEnv, NavigationVectorEnv

__all__ = ["NavigationEnv", "NavigationTask", "NavigationVectorEnv"]
