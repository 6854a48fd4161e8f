"""Widgets of the pages: a control above a picture; moving it needs a running kernel."""

from io import BytesIO

import matplotlib.pyplot as plt
from ipywidgets import Dropdown, FloatSlider, Image, VBox


class SliderPanel(VBox):
    """A slider above the picture `draw(value)`, a figure; moving it needs a running kernel."""

    def __init__(self, draw, label, value, low, high, step):
        self.picture = Image(format="png")
        self.slider = FloatSlider(value, min=low, max=high, step=step, description=label)
        self.slider.continuous_update = False
        self.slider.observe(lambda change: self.redraw(draw, change["new"]), "value")
        self.redraw(draw, value)
        super().__init__([self.slider, self.picture])

    def redraw(self, draw, value):
        fig, png = draw(value), BytesIO()
        fig.savefig(png, format="png")
        plt.close(fig)
        self.picture.value = png.getvalue()

    def __repr__(self):  # the same on every machine, for nbval
        return "SliderPanel(slider, picture)"


class ChoicePanel(SliderPanel):
    """A list of choices above the picture `draw(choice)`; choosing needs a running kernel."""

    def __init__(self, draw, label, choices):
        self.picture, self.menu = Image(format="png"), Dropdown(options=choices, description=label)
        self.menu.observe(lambda change: self.redraw(draw, change["new"]), "value")
        self.redraw(draw, self.menu.value)
        VBox.__init__(self, [self.menu, self.picture])

    def __repr__(self):
        return "ChoicePanel(menu, picture)"
