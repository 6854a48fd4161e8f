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
