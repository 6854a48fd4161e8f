"""nbval settings: stderr and HTML differ between machines, everything else is compared."""

from nbval.plugin import IPyNbCell, IPyNbFile


def pytest_collectstart(collector):
    if isinstance(collector, IPyNbFile):
        collector.skip_compare += ("stderr", "text/html")


def pytest_itemcollected(item):
    if isinstance(item, IPyNbCell):
        item.output_timeout = 60  # seconds of silence after a cell has finished
