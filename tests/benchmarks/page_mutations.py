"""Do the pages notice? Mutations of each lesson's modules, and the cell that strict nbval fails at.

    PYTHONPATH=. python tests/benchmarks/page_mutations.py             # every lesson
    PYTHONPATH=. python tests/benchmarks/page_mutations.py 01 04
    PYTHONPATH=. python tests/benchmarks/page_mutations.py --sound     # no mutation: one and two
                                                    threads, and without the CPU's vector units

Each mutation changes a copy of the repository, in which the lesson's page runs under nbval until
the first cell that differs; cells that print nothing and whose names no later cell needs (figures)
are left out, as they compare nothing. Last, without a mutation, the same page is green down to the
last cell that caught one. The tables go to `figures/page_mutations.json`: mutation, kind, the cell
that caught it.
"""

import argparse
import ast
import json
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import nbformat  # noqa: F401  loaded before the forks
import nbval.kernel
import pytest

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "figures/page_mutations.json"
MUTATIONS = {  # lesson → (kind, file, text, what replaces it)
    "01": [
        ("sign", "cmdp.py", "linprog(-cmdp.reward.ravel()", "linprog(cmdp.reward.ravel()"),
        ("sign", "cmdp.py", "np.maximum(-result.ineqlin.marginals, 0)",
         "np.maximum(result.ineqlin.marginals, 0)"),
        ("discount", "cmdp.py", "- cmdp.discount * cmdp.transition.reshape",
         "- cmdp.transition.reshape"),
        ("axis", "cmdp.py", "np.linalg.solve(bellman.T, cmdp.start)",
         "np.linalg.solve(bellman, cmdp.start)"),
        ("comparison", "cmdp.py", "result.slack < 1e-9", "result.slack > 1e-9"),
        ("mask", "cmdp.py", "visits > 1e-10, x /", "visits > 1e3, x /"),
        ("sign", "cmdp.py", "np.maximum(0, λ + eta *", "np.maximum(0, λ - eta *"),
    ],
    "02": [
        ("comparison", "swarm/task.py", "return gap < reach", "return gap > reach"),
        ("mask", "swarm/task.py", "d_safe).sum(-1) - 1.0", "d_safe).sum(-1)"),
        ("sign", "swarm/world.py", "rewards = before.remaining - self.seen.remaining",
         "rewards = self.seen.remaining - before.remaining"),
        ("mask", "swarm/world.py", "terminated = inside.all(-1)", "terminated = inside.any(-1)"),
        ("axis", "swarm/task.py", "positions[..., :, None, :] - others[..., None, :, :]",
         "positions[..., None, :, :] - others[..., :, None, :]"),
        ("sign", "swarm/view.py", "lengths(ways), places - positions",
         "lengths(ways), positions - places"),
        ("discount", "evaluate.py", "        weight *= env.task.discount\n", ""),
    ],
    "03": [
        ("mask", "critics.py", "itself = torch.eye(n, dtype=torch.bool, device=o.device)",
         "itself = torch.zeros(n, n, dtype=torch.bool, device=o.device)"),
        ("axis", "critics.py", "weights / weights.sum(-1, keepdim=True)",
         "weights / weights.sum(-2, keepdim=True)"),
        ("sign", "critics.py", "return (x - self.mean) /", "return (x + self.mean) /"),
        ("comparison", "critics.py", "if not self.centralized:\n            return observations",
         "if False:\n            return observations"),
        ("discount", "lagrangian.py", "ahead = delta[t] + discount * trace * carries[t]",
         "ahead = delta[t] + trace * carries[t]"),
        ("mask", "lagrangian.py", "trace * carries[t] * ahead", "trace * ahead"),
        ("scale", "critics.py", "(self.var + 1e-6).sqrt()", "(self.var + 1e-6)"),
    ],
    "04": [
        ("sign", "lagrangian.py", "reward - (cost * multipliers)", "reward + (cost * multipliers)"),
        ("sign", "lagrangian.py", "return -torch.min(ratio", "return torch.min(ratio"),
        ("mask", "lagrangian.py", "delta = signal + discount * goes_on * next_values",
         "delta = signal + discount * next_values"),
        ("discount", "lagrangian.py", "ahead = delta[t] + discount * trace",
         "ahead = delta[t] + trace"),
        ("sign", "lagrangian.py", "violation = np.clip(costs - self.thresholds",
         "violation = np.clip(self.thresholds - costs"),
        ("mask", "lagrangian.py", "np.clip(self.integral + step * violation, 0, self.most)",
         "np.clip(self.integral + step * np.maximum(0, violation), 0, self.most)"),
        ("axis", "lagrangian.py", "(cost * multipliers).sum(-1)", "(cost * multipliers).sum(0)[0]"),
        ("comparison", "lagrangian.py", "-torch.min(ratio", "-torch.max(ratio"),
    ],
    "05": [
        ("sign", "mappo.py", "((action - old) ** 2 - (action - mean) ** 2)",
         "((action - mean) ** 2 - (action - old) ** 2)"),
        ("mask", "mappo.py", 'data["terminated"], ended, *settings', "ended, ended, *settings"),
        ("discount", "step.py", "first * discount ** torch.arange(len(first))[:, None]",
         "first * torch.ones(len(first))[:, None]"),
        ("axis", "step.py", 'data["costs"].sum(2)', 'data["costs"].mean(2)'),
        ("signal", "mappo.py", 'data["rewards"][..., None], data["surrogate"]',
         'data["rewards"][..., None], data["costs"]'),
        ("state", "mappo.py", 'data["next_observations"][ended], data["next_state"][ended]',
         'data["view"][ended], data["state"][ended]'),
        ("comparison", "evaluate.py", "costs[costs > 0], 1 - (1 - level) / 2",
         "costs[costs >= 0], 1 - (1 - level) / 2"),
        ("state", "learner.py", '        self.generator.set_state(state["generator"])\n', ""),
    ],
    "06": [
        ("sign", "macaac.py", "return q - (policy * q)", "return q + (policy * q)"),
        ("mask", "macaac.py", "discount * goes_on[:, None, None] * next_values",
         "discount * next_values"),
        ("discount", "macaac.py", "signals[:, None] + discount * goes_on",
         "signals[:, None] + goes_on"),
        ("axis", "macaac.py", "(policy * q).sum(-1, keepdim=True)",
         "(policy * q).sum(0, keepdim=True)"),
        ("sign", "macaac.py", "q[..., 0] + (q[..., 1:] * multipliers)",
         "q[..., 0] - (q[..., 1:] * multipliers)"),
        ("comparison", "navigation/world.py", "self._gaps.amin(1) < 2 * RADIUS",
         "self._gaps.amin(1) > 2 * RADIUS"),
        ("axis", "navigation/world.py", "self._distances.amin(0).sum(0)",
         "self._distances.amin(1).sum(0)"),
        ("mask", "critics.py", "itself = torch.eye(n, dtype=torch.bool, device=o.device)",
         "itself = torch.zeros(n, n, dtype=torch.bool, device=o.device)"),
    ],
    "07": [
        ("sign", "statewise.py", "least = state_values(cmdp, best_response(cmdp, -cmdp.costs[0])",
         "least = state_values(cmdp, best_response(cmdp, cmdp.costs[0])"),
        ("sign", "statewise.py", "np.maximum(-found.ineqlin.marginals, 0)",
         "np.maximum(found.ineqlin.marginals, 0)"),
        ("discount", "statewise.py", "np.eye(len(weights)) - cmdp.discount * policy_matrix",
         "np.eye(len(weights)) - 0.5 * policy_matrix"),
        ("axis", "statewise.py", "(weights @ M) / (cmdp.start @ M)",
         "(M @ weights) / (M @ cmdp.start)"),
        ("comparison", "statewise.py", "if merit(to) > merit(exact)",
         "if merit(to) < merit(exact)"),
        ("mask", "mappo_statewise.py", "sums = sums + price", "sums = price"),
    ],
}  # fmt: skip


