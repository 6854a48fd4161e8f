"""Do the tests notice? Mutants of the modules, made by cosmic-ray, and the tests that kill them.

    pip install cosmic-ray coverage
    PYTHONPATH=. python tests/benchmarks/mutations.py map             # which test runs which line
    PYTHONPATH=. python tests/benchmarks/mutations.py run --seed 1 --count 150
    PYTHONPATH=. python tests/benchmarks/mutations.py run --again       # survivors only, new tests
    PYTHONPATH=. python tests/benchmarks/mutations.py listed            # those of an inspection
    PYTHONPATH=. python tests/benchmarks/mutations.py control           # no mutation: all pass

`map` runs the tests once (about ten minutes) with coverage's contexts. `run` draws mutants of
the core's modules, spread over them by their lines, and tries each in a copy of the repository, in
a fork that has the libraries loaded: first the fastest of the tests that run the mutated line.
Without a map, and for what runs when a module loads: the tests of its module, by their words
(`NEAR`), the fast files first, as far as 40 s of CPU reach; what is not killed by then counts as
alive. A test that hangs (30 s of CPU) is failed. `control` runs all tests that killed, without a
mutation. Comparisons of types, of strings in messages and annotations are no mutants; those that
change nothing are listed with the reason (`EQUIVALENT`). The table: `figures/mutations.json`.
"""

import argparse
import atexit
import contextlib
import io
import json
import os
import random
import re
import resource
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
WORK = Path(tempfile.gettempdir()) / f"mutations-{os.getpid()}"
MAP = Path(tempfile.gettempdir()) / "mutations.map.json"
TABLE = ROOT / "figures/mutations.json"
SKIP = ("test_browser", "test_house", "test_interface", "test_quoted", "test_notebooks",
        "test_assignment", "test_exercises")  # fmt: skip
SECONDS = 120  # of CPU for one mutant: on a busy machine the clock says more
ONE, ALL = 30, 40  # of CPU for one test; after which no further test begins
RUN = "trust_runs or trust_folders or halves or goes_on or checkpoint or load_flies or separate or "
NEAR = {  # where there is no map: the tests of a module, as words for pytest's -k
    "cmdp": "test_cmdp or negative or best_response or subgradient or policy_matrix",
    "critics": "test_critics or attention or joint_critic or renaming",
    "lagrangian": "gae or multiplier or combined or clipped or infinite or waits or budget",
    "evaluate": "trust.py or recorded or bound or bernstein or needed or ranked or finite or "
    "draws_from or cap",
    "step": "episode_means or reward or stochastic or termination or end_of_an_episode",
    "settings": "bad_settings or bad_fields or wrong_setting or thresholds or absurd or trace or "
    "refused",
    "actors": "stochastic or load_flies or separate or renaming or any_number or nan_weights",
    "parallel": "beyond_one or pettingzoo or bad_actions or bad_options or wrong_ or infos or "
    "spaces or absurd or single or one_world",
    "learner": RUN + "same_numbers",
    "halves": RUN + "same_numbers",
    "pair": RUN + "same_numbers",
    "runs": RUN + "refuse or evaluations or learners_without",
    "folders": RUN + "refuse",
    "mappo": RUN
    + "shipped or advantages or ratio or gradients or price or normaliser or exploration or skill",
    "mappo_statewise": "test_statewise",
    "statewise": "test_statewise",
    "as_printed": "printed or test_lesson_04",
    "macaac": "test_macaac or shipped or under_its_name or rates or unit or clipped or "
    "end_together",
    "replay": "ring or buffer or sampling or same_numbers or end_together",
    "equivariant": "turned or rows_in or nobody_near or any_number or holds",
    "reading": "test_reading",
    "sweep": "test_sweep",
    "treasure": "test_treasure",
    "task": "test_navigation or test_swarm or feasibility or tick or one_side or exactly or absurd",
    "world": "test_navigation or test_swarm or reward or contacts or rotor or arrival or reset",
    "view": "test_swarm",
    "attitude": "attitude or rotor or test_swarm",
    "camera": "rendering or pettingzoo or camera",
    "engine": "test_swarm",
    "open": "test_any_swarm",
    "open_world": "test_any_swarm",
    "tasks": "test_any_swarm",
}


