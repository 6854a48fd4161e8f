"""nbval settings: stderr and HTML differ between machines, everything else is compared.

Lessons that do not fly run as on a machine without PyBullet: its import is blocked.
"""

import os
from pathlib import Path

import pytest
from nbval.plugin import IPyNbCell, IPyNbFile

WITHOUT_PYBULLET = ("01", "04", "06")
BLOCKED = Path(__file__).parent.parent / "tests" / "without_pybullet"


def pytest_collectstart(collector):
    if isinstance(collector, IPyNbFile):
        collector.skip_compare += ("stderr", "text/html")
        if collector.path.name.startswith(WITHOUT_PYBULLET):
            collector.setup = blocked(collector.setup)


def blocked(setup):
    """`setup`, which starts the kernel, with a PyBullet on the path that cannot be imported."""

    def start():
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PYTHONPATH", str(BLOCKED), prepend=os.pathsep)
            setup()

    return start


def pytest_itemcollected(item):
    if isinstance(item, IPyNbCell):
        item.output_timeout = 60  # seconds of silence after a cell has finished
