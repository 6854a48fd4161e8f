"""What a test leaves open is closed behind it, and interrupts arrive."""

import signal

import matplotlib.pyplot as plt
import pytest


@pytest.fixture(autouse=True, scope="session")
def _interrupts_arrive():
    """A shell's background process ignores Ctrl-C, and so would the tests of it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True)
def _no_figure_stays_open():
    yield
    plt.close("all")