def modules():
    """The core: everything but the pages' own room, the command line and packages' lists."""
    for path in sorted((ROOT / "safemarl_lite").rglob("*.py")):
        if "lessons" not in path.parts and not path.name.startswith("__"):
            yield path.relative_to(ROOT)


# ------------------------------------------------------------------ which test runs which line


class Watch:
    """A pytest plugin: a coverage context and a duration for each test."""

    def __init__(self, cover):
        self.cover, self.seconds = cover, {}

    def pytest_runtest_logstart(self, nodeid):
        self.cover.switch_context(nodeid)

    def pytest_runtest_logreport(self, report):
        self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0) + report.duration


def make_map():
    import coverage
    import pytest

    os.chdir(ROOT)
    cover = coverage.Coverage(data_file=None, source=["safemarl_lite"], concurrency=["thread"])
    watch = Watch(cover)
    cover.start()
    files = [str(x) for x in sorted(Path("tests").glob("test_*.py")) if x.stem not in SKIP]
    plain = ["-q", "-p", "no:cacheprovider", "-o", "addopts=", "-m", "not browser"]
    pytest.main([*plain, *files], plugins=[watch])
    cover.stop()
    data, lines = cover.get_data(), {}
    for path in data.measured_files():
        name = str(Path(path).relative_to(ROOT))
        by_line = data.contexts_by_lineno(path)
        lines[name] = {k: [c for c in v if c] for k, v in by_line.items()}
    MAP.write_text(json.dumps({"seconds": watch.seconds, "lines": lines}))


# ------------------------------------------------------------------ mutants


def code_lines(text):
    """Lines that hold no docstring and no annotation alone."""
    import ast

    kept = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.stmt) and not (
            isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        ):
            if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Import | ast.ImportFrom):
                continue
            kept |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return kept


def families():
    """Operators that mutate the same places: `…_Add_Sub`, `…_Add_Mul`, … → lists of names."""
    from cosmic_ray.plugins import operator_names

    found = {}
    for name in sorted(operator_names()):
        if not any(word in name for word in ("Decorator", "Variable", "Exception")):
            family = name.rpartition("_")[0] if name.count("_") == 2 else name
            found.setdefault(family, []).append(name)
    return list(found.values())


def places(path):
    """Where a module may be mutated: (operators, the how manyth place of theirs, line)."""
    from cosmic_ray.ast import ast_nodes, get_ast
    from cosmic_ray.plugins import get_operator

    text = (ROOT / path).read_text()
    nodes, kept = list(ast_nodes(get_ast(text))), code_lines(text)
    for names in families():
        operator = get_operator(names[0])()
        found = [start[0] for node in nodes for start, _ in operator.mutation_positions(node)]
        for index, line in enumerate(found):
            if line in kept:
                yield names, index, line


def sample(count, seed):
    """`count` mutants (file, line, operator, mutated source), over the modules by their lines."""
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator

    rng, found = random.Random(seed), []
    sizes = {path: len(code_lines((ROOT / path).read_text())) for path in modules()}
    for path, size in sizes.items():
        drawn, own = list(places(path)), []
        rng.shuffle(drawn)
        while drawn and len(own) < max(1, round(count * size / sum(sizes.values()))):
            names, index, line = drawn.pop()
            name = rng.choice(names)
            text = mutate_code((ROOT / path).read_text(), get_operator(name)(), index)
            if text and changed(path, text):
                own.append((str(path), line, name.split("/")[1], text))
        found += own
    rng.shuffle(found)
    return found[:count]


def changed(path, text):
    """Whether a mutant changes more than a type's union, a slice's `None` or an error's words."""
    before, after = (ROOT / path).read_text().splitlines(), text.splitlines()
    pairs = [(a, b) for a, b in zip(before, after, strict=False) if a != b]
    return bool(pairs) and not any(
        re.search(r"^\s*(raise|f\"|\")|: \w+ \| |-> .*\|", a) for a, _ in pairs
    )


class Limits:
    """A pytest plugin: a test that hangs fails, and a mutant gets so many seconds of CPU."""

    def pytest_runtest_setup(self, item):
        def stop(*_):
            raise TimeoutError(f"longer than {ONE} s of CPU")

        signal.signal(signal.SIGPROF, stop)
        signal.setitimer(signal.ITIMER_PROF, ONE)

    def pytest_runtest_teardown(self, item):
        signal.setitimer(signal.ITIMER_PROF, 0)
        if time.process_time() - self.began > ALL:
            item.session.shouldstop = "no further test"

    def pytest_sessionstart(self, session):
        self.began = time.process_time()


