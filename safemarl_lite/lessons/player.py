"""Pictures that are grabbed: a still picture, and the same one alive, in the output of one cell.

`show` displays the still as PNG (GitHub and untrusted pages show it) and then an `<iframe>` whose
document holds everything it needs; its script hides the still. No kernel, no network, no widget
state. The scripts lie in `js/`: `core.js` is shared, each scene's file is named in `SCENES`. The
stills are photographs of the scenes: `python tests/benchmarks/photograph.py` makes them again.
"""

import html
import json
from base64 import b64encode
from pathlib import Path

import numpy as np
from IPython.display import display
from matplotlib.figure import Figure

from .style import picture, png

SCRIPTS = Path(__file__).parent / "js"
STILLS = Path(__file__).parents[2] / "figures" / "stills"
SCENES = {  # scene → its scripts, after core.js
    "front": ("lesson_01",),
    "dual": ("lesson_01",),
    "feasible": ("lesson_02",),
    "flight": ("flight",),
    "attention": ("lesson_03",),
    "phase": ("lesson_04",),
    "multiplier": ("lesson_04",),
    "training": ("flight", "training"),
    "stills": ("stills",),
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
    names = ("page.css", "core.js", *(f"{name}.js" for name in SCENES[scene]))
    style, *scripts = ((SCRIPTS / name).read_text("utf-8") for name in names)
    script = "\n".join(scripts)
    given = json.dumps({"scene": scene, "data": plain(data)}, separators=(",", ":"))
    given = given.replace("</", "<\\/")  # no text of ours ends the script
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{scene}</title>'
        f"<style>{style}</style><body>"
        f'<script type="application/json" id="data">{given}</script>'
        f"<script>{script}\nstart();</script></body></html>"
    )


def show(scene: str, data: dict, still: bytes | str, alt: str) -> None:
    """Display a still (PNG, or the name of one in `STILLS`), its text `alt`, and the live scene,
    which takes the still's place where scripts run."""
    shot = still if isinstance(still, bytes) else (STILLS / f"{still}.png").read_bytes()
    bundle = {"image/png": b64encode(shot).decode(), "text/plain": alt}
    display(bundle, raw=True, metadata={"image/png": {"alt": alt}})
    name = "" if isinstance(still, bytes) else still
    document = html.escape(page(scene, data))
    frame = (
        f'<iframe data-still="{name}" srcdoc="{document}" title="{html.escape(alt)}" '
        'style="width:100%;height:480px;border:0" scrolling="no"></iframe>'
    )
    display({"text/html": frame, "text/plain": f"(live: {alt})"}, raw=True)


def stills(label: str, figures: dict[object, Figure], alt: str, start: int = 0) -> None:
    """Display figures as one that changes while a slider is dragged; closes them."""
    pictures = []
    for name, fig in figures.items():
        pictures.append((str(name), png(picture(fig, 150))))
    urls = [[name, f"data:image/png;base64,{b64encode(shot).decode()}"] for name, shot in pictures]
    show("stills", {"label": label, "pictures": urls, "start": start}, pictures[start][1], alt)