def names(code):
    """What a cell defines or may change in place, and what it reads."""
    made, read = set(), set()
    for node in ast.walk(ast.parse(re.sub(r"(?m)^%.*$", "", code))):
        if isinstance(node, ast.Name):
            (read if isinstance(node.ctx, ast.Load) else made).add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            made.add(node.name)
        elif isinstance(node, ast.alias):
            made.add((node.asname or node.name).partition(".")[0])
        inside = node.value if isinstance(node, ast.Expr) else node
        if isinstance(inside, ast.Call) and isinstance(node, ast.Expr):
            inside = inside.func  # perhaps x.append(…)
        elif not isinstance(getattr(inside, "ctx", None), ast.Store):
            continue
        while isinstance(inside, ast.Attribute | ast.Subscript):
            inside = inside.value
        if isinstance(inside, ast.Name):
            made.add(inside.id)
    return made, read


def prints(cell):
    """Whether strict nbval compares something of the cell."""
    for output in cell["outputs"]:
        if output["output_type"] == "stream" and output["name"] == "stdout":
            return True
        if output.get("data", {"image/png": ""}).keys() <= {"text/plain"}:
            return True
    return False


def cut(page):
    """Leave out of a page what compares nothing and hands nothing on."""
    book, kept, needed = json.loads(page.read_text()), [], set()
    code = [cell for cell in book["cells"] if cell["cell_type"] == "code"]
    for cell in code[::-1]:
        made, read = names("".join(cell["source"]))
        if cell is code[0] or prints(cell) or made & needed:
            kept.insert(0, cell)
            needed |= read
    page.write_text(json.dumps(book | {"cells": kept}))


