"""On the path of kernels that stand for a machine on which PyBullet cannot be installed."""

raise ImportError("pybullet is blocked here")
