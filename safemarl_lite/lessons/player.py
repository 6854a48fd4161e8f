"""Pictures that are grabbed: a still picture, and the same one alive, in the output of one cell.

`show` displays the still as PNG (GitHub and untrusted pages show it) and then an `<iframe>` whose
document holds everything it needs; its script hides the still. No kernel, no network, no widget
state. The scripts lie in `js/`: `core.js` is shared, each scene's file is named in `SCENES`.
"""

import html
import json
from pathlib import Path

import numpy as np
from IPython.display import display
from matplotlib.figure import Figure

from .style import figure

SCRIPTS = Path(__file__).parent / "js"
SCENES = {
    "front": "lesson_01",
    "dual": "lesson_01",
    "feasible": "lesson_02",
    "flight": "flight",
    "attention": "lesson_03",
    "phase": "lesson_04",
    "multiplier": "lesson_04",
    "stills": "stills",
}


def plain(value):
    """Arrays → lists, floats → ten significant digits."""
    if isinstance(value, dict):
        return {name: plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    return float(f"{value:.10g}") if isinstance(value, float) else value


def page(scene: str, data: dict) -> str:
    """A whole HTML document of one scene with its data."""
    style, core, script = (
        (SCRIPTS / name).read_text("utf-8")
        for name in ("page.css", "core.js", f"{SCENES[scene]}.js")
    )
    given = json.dumps({"scene": scene, "data": plain(data)}, separators=(",", ":"))
    given = given.replace("</", "<\\/")  # no text of ours ends the script
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{scene}</title>'
        f"<style>{style}</style><body>"
        f'<script type="application/json" id="data">{given}</script>'
        f"<script>{core}\n{script}\nstart();</script></body></html>"
    )


def show(scene: str, data: dict, still: Figure, alt: str, height: int = 480) -> None:
    """Display `still` with its text `alt`, and in its place, where scripts run, the live scene."""
    figure(still, alt)
    frame = (
        f'<iframe srcdoc="{html.escape(page(scene, data))}" title="{html.escape(alt)}" '
        f'style="width:100%;height:{height}px;border:0" scrolling="no"></iframe>'
    )
    display({"text/html": frame, "text/plain": f"(live: {alt})"}, raw=True)
