"""The style of the figures: one palette, one meaning a colour.

Colours are Okabe and Ito's (readable with every colour vision), and every curve has a line
style of its own, so that the figures survive printing in grey.
"""

from base64 import b64encode
from io import BytesIO

import matplotlib.pyplot as plt
import numpy as np
import PIL.Image
from IPython.display import display

REWARD, COST, PRICE, THRESHOLD = "#0072B2", "#D55E00", "#009E73", "#000000"
CONSTRAINTS = ("#D55E00", "#CC79A7", "#E69F00")  # one for each constraint
NEUTRAL, PAPER = "#7F7F7F", "#F1F3F5"  # a page of their own: light, and no glare in the dark
BEHIND = {"facecolor": PAPER, "alpha": 0.8, "linewidth": 0, "pad": 1}  # a text that lines cross
CORRECTED, PRINTED, OTHER = "#332288", "#CC6677", "#999933"  # runs that are compared


def use():
    """Set the figure style that every notebook uses."""
    plt.rcParams.update(
        {
            "figure.figsize": (8, 3.2),
            "figure.dpi": 100,
            "figure.facecolor": PAPER,
            "axes.facecolor": PAPER,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "grid.alpha": 0.25,
            "font.size": 10,
            "legend.frameon": False,
            "figure.constrained_layout.use": True,
        }
    )


def picture(fig, dpi):
    """A figure as an image of few colours, so that twice as many dots take no more bytes."""
    fig.savefig(drawn := BytesIO(), format="png", dpi=dpi, bbox_inches="tight")
    plt.close(fig)
    return PIL.Image.open(drawn).convert("RGB").quantize(256)


def png(image):
    """The bytes of an image as PNG."""
    image.save(out := BytesIO(), format="png", optimize=True)
    return out.getvalue()


def figure(fig, alt):
    """Display `fig`, sharp on good screens, with the alternative text `alt`, and close it."""
    image = picture(fig, 2 * fig.dpi)
    size = {"width": image.width // 2, "height": image.height // 2}
    bundle = {"image/png": b64encode(png(image)).decode(), "text/plain": repr(fig)}
    display(bundle, raw=True, metadata={"image/png": {"alt": alt} | size})


def budget_line(axis, threshold, label="budget τ"):
    """Draw the budget as a labelled horizontal line."""
    axis.axhline(threshold, color=THRESHOLD, linestyle=(0, (1, 1)), linewidth=1.5)
    axis.annotate(
        f"{label} = {threshold:g}",
        (1, threshold),
        xycoords=("axes fraction", "data"),
        xytext=(-2, 3),
        textcoords="offset points",
        ha="right",
        fontsize=9,
        bbox=BEHIND,
    )


def show_bars(names, panels, alt, budget=None):
    """Display bars with their numbers, a row a name; panels: label → values, colour or colours.

    `budget` is (label, value, what it is), a dotted line in that panel; where bars are far longer
    than it, the scale is linear up to it and logarithmic beyond.
    """
    size = 4.5 + 2.2 * len(panels), 1 + 0.33 * len(names)
    fig, axes = plt.subplots(1, len(panels), figsize=size, sharey=True, squeeze=False)
    for axis, (label, (values, shade)) in zip(axes[0], panels.items(), strict=True):
        axis.barh(names, values, color=shade)
        for row, value in enumerate(values):
            text, side = f" {value:.3g} ".replace("-", "−"), "right" if value < 0 else "left"
            axis.annotate(text, (value, row), ha=side, va="center", fontsize=9, bbox=BEHIND)
        axis.set(xlabel=label, xlim=(1.3 * min(0, *values), 1.25 * max(values)))
        if budget and budget[0] == label:
            axis.axvline(budget[1], color=THRESHOLD, linestyle=":")
            axis.set_title(f"dotted: {budget[2]}", fontsize=9)
            if max(values) > 20 * budget[1]:
                axis.set_xscale("symlog", linthresh=budget[1])
                axis.set_xlim(0, 6 * max(values))
    axes[0, 0].invert_yaxis()
    figure(fig, alt)


def name_at_curve(axis, x, y, name, color, **text):
    """Write `name` in the curve's colour just above (x, y), in data coordinates."""
    text = {"fontsize": 9, "va": "bottom"} | text
    axis.annotate(name, (x, y), xytext=(0, 2), textcoords="offset points", color=color, **text)


def lines(curves, alt, level=None, **axes):
    """A figure of curves (y or (x, y), colour, name, place of the name), with a dashed `level`."""
    fig, axis = plt.subplots(figsize=(8, 2.8))
    for curve, color, name, place in curves:
        axis.plot(*curve if isinstance(curve, tuple) else (curve,), color=color)
        name_at_curve(axis, *place, name, color)
    if level:
        axis.axhline(level[0], color=THRESHOLD, linestyle="--", linewidth=1)
        name_at_curve(axis, 1, *level, THRESHOLD)
    axis.set(**axes)
    figure(fig, alt)


def read_log(path):
    """A CSV with a header → dict of float arrays (empty cells are NaN)."""
    table = np.genfromtxt(path, delimiter=",", names=True)
    return {name: np.atleast_1d(table[name]) for name in table.dtype.names}