def trial(path, text, tests):
    """In a fork that has the libraries: the mutated module and the tests → killer, or None."""
    target, began = WORK / path, time.perf_counter()
    original, made = target.read_text(), target.stat().st_mtime
    target.write_text(text)
    read, write = os.pipe()
    if (child := os.fork()) == 0:
        out = io.StringIO()
        os.setsid()
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
                os.chdir(WORK)
                sys.path.insert(0, str(WORK))
                sys.dont_write_bytecode = True
                import pytest

                plain = ["-q", "-x", "-p", "no:cacheprovider", "-o", "addopts="]
                words = [*plain, "--rootdir", str(WORK), *tests]
                code = int(pytest.main(words, plugins=[Limits()]))
        except BaseException as error:
            code = 99
            out.write(f"ERROR {error!r}")
        os.write(write, f"{code}\n{out.getvalue()[-4000:]}".encode())
        os._exit(0)
    os.close(write)
    said, killer = b"", "time"
    while time.perf_counter() - began < 10 * SECONDS:
        if select.select([read], [], [], 1)[0]:
            part = os.read(read, 65536)
            if not part:
                break
            said += part
    else:
        os.killpg(child, signal.SIGKILL)
    os.close(read)
    os.waitpid(child, 0)
    target.write_text(original)
    os.utime(target, (made, made))
    if said:
        code, _, words = said.decode(errors="replace").partition("\n")
        failed = re.findall(r"(?m)^(?:FAILED|ERROR) (\S+)", words)
        killer = (
            None
            if code in ("0", "2", "5") and not failed
            else failed[0].split("::")[-1]
            if failed
            else f"code {code}"
        )
    return killer, round(time.perf_counter() - began, 1)


def load_libraries():
    for name in ("numpy", "scipy.stats", "scipy.optimize", "scipy.spatial.transform", "torch",
                 "pytest", "hypothesis.extra.numpy", "gymnasium", "pettingzoo.test", "pybullet",
                 "matplotlib.pyplot", "tyro", "tqdm.auto", "torch.utils.tensorboard"):  # fmt: skip
        __import__(name)
    torch = sys.modules["torch"]
    torch.set_num_threads(1)
    torch.optim.Adam([torch.zeros(1, requires_grad=True)])  # loads what a first optimiser loads


def copy_repository():
    shutil.rmtree(WORK, ignore_errors=True)
    kept = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    for name in filter(None, kept.stdout.split("\0")):
        if (ROOT / name).exists():
            (WORK / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, WORK / name)
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    os.environ["PYTHONPATH"] = os.pathsep.join([str(WORK), os.environ.get("PYTHONPATH", "")])
    load_libraries()
    if (child := os.fork()) == 0:  # compile all once
        os.chdir(WORK)
        sys.path.insert(0, str(WORK))
        files = [str(x) for x in Path("tests").glob("test_*.py") if x.stem not in SKIP]
        with contextlib.redirect_stdout(io.StringIO()):
            code = sys.modules["pytest"].main(["-q", "--collect-only", "-o", "addopts=", *files])
        os._exit(int(code))
    assert os.waitpid(child, 0)[1] == 0, "the tests cannot be collected"


def equivalent(path, change):
    """Why a change changes nothing, where that is known."""
    from listed_mutations import EQUIVALENT

    return next((why for file, x, why in EQUIVALENT if path.endswith(file) and x in change), None)


def keep(name, seed, rows):
    table = json.loads(TABLE.read_text()) if TABLE.exists() else {}
    for row in rows:
        if not row["killed by"] and (why := equivalent(row["file"], row["change"])):
            row["equivalent"] = why
    killed = sum(bool(row["killed by"]) for row in rows)
    same = sum("equivalent" in row for row in rows)
    found = {"seed": seed, "tried": len(rows), "equivalent": same, "killed": killed}
    table[name] = found | {"mutants": rows}
    TABLE.write_text(json.dumps(table, indent=0, ensure_ascii=False) + "\n")