def forked(folder, words, env):
    """pytest in a fork, which has it loaded → its exit code, and what it printed."""
    read, write = os.pipe()
    if (child := os.fork()) == 0:
        os.environ.update(env)
        os.chdir(folder)
        os.dup2(write, 1)
        os.dup2(write, 2)
        os._exit(int(pytest.main([*words, "--rootdir", str(folder)])))
    os.close(write)
    said = b""
    while part := os.read(read, 1 << 16):
        said += part
    os.close(read)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), said.decode(errors="replace")


def nbval(folder, lesson, **env):
    """The page under nbval → the first cell that fails, or None."""
    (page,) = (folder / "notebooks").glob(f"{lesson}_*.ipynb")
    words = ["-q", "-x", "-o", "addopts=", "-p", "no:cacheprovider", "-p", "nbval.plugin",
             "--nbval", "--nbval-current-env", "--nbval-cell-timeout=300",
             "--nbval-sanitize-with=tests/nbval_sanitize.cfg", str(page)]  # fmt: skip
    env = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(folder)} | env
    code, said = forked(folder, words, {"OMP_NUM_THREADS": "1"} | env)
    failed = re.findall(r"(?m)^(?:FAILED|ERROR) (\S+::.*?)(?: - .*)?$", said)
    if not code:
        return None
    cell = re.search(r"::ipynb::Cell (\d+)|::Cell (\d+)", failed[0] if failed else "")
    if not cell:
        return failed[0].split("::")[-1] if failed else said[-200:]
    code = [c for c in json.loads(page.read_text())["cells"] if c["cell_type"] == "code"]
    return code[int(cell[1] or cell[2])]["id"]


def copy_of(folder):
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    for name in filter(None, files.stdout.split("\0")):
        if (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)


def mutate(lesson, folder, done, first):
    """The table of a lesson, its first mutations; `done` of it stands already."""
    rows = [row for row in done if row["caught by"] and row["file"]]
    known = {(row["file"], row["change"]) for row in rows}
    (page,) = (folder / "notebooks").glob(f"{lesson}_*.ipynb")
    cut(page)
    for kind, file, old, new in MUTATIONS[lesson][:first]:
        path, change = folder / "safemarl_lite" / file, f"{old.strip()} → {new.strip() or '(gone)'}"
        if (file, change) in known:
            continue
        text = path.read_text()
        assert text.count(old) >= 1, f"{file} no longer holds {old!r}"
        path.write_text(text.replace(old, new))
        caught = nbval(folder, lesson)
        path.write_text(text)
        rows.append({"kind": kind, "file": file, "change": change, "caught by": caught})
        print(f"{lesson} | {kind} | {file} | {change} | {caught or 'ALIVE'}", flush=True)
        yield rows
    book, cells = json.loads(page.read_text()), [row["caught by"] for row in rows]
    last = max(k for k, cell in enumerate(book["cells"]) if cell["id"] in cells)
    page.write_text(json.dumps(book | {"cells": book["cells"][: last + 1]}))
    caught = nbval(folder, lesson)
    print(f"{lesson} | no mutation | {caught or 'green'}", flush=True)
    rows.append({"kind": "control", "file": "", "change": "none", "caught by": caught})
    yield rows


def run():
    look = argparse.ArgumentParser()
    look.add_argument("lessons", nargs="*", default=[])
    look.add_argument("--first", type=int, default=99, help="as many of each lesson")
    look.add_argument("--sound", action="store_true")
    given = look.parse_args()
    lessons = given.lessons or list(MUTATIONS)
    with tempfile.TemporaryDirectory() as name:
        copy_of(folder := Path(name))
        table = json.loads(TABLE.read_text()) if TABLE.exists() else {}
        for lesson in lessons:
            if given.sound:
                ways = {"one thread": {}, "two threads": {"OMP_NUM_THREADS": "2"},
                        "no vector units": {"ATEN_CPU_CAPABILITY": "default"}}  # fmt: skip
                found = {way: nbval(folder, lesson, **env) or "green" for way, env in ways.items()}
                table.setdefault("sound", {})[lesson] = found
                print(lesson, found, flush=True)
                TABLE.write_text(json.dumps(table, indent=1, ensure_ascii=False) + "\n")
                continue
            for rows in mutate(lesson, folder, table.get(lesson, []), given.first):
                table[lesson] = rows
                TABLE.write_text(json.dumps(table, indent=1, ensure_ascii=False) + "\n")
    if not given.sound:
        alive = [row for lesson in MUTATIONS for row in table.get(lesson, [])
                 if row["file"] and not row["caught by"]]  # fmt: skip
        print("alive:", len(alive))


if __name__ == "__main__":
    run()
