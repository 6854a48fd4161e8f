"""What strict nbval does not see: order, alt text, size, widgets, length of cells."""

import ast
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_committed_notebook(path):
    book = json.loads(path.read_text())
    code = [c for c in book["cells"] if c["cell_type"] == "code"]
    assert [c["execution_count"] for c in code] == list(range(1, len(code) + 1))
    assert "widgets" not in book["metadata"] and book["metadata"]["kernelspec"]["name"] == "python3"
    assert path.stat().st_size < 3_000_000
    sources = ["".join(c["source"]) for c in code]
    lengths = sorted(s.count("\n") + 1 for s in sources)
    assert lengths[len(lengths) // 2] <= 8 and lengths[-1] <= 25
    for source, cell in zip(sources, code, strict=True):
        assert not re.search(r"\binteract\(|clear_output|;\s*$", source)
        ast.parse(re.sub(r"(?m)^%.*$", "", source))
        for output in cell["outputs"]:
            assert output["output_type"] != "error"
            assert "image/svg+xml" not in output.get("data", {})
            if "image/png" in output.get("data", {}):
                assert len(output["metadata"]["image/png"]["alt"]) > 20
            assert not re.search(r"/(home|root|tmp|work)/", json.dumps(output.get("text", "")))


def texts(path):
    """The markdown cells of a page."""
    cells = json.loads(path.read_text())["cells"]
    return ["".join(c["source"]) for c in cells if c["cell_type"] == "markdown"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_page_leads_on_and_back_and_its_links_exist(path):
    pages, at, words = [p.name for p in NOTEBOOKS], NOTEBOOKS.index(path), texts(path)
    neighbours = {pages[k] for k in (at - 1, at + 1) if 0 <= k < len(pages)} | {pages[0]}
    for line in words[1], words[-1]:
        assert neighbours - {path.name} <= set(re.findall(r"\]\(([\w.]+)\)", line))
    for link in re.findall(r"\]\(([^)\s]+)\)", "\n".join(words)):
        if not link.startswith(("http", "#")):
            assert (path.parent / link.partition("#")[0]).exists(), link


def test_the_glossary_names_what_the_code_has():
    (table,) = [text for text in texts(NOTEBOOKS[0]) if text.startswith("## Glossary")]
    rows = [row.split("|")[1:-1] for row in table.splitlines() if row.startswith("| $")]
    code = "\n".join(p.read_text() for p in (ROOT / "safemarl_lite").rglob("*.py"))
    assert len(rows) > 15 and all(len(row) == 4 and row[3].strip() for row in rows)
    for row in rows:
        for name in re.findall(r"`(\w+)`", row[2]):
            assert re.search(rf"\b{name}(_0)?\b", code), name
    with_dollars = [row[0] for row in rows]
    assert len(set(with_dollars)) == len(rows)  # one letter, one row


def test_lesson_00_asks_five_questions_with_folded_answers():
    (asked,) = [text for text in texts(NOTEBOOKS[0]) if "Five questions" in text]
    assert asked.count("<details><summary>Answer</summary>") == 5
