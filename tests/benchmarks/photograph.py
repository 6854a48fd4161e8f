"""Stills of the live scenes, and flights as moving pictures, photographed in Chromium.

    python tests/benchmarks/photograph.py stills   # in the notebooks and figures/stills/
    python tests/benchmarks/photograph.py three    # three.webp, from 05_watched.json
    python tests/benchmarks/photograph.py many     # many.webp, from runs/swarm_any

All draw with the scripts of the pages themselves, so that a still is what a reader grabs.
"""

import argparse
import io
import json
import re
from base64 import b64encode
from html import escape, unescape
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from safemarl_lite import load
from safemarl_lite.lessons import any_swarm, player, scenes, style

ROOT = Path(__file__).parents[2]
CHROMIUM = "/usr/bin/chromium"
POSES = {  # what the scene shows on its still
    "00_flight": "scene.at(27)",
    "01_front": "scene.set(0.5); scene.fly(2000)",
    "01_dual": "scene.set(1)",
    "02_flight": "scene.at(40)",
    "03_attention": "scene.silence(null)",
    "04_phase": "scene.gains(0.2, 0.03); scene.at(1499)",
    "04_multiplier": "scene.race('step'); scene.race('pi')",
    "05_three": "scene.at(40)",
    "05_flight": "scene.at(45)",
    "07_flight": "scene.at(70)",
    "05_training": "scene.choose(2); scene.set(999); scene.clock(40)",
    "06_training": "scene.choose(1); scene.set(999); scene.clock(20)",
}
BARE = ".prompt, .row, .caption, .handle::after { display: none !important } body { padding: 6px }"


def framed(document: str, dark: bool = False) -> str:
    """A page around one scene, as JupyterLab is one."""
    tone = "#12171e" if dark else style.PAPER
    quoted = document.replace("&", "&amp;").replace('"', "&quot;")
    return (
        f'<body data-jp-theme-light="{str(not dark).lower()}" style="margin:0;background:{tone}">'
        f'<iframe srcdoc="{quoted}" style="width:100%;height:480px;border:0"></iframe></body>'
    )


def bare(page: Page, document: str, dark: bool = False):
    """Show a scene without its words and buttons → its frame."""
    page.set_content(framed(document, dark))
    frame = page.frames[1]
    frame.wait_for_function("window.scene")
    frame.add_style_tag(content=BARE)
    page.wait_for_timeout(300)
    return frame


def shoot(page: Page) -> Image.Image:
    """A photograph of the frame in its full height."""
    page.wait_for_timeout(150)
    return Image.open(io.BytesIO(page.locator("iframe").screenshot()))


def stills(page: Page) -> None:
    """Photograph every named scene of the executed notebooks, and put still and scene, made anew by
    the scripts as they are now from the data that the cell computed, into the cell's outputs."""
    folder = ROOT / "figures" / "stills"
    folder.mkdir(exist_ok=True)
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        book = json.loads(path.read_text())
        for cell in book["cells"]:
            outputs = [o for o in cell.get("outputs", ()) if "data" in o]
            for picture, alive in zip(outputs, outputs[1:], strict=False):
                html = "".join(alive["data"].get("text/html", ""))
                found = re.search(r'data-still="(\w*)" srcdoc="([^"]*)"', html)
                if not found:
                    continue
                given = re.search(r'id="data">(.*?)</script>', unescape(found[2]))[1]
                given, name = json.loads(given), found[1]
                document = player.page(given["scene"], given["data"])
                alive["data"]["text/html"] = html.replace(found[2], escape(document)).splitlines(
                    keepends=True
                )
                if not name:
                    continue
                frame = bare(page, document)
                frame.evaluate(f"{{ shade.paper = '{style.PAPER}'; {POSES.get(name, '')} }}")
                image = shoot(page).convert("RGB").quantize(200, dither=Image.Dither.NONE)
                image.save(folder / f"{name}.png", optimize=True)
                png = (folder / f"{name}.png").read_bytes()
                picture["data"]["image/png"] = b64encode(png).decode()
                print(name, image.size, f"{len(png) / 1000:.0f} kB")
        path.write_text(json.dumps(book, indent=1, ensure_ascii=False) + "\n")


def moving(page: Page, data: dict, out: Path, pose: str, step: float) -> None:
    """A scene of flights, played once, as an animated WebP on a dark ground."""
    frame = bare(page, player.page("flight", player.plain(data)), dark=True)
    frame.add_style_tag(content=".stage + .stage { display: none }")
    frame.evaluate(f"{{ scene.play(false); {pose} }}")
    last, images, at = frame.evaluate("scene.state().steps"), [], 0.0
    while at < last + step:
        frame.evaluate(f"scene.turn(0.004, 0); scene.at({min(at, last)})")
        images.append(shoot(page).convert("RGB"))
        at += step
    pace = [80] * (len(images) - 1) + [2500]  # ms
    for quality in (60, 40, 20):
        options = {"append_images": images[1:], "duration": pace, "loop": 0, "method": 3}
        images[0].save(out, save_all=True, quality=quality, **options)
        if out.stat().st_size < 2.8e6:
            break
    print(out, images[0].size, len(images), "frames", f"{out.stat().st_size / 1e6:.2f} MB")


def three(page: Page) -> None:
    """The last flights of `05_watched.json`, side by side: README and lesson 00 open with them."""
    watched = json.loads((ROOT / "figures" / "05_watched.json").read_text())
    out, pose = ROOT / "figures" / "three.webp", "scene.pose({ pitch: 0.42 })"
    moving(page, scenes.last_flights(watched), out, pose, 1.0)


def many(page: Page) -> None:
    """64 drones among obstacles that move, flown by the policy for any swarm."""
    policy = load(str(ROOT / "figures/runs/swarm_any"), n_drones=64)
    data = any_swarm.flown(policy, 26, "64 drones, trained with 13")
    moving(page, data, ROOT / "figures" / "many.webp", "scene.pose({ pitch: 0.3 })", 1.5)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=("stills", "three", "many"))
    what = parser.parse_args().what
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        scale, width = (2, 900) if what == "stills" else (1, 1120)
        page = browser.new_page(viewport={"width": width, "height": 480}, device_scale_factor=scale)
        {"stills": stills, "three": three, "many": many}[what](page)
        browser.close()


if __name__ == "__main__":
    main()