def listed(given):
    from listed_mutations import LISTED

    copy_repository()
    table = json.loads(TABLE.read_text()) if TABLE.exists() else {}
    known = {row["change"]: row for row in table.get("listed", {}).get("mutants", [])}
    rows = []
    for name, file, old, new, tests, words in LISTED:
        path = f"safemarl_lite/{file}"
        if known.get(name, {}).get("killed by") and not given.again:
            rows.append(known[name])
            continue
        text = (ROOT / path).read_text()
        assert old in text, f"{file} no longer holds {old!r}"
        killer, seconds = trial(path, text.replace(old, new, 1), [tests, "-k", words])
        rows.append({"file": path, "change": name, "killed by": killer})
        print(f"{killer or 'ALIVE'} | {name} | {seconds} s", flush=True)
        keep("listed", None, rows)
    keep("listed", None, rows)


def near(path):
    """The tests of a module, where no map says which run a line: the fast files first."""
    slow = ("test_learning", "test_macaac", "test_swarm", "test_any_swarm", "test_statewise")
    words, files = NEAR[Path(path).stem], []
    for file in (ROOT / "tests").glob("test_*.py"):
        names = " ".join([file.name, *re.findall(r"def (test_\w+)", file.read_text())])
        if file.stem not in SKIP and any(word in names for word in words.split(" or ")):
            files.append(file.stem)
    files = sorted(files, key=lambda stem: (stem in slow, stem))
    return [
        *(f"tests/{stem}.py" for stem in files),
        "-m",
        "not browser",
        "-k",
        NEAR[Path(path).stem],
    ]


def run(given):
    known = json.loads(MAP.read_text()) if MAP.exists() else None
    copy_repository()
    table = json.loads(TABLE.read_text()) if TABLE.exists() else {}
    rows = table.get("drawn", {}).get("mutants", [])
    tried = {(r["file"], r["change"]) for r in rows}
    alive = {(r["file"], r["change"]) for r in rows if not r["killed by"]}
    for path, line, operator, text in sample(given.count, given.seed):
        before, after = (ROOT / path).read_text().splitlines(), text.splitlines()
        was, now = next((a, b) for a, b in zip(before, after, strict=False) if a != b)
        change = f"{was.strip()} → {now.strip()}"
        if (path, change) in (tried - alive if given.again else tried):
            continue
        seconds, lines = (known[x] for x in ("seconds", "lines")) if known else ({}, {})
        tests = lines.get(path, {}).get(str(line), [])  # none of what runs at the import
        tests = sorted(tests, key=lambda test: seconds.get(test, 9)) or near(path)
        killer, seconds = None, 0
        for some in () if equivalent(path, change) else filter(None, (given.extra, tests)):
            if killer is None:
                killer, seconds = trial(path, text, some)
        row = {"file": path, "line": line, "operator": operator, "change": change}
        row |= {"killed by": killer, "tests": len(tests)}
        rows = [r for r in rows if (r["file"], r["change"]) != (path, change)] + [row]
        print(f"{killer or 'ALIVE'} | {path}:{line} | {change} | {len(tests)} | {seconds} s",
              flush=True)  # fmt: skip
        keep("drawn", given.seed, rows)
    print(f"killed {sum(bool(r['killed by']) for r in rows)} of {len(rows)}")


def control(given):
    """The tests that killed, without a mutation: all pass."""
    rows = [r for part in json.loads(TABLE.read_text()).values() for r in part["mutants"]]
    killers = sorted({re.split(r"[\[ ]", row["killed by"])[0] for row in rows if row["killed by"]})
    files = [f"tests/{x.name}" for x in sorted((ROOT / "tests").glob("test_*.py"))
             if x.stem not in SKIP]  # fmt: skip
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-o", "addopts=", *files, "-k",
                           " or ".join(killers)], cwd=ROOT)  # fmt: skip
    raise SystemExit(done.returncode)


if __name__ == "__main__":
    look = argparse.ArgumentParser()
    look.add_argument("what", choices=("map", "run", "listed", "control"))
    look.add_argument("--seed", type=int, default=1)
    look.add_argument("--count", type=int, default=150)
    look.add_argument("--again", action="store_true", help="survivors only")
    look.add_argument("--extra", nargs="*", help="tests that the map does not know yet")
    given = look.parse_args()
    atexit.register(shutil.rmtree, WORK, ignore_errors=True)
    {"map": lambda _: make_map(), "run": run, "listed": listed, "control": control}[given.what](
        given
    )
