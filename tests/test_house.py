"""The rooms of the house: what may import what, how large a file is, what a module brings along."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "safemarl_lite"
FILES = sorted(PACKAGE.rglob("*.py"))
CORE = [path for path in FILES if "lessons" not in path.parts]
TREES = {path: ast.parse(path.read_text()) for path in FILES}
LEARNERS = {"mappo", "macaac", "as_printed"}
THEORY = {"cmdp", "lagrangian", "critics", "settings", "actors", "step", "parallel"}
THEORY |= {"equivariant", "reading", "halves", "statewise"}


def module(path):
    """`swarm/task.py` → `swarm.task`."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


def imports(path, tree=None):
    """The modules of this package that a file imports, here or inside a function."""
    found, here = set(), ["safemarl_lite", *path.relative_to(PACKAGE).parts[:-1]]
    for node in ast.walk(tree or TREES[path]):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = [*here[: len(here) + 1 - node.level], *(node.module or "").split(".")]
            base = [part for part in base if part][1:]
            found |= {".".join([*base, x.name]) for x in node.names} | {".".join(base)}
        elif isinstance(node, ast.ImportFrom) and node.module.startswith("safemarl_lite"):
            base = node.module.split(".")[1:]
            found |= {".".join([*base, x.name]) for x in node.names} | {".".join(base)}
        elif isinstance(node, ast.Import):
            found |= {x.name.removeprefix("safemarl_lite.") for x in node.names}
    return found & {module(path) for path in FILES}


def test_arrows_run_one_way():
    for path in FILES:
        name, used = module(path), imports(path)
        rooms = {x.split(".")[0] for x in used}
        if name.split(".")[0] in THEORY:
            assert not rooms - THEORY, f"{name} knows its users: {rooms - THEORY}"
        if name.split(".")[0] in ("swarm", "navigation"):
            assert not rooms - THEORY - {name.split(".")[0]}, name
        if name in LEARNERS | {"learner", "replay"}:
            assert not rooms & {"swarm", "navigation", "evaluate", "runs"}, name
        if name in ("mappo", "macaac", "learner"):
            assert not rooms & LEARNERS - {name}, f"{name} knows another learner"
        if name.split(".")[0] not in ("lessons", "__main__"):
            assert "lessons" not in rooms, f"{name} imports lessons"


def test_the_rule_of_arrows_sees_imports():
    assert {"cmdp", "lagrangian", "mappo"} <= imports(PACKAGE / "as_printed.py")
    assert "swarm.world" in imports(PACKAGE / "swarm" / "task.py")
    assert "lessons.lesson_05" in imports(PACKAGE / "__main__.py")
    for line in ("from safemarl_lite.lessons import style", "import safemarl_lite.lessons.style"):
        assert "lessons.style" in imports(PACKAGE / "cmdp.py", ast.parse(line))


def test_files_are_thin():
    lines = {path: len(path.read_text().splitlines()) for path in FILES}
    assert not [p.name for p, n in lines.items() if n > 300]
    assert sum(lines[p] for p in CORE) <= 5450
    assert sum(n for p, n in lines.items() if p not in CORE) <= 3270


def test_no_star_import():
    for path, tree in TREES.items():
        names = [x.name for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) for x in n.names]
        assert "*" not in names, path


def public_functions(tree):
    """Functions and methods without a leading underscore that are not inside another function."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from public_functions(node)
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield node


UNTYPED = {"task", "env", "batch", "config", "seed", "swarm", "self"}  # either world's, either's


@pytest.mark.parametrize("path", CORE, ids=module)
def test_public_functions_carry_types(path):
    for node in public_functions(TREES[path]):
        given = [*node.args.args, *node.args.kwonlyargs]
        bare = [x.arg for x in given if x.annotation is None and x.arg not in UNTYPED]
        assert not bare and node.returns is not None, f"{node.name}: {bare or 'no return type'}"


def python(code, **env):
    """What a fresh interpreter prints."""
    env = os.environ | {"PYTHONPATH": str(ROOT)} | env
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_policy_loads_without_tensorboard_and_matplotlib():
    said = python(
        "import sys, safemarl_lite; safemarl_lite.load('figures/runs/swarm');"
        "print([m for m in ('tensorboard', 'matplotlib', 'pybullet') if m in sys.modules])"
    )
    assert said == "[]\n"


def test_theory_loads_within_a_second():
    """Of CPU: on a busy machine the clock says more."""
    began = os.times()
    assert python("import safemarl_lite.cmdp, sys; print('torch' in sys.modules)") == "False\n"
    spent = os.times()
    seconds = spent.children_user + spent.children_system
    assert seconds - began.children_user - began.children_system < 1


def test_without_pybullet_one_line_says_how_to_get_it():
    blocked = os.pathsep.join([str(ROOT / "tests" / "without_pybullet"), str(ROOT)])
    said = python(
        "import safemarl_lite, safemarl_lite.runs, safemarl_lite.__main__\n"
        "from safemarl_lite.swarm import SwarmTask\n"
        "safemarl_lite.load('figures/runs/swarm')\n"
        "try: from safemarl_lite.swarm import SwarmEnv\n"
        "except ImportError as error: print(error)",
        PYTHONPATH=blocked,
    )
    assert said.count("\n") == 1 and "conda-forge pybullet" in said
    env = os.environ | {"PYTHONPATH": blocked}
    words = [sys.executable, "-m", "safemarl_lite", "evaluate", "figures/runs/swarm"]
    done = subprocess.run(words, env=env, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2 and "needs PyBullet" in done.stderr and done.stderr.count("\n") == 1


def test_bullet_does_not_greet():
    done = subprocess.run(
        [sys.executable, "-c", "from safemarl_lite.swarm import SwarmEnv; SwarmEnv().close()"],
        capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0 and not done.stdout + done.stderr


def test_the_container_installs_as_the_readme_does():
    container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text())
    lines = container["postCreateCommand"].split(" && ")
    readme = (ROOT / "README.md").read_text()
    tests = ".venv/bin/pytest -n 2 --dist loadfile"  # .ci/run calls it
    assert "\n".join(["```bash", *lines, tests, "```"]) in readme
