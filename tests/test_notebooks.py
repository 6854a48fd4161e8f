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


def solutions(path):
    """The folded solutions of a notebook: name → source."""
    cells = json.loads(path.read_text())["cells"]
    text = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    blocks = re.findall(r"<summary>Solution</summary>\s*```python\n(.*?)```", text, re.S)
    return {re.search(r"def (\w+)", block)[1]: block for block in blocks}


def test_the_solutions_of_lesson_02_pass_and_slips_are_named(capsys):
    import numpy as np

    from safemarl_lite import checks
    from safemarl_lite.swarm import InfeasibleTask, SwarmTask

    scope = {"np": np, "SwarmTask": SwarmTask, "InfeasibleTask": InfeasibleTask}
    for source in solutions(ROOT / "notebooks/02_swarm_environment.ipynb").values():
        exec(source, scope)
    right = scope["my_drone_costs"]
    cases = [
        (checks.check_drone_costs, right, "correct"),
        (checks.check_drone_costs, lambda p, d: right(p, d) / 2, "half"),
        (checks.check_drone_costs, lambda p, d: right(p, d) + len(p), "own neighbour"),
        (checks.check_drone_costs, lambda p, d: right(p, d + 1e-9), "strict"),
        (checks.check_goal_radius, scope["my_goal_radius"], "correct"),
        (checks.check_goal_radius, lambda d: d / 2**0.5, "square"),
        (checks.check_goal_radius, lambda d: (3 / 8) ** 0.5, "multiply by d"),
        (checks.check_is_feasible, scope["my_is_feasible"], "correct"),
        (checks.check_is_feasible, lambda **f: bool(SwarmTask(**f)), "catch it"),
        (checks.check_is_feasible, lambda **f: None, "should be True"),
    ]
    for check, answer, line in cases:
        check(answer)
        said = capsys.readouterr().out
        assert line in said and said.count("\n") == 1, said
