"""What strict nbval does not see: order, alt text, size, widgets, length of cells."""

import ast
import json
import re
from pathlib import Path

import numpy as np
import pytest

from safemarl_lite.lessons import lesson_05

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


def solutions(path):
    """The folded solutions of a notebook: name → source."""
    cells = json.loads(path.read_text())["cells"]
    text = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    blocks = re.findall(r"<summary>Solution</summary>\s*```python\n(.*?)```", text, re.S)
    return {re.search(r"def (\w+)", block)[1]: block for block in blocks}


def test_the_solutions_of_lesson_05_pass_and_slips_are_named(capsys):
    scope = {"np": np}
    for source in solutions(ROOT / "notebooks/05_training_mappo_lagrangian.ipynb").values():
        exec(source, scope)
    step, choose, episodes = (
        lesson_05.check_multiplier_step,
        lesson_05.check_choose,
        lesson_05.check_episodes,
    )
    cases = [
        (step, scope["my_multiplier_step"], "correct"),
        (step, lambda λ, c, τ, a: λ + a * max(0, c - τ), "able to fall"),
        (step, lambda λ, c, τ, a: max(0, λ - a * (c - τ)), "reversed"),
        (step, lambda λ, c, τ, a: λ + a * (c - τ), "negative"),
        (choose, scope["my_choose"], "correct"),
        (choose, lambda x, τ: max(range(len(x)), key=lambda k: x[k][1]), "breaks the budget"),
        (choose, lambda x, τ: min(range(len(x)), key=lambda k: x[k][0]), "the return decides"),
        (episodes, scope["my_episodes_needed"], "correct"),
        (episodes, lambda p, level: int(np.ceil(np.log(level) / np.log(1 - p))), "1 − level"),
    ]
    for check, answer, line in cases:
        check(answer)
        said = capsys.readouterr().out
        assert line in said and said.count("\n") == 1, said
