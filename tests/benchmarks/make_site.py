"""The executed lessons as a static site without a network: `tests/benchmarks/make_site.py`.

nbconvert renders the pages; formulas become MathML while it does (browsers draw it without any
script), live pictures travel in their cells' outputs, links lead from page to page.
"""

import argparse
import html
import re
import shutil
from pathlib import Path

from latex2mathml.converter import convert
from nbconvert import HTMLExporter
from nbconvert.filters import markdown2html

ROOT = Path(__file__).parents[2]
MATH = re.compile(r"(?s)<(code|pre)\b.*?</\1>|\$\$(.+?)\$\$|\$([^$\n]+?)\$")
STYLE = """<style>math{font-size:1.12em}math[display=block]{margin:.6em 0}
main{max-width:1000px;margin:auto}</style>"""


def with_mathml(text: str) -> str:
    """HTML with $…$ and $$…$$ outside of code → the same with MathML."""

    def one(found):
        formula = html.unescape(found[2] or found[3] or "")
        if not formula:  # code
            return found[0]
        formula = re.sub(r"\\tag\{(.*?)\}", r"\\qquad\\text{(\1)}", formula)  # MathML has no tags
        return convert(formula, display="block" if found[2] else "inline")

    return MATH.sub(one, text)


def render(path: Path) -> str:
    """One executed notebook as a whole page; its own links lead to its neighbours."""
    exporter = HTMLExporter(mathjax_url="", require_js_url="", jquery_url="", embed_images=False)
    exporter.register_filter("markdown2html", lambda source: with_mathml(markdown2html(source)))
    exporter.exclude_input_prompt = exporter.exclude_output_prompt = True
    page = exporter.from_filename(str(path))[0]
    page = re.sub(r'(href="[\w./]*?)\.ipynb', r"\1.html", page)
    page = re.sub(r'((?:href|src)=")\.\./figures/', r"\1figures/", page)
    page = re.sub(r"<script src=\"\"></script>|<script[^>]*src=\"https?:[^>]*></script>", "", page)
    return re.sub(r"(<body[^>]*>)", rf"{STYLE}\1", page, count=1)


def title(path: Path) -> str:
    """`notebooks/01_constrained_mdp.ipynb` → "01 constrained mdp"."""
    return path.stem.replace("_", " ")


def main() -> None:
    """Write the site into a folder."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=ROOT / "site")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    pages = sorted((ROOT / "notebooks").glob("*.ipynb"))
    for path in pages:
        (out / f"{path.stem}.html").write_text(render(path), "utf-8")
    shutil.copytree(ROOT / "figures", out / "figures", dirs_exist_ok=True)
    items = "".join(f"<li><a href='{path.stem}.html'>{title(path)}</a></li>" for path in pages)
    head = "<!doctype html><html lang='en'><meta charset='utf-8'><title>safemarl_lite</title>"
    body = "<body style='font:18px/1.7 system-ui,sans-serif;max-width:40em;margin:3em auto'>"
    text = f"<h1>safemarl_lite</h1><p>Safe multi-agent reinforcement learning.</p><ul>{items}</ul>"
    (out / "index.html").write_text(head + body + text + "</body></html>", "utf-8")
    print(out / "index.html")


if __name__ == "__main__":
    main()
