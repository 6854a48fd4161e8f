"""Widgets of the pages: a control above a picture; moving it needs a running kernel."""

from base64 import b64encode
from io import BytesIO

import matplotlib.pyplot as plt
from ipywidgets import FloatSlider, Image, VBox


class SliderPanel(VBox):
    """A slider above the picture `draw(value)`, a figure; moving it needs a running kernel.

    `draw` gets `value` on the slider's grid, an int where `step` is one. Where no kernel runs,
    the page shows the first picture, with the alternative text `alt`.
    """

    def __init__(self, draw, label, value, low, high, step, alt="A picture with a slider"):
        self.picture, self.alt = Image(format="png"), alt
        self.slider = FloatSlider(value, min=low, max=high, step=step, description=label)
        self.slider.readout_format = "d" if isinstance(step, int) else ".2f"

        def moved(change):  # the browser sends 20.999999999999996 for 21
            on_grid = low + step * round((change["new"] - low) / step)
            self.redraw(draw, on_grid)

        self.slider.observe(moved, "value")
        self.slider.continuous_update = False
        self.redraw(draw, value)
        super().__init__([self.slider, self.picture])

    def redraw(self, draw, value):
        fig, png = draw(value), BytesIO()
        fig.savefig(png, format="png")
        width = f"{fig.get_figwidth() * fig.dpi:.0f}px"
        plt.close(fig)
        self.picture.value = png.getvalue()
        self.picture.layout.width = width
        if hasattr(self, "slider"):
            self.slider.layout.width = width

    def _repr_mimebundle_(self, **options):
        still = {"image/png": b64encode(self.picture.value).decode()}
        return super()._repr_mimebundle_(**options) | still, {"image/png": {"alt": self.alt}}

    def __repr__(self):  # the same on every machine, for nbval
        return "SliderPanel(slider, picture)"
