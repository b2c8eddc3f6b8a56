"""Change one operator, comparison, condition, number or return value in each of 50 functions; tests must notice.

    make mutants                                   all 50, with the results under /tmp/mutants
    python tests/mutation/mutate.py --jobs 8       several at once
    python tests/mutation/mutate.py --only 7       one, with the output of its tests
    python tests/mutation/mutate.py --list         what would be changed

The choice depends on the seed and the source alone. Every mutant runs in a copy of the tree: first the test files
named after its module, then those that import it, of a command those of the folder of its name, the others of its folder
under tests/unit, those of the commands and of the package as a whole, then the end-to-end tests listed in END_TO_END,
until a test fails. These are tests of `make test`; each run is forked from a process that has the hosts' dependencies
imported. Tests that fail without a mutant are left out. Finished mutants are stored, and the same command goes on after
an interruption.

Not mutated, because no CPU test can or should notice: the start-up file (autoload), the lab's tables of words,
Triton kernels and their launchers (GPU), text of messages and docstrings, annotations, abstract and overload stubs,
colors, sizes and positions in figures, numbers of 4096 and more (buffer and chunk sizes).
"""

import argparse
import ast
import importlib.util
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import Queue

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from helpers.commands import ForkServer  # noqa: E402

PACKAGE = "mergekit_finance"
EXCLUDED = (
    "autoload/",
    "lab/finance_cases.py",
    "lab/general_cases.py",
    "lab/japanese_cases.py",
    "lab/prompts.py",
    "engine/triton",
)
MARKERS = "not simulation and not fuzz and not network"  # those of `make test`

# End-to-end files that run when a folder's unit tests do not notice.
END_TO_END = {
    "checks": "methods_mistakes run_refuses study",
    "cli": "commands run_refuses study run similarity_cli card",
    "data": "oracles commands",
    "engine": "engine_session engine_session_refuses methods_runs",
    "errors.py": "methods_mistakes commands run_refuses",
    "evaluation": "lm_eval_mergekit oracles run study",
    "files.py": "study card share similarity_cli",
    "hosts": "methods_runs lm_eval_mergekit engine_session study",
    "lab": "study oracles",
    "merge_methods": "methods_runs methods_mistakes methods_recipes engine_session similarity_recipe",
    "merging": "engine_session engine_session_refuses lm_eval_mergekit run study similarity_recipe",
    "models": "run_refuses methods_mistakes study run",
    "operators.py": "methods_recipes study card",
    "plugins": "commands install",
    "recipe": "methods_recipes methods_mistakes run_refuses lm_eval_mergekit",
    "registration.py": "commands install lm_eval_mergekit",
    "report": "study run report_browser",
    "scoring": "oracles",
    "share": "card share",
    "similarity": "similarity_cli similarity_recipe",
    "statistics": "study card run",
    "study": "study study_resume study_plan run card",
    "__init__.py": "commands install run study",
    "builtin.py": "commands methods_recipes",
    "tasks": "commands",
}

COMPARISONS = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
OPERATORS = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv, ast.Pow: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitXor: ast.BitAnd,
}  # fmt: skip
# Keyword arguments that set the look of figures and of text on a terminal, or only the speed; and zip's `strict`,
# a guard that can only raise where lengths differ.
COSMETIC = {
    "color", "colors", "facecolor", "edgecolor", "ecolor", "cmap", "alpha", "linewidth", "lw", "linestyle", "ls", "zorder",
    "marker", "markersize", "ms", "s", "capsize", "fontsize", "fontweight", "size", "rotation", "ha", "va", "figsize",
    "dpi", "pad", "pad_inches", "wspace", "hspace", "left", "right", "top", "bottom", "labelpad", "width", "height",
    "xytext", "length", "ncol", "ncols_legend", "bbox_to_anchor", "loc", "frameon", "shrink", "aspect", "labelspacing",
    "handlelength", "bold", "fg", "nl", "err", "stacklevel", "desc", "leave", "disable", "mininterval", "max_content_width",
    "show_default", "maxsize", "indent", "strict",
}  # fmt: skip
SILENT_CALLS = {
    "say",
    "echo",
    "secho",
    "print",
    "warn",
    "warning",
    "info",
    "debug",
    "option",
    "argument",
    "Field",
    "field",
}
LARGEST_NUMBER = 4096
PATHS = re.compile("folder|path|root|out|place|home|cache", re.IGNORECASE)


@dataclass(frozen=True)
class Mutant:
    """One change: the bytes `start:end` of `path` become `new`."""

    number: int
    path: str
    function: str
    line: int
    start: int
    end: int
    old: str
    new: str

    @property
    def folder(self) -> str:
        return self.path.split("/")[1]

    @property
    def title(self) -> str:
        return f"{self.path}:{self.line} {self.function}: {_short(self.old)}  ->  {_short(self.new)}"


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 70 else f"{text[:67]}..."


# --- choosing


def mutants(root: Path, seed: int, count: int) -> list[Mutant]:
    """`count` mutants in as many functions: one in each folder and top-level file, the rest at random."""
    generator = random.Random(seed)
    by_folder = defaultdict(list)
    for path in sorted((root / PACKAGE).rglob("*.py")):
        name = path.relative_to(root).as_posix()
        if name.removeprefix(f"{PACKAGE}/").startswith(EXCLUDED):
            continue
        for function, sites in functions(path.read_bytes()):
            by_folder[name.split("/")[1]].append((name, function, sites))
    for candidates in by_folder.values():
        generator.shuffle(candidates)
    chosen = [candidates.pop() for _, candidates in sorted(by_folder.items())]
    remaining = [one for _, candidates in sorted(by_folder.items()) for one in candidates]
    chosen = (chosen + generator.sample(remaining, max(0, min(len(remaining), count - len(chosen)))))[:count]
    return [
        Mutant(number, name, function, *generator.choice(_preferred(sites)))
        for number, (name, function, sites) in enumerate(sorted(chosen, key=lambda c: c[:2]), 1)
    ]


def _preferred(sites: list["Site"]) -> list["Site"]:
    """Returning None is noticed most easily: only where a function offers nothing else."""
    return [site for site in sites if site[4] != "return None"] or sites


Site = tuple[int, int, int, str, str]  # line, start, end, old, new


def functions(source: bytes) -> Iterator[tuple[str, list[Site]]]:
    """Functions and methods with the changes that are possible in each."""
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))

    def site(node: ast.expr | ast.stmt, new: str) -> Site:
        start = starts[node.lineno - 1] + node.col_offset
        end = starts[node.end_lineno - 1] + node.end_col_offset  # type: ignore[operator]
        return node.lineno, start, end, source[start:end].decode(), new

    def walk(node: ast.AST, prefix: str) -> Iterator[tuple[str, list[Site]]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.ClassDef):
                yield from walk(child, f"{prefix}{child.name}.")
            elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) and not _is_stub(child):
                sites = [site(*change) for statement in child.body for change in changes(statement)]
                if sites:
                    yield f"{prefix}{child.name}", sites

    yield from walk(ast.parse(source), "")


def _is_stub(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    decorators = " ".join(map(ast.unparse, function.decorator_list))
    return any(word in decorators for word in ("overload", "abstractmethod", "hookspec", "triton"))


def changes(node: ast.AST) -> Iterator[tuple[ast.expr | ast.stmt, str]]:
    """Nodes in a statement with the source that may take their place."""
    if isinstance(node, ast.Raise | ast.JoinedStr | ast.Import | ast.ImportFrom | ast.Assert):
        return
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return  # a docstring
    if isinstance(node, ast.Call) and _last_name(node.func) in SILENT_CALLS:
        return
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        return
    yield from _changes_here(node)
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "format_spec"):
            continue
        if isinstance(node, ast.keyword) and node.arg in COSMETIC:
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from changes(child)


def _last_name(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _changes_here(node: ast.AST) -> Iterator[tuple[ast.expr | ast.stmt, str]]:
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        changed = COMPARISONS[type(node.ops[0])]()
        yield node, f"({ast.unparse(ast.Compare(node.left, [changed], node.comparators))})"
    elif isinstance(node, ast.BinOp) and type(node.op) in OPERATORS and not _is_text(node):
        changed_operator = OPERATORS[type(node.op)]()
        yield node, f"({ast.unparse(ast.BinOp(node.left, changed_operator, node.right))})"
    elif isinstance(node, ast.BoolOp):
        other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        yield node, f"({ast.unparse(ast.BoolOp(other, node.values))})"
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield node, f"({ast.unparse(node.operand)})"
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield node, str(not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        if abs(node.value) < LARGEST_NUMBER:
            yield node, repr(node.value + 1)
    elif isinstance(node, ast.If | ast.While | ast.IfExp) and not isinstance(
        node.test, ast.Compare | ast.BoolOp
    ):
        yield node.test, f"(not ({ast.unparse(node.test)}))"
    elif isinstance(node, ast.Return) and node.value is not None and ast.unparse(node.value) != "None":
        yield node, "return None"


def _is_text(node: ast.BinOp) -> bool:
    """Return whether a string or path is an operand: another operator would only raise TypeError."""
    parts = (node.left, node.right)
    if isinstance(node.op, ast.Div) and PATHS.search(ast.unparse(node.left)):
        return True
    return any(isinstance(p, ast.JoinedStr | ast.Constant) and not _is_number(p) for p in parts)


def _is_number(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, int | float)


# --- running


def test_files(root: Path, mutant: Mutant) -> list[list[str]]:
    """The stages of tests for a mutant: of its module, of modules that import it, of its folder, end to end."""
    unit, end_to_end = root / "tests" / "unit", root / "tests" / "end_to_end"
    stem = mutant.folder.removesuffix(".py")
    stem = {"tasks": "scoring", "__init__": "public_api"}.get(stem, stem)
    folder = sorted((unit / stem).rglob("test_*.py")) or sorted(unit.glob(f"test_{stem}*.py"))
    module = Path(mutant.path).stem
    command = sorted((unit / module).rglob("test_*.py")) if mutant.folder == "cli" else []
    stages = [
        [path for path in folder if module.removesuffix("s") in path.stem],
        [path for path in sorted(unit.rglob("test_*.py")) if imports(path, mutant.path)],
        command,
        folder,
        [*sorted(unit.glob("test_*.py")), *sorted((unit / "cli").glob("test_*.py"))],
        [
            path
            for name in END_TO_END.get(mutant.folder, "").split()
            for path in sorted(end_to_end.glob(f"test_{name}*.py"))
        ],
    ]
    seen: set[Path] = set()
    result = []
    for stage in stages:
        remaining = [path for path in dict.fromkeys(stage) if path not in seen]
        seen.update(remaining)
        if remaining:
            result.append([str(path.relative_to(root)) for path in remaining])
    return result


def imports(test: Path, module_path: str) -> bool:
    """Whether a test file imports a module of the package by its name."""
    package, _, module = module_path.removesuffix(".py").replace("/", ".").rpartition(".")
    for node in ast.walk(ast.parse(test.read_bytes())):
        if isinstance(node, ast.ImportFrom) and (
            node.module == f"{package}.{module}"
            or (node.module == package and any(alias.name == module for alias in node.names))
        ):
            return True
    return False


# tests/conftest.py sets these, too late for libraries that are imported before the fork.
READ_AT_IMPORT = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
# The child's modules come from the copy of the tree, not from the installed package, and its own children, started by
# multiprocessing, do not run the program that forked it.
RUN = """
import gc, sys, types
gc.unfreeze()  # Hypothesis asks gc what refers to a generator of random numbers
program = sys.modules["__main__"]
sys.modules["__main__"] = types.ModuleType("__main__")
sys.path.insert(0, sys.argv[1])
import pytest
sys.exit(pytest.main(sys.argv[2:]))
"""


class Runner:
    """Copies of the tree, one a job, and the results so far."""

    def __init__(self, work: Path, jobs: int, show: bool, green: bool) -> None:
        self.work, self.show, self.green = work, show, green
        self.store = work / "results.jsonl"
        self.lock = threading.Lock()
        self.unmutated: dict[str, threading.Lock] = defaultdict(threading.Lock)
        self.copies: Queue[Path] = Queue()
        self.servers: dict[Path, ForkServer] = {}
        for number in range(jobs):
            tree = copy_tree(work / f"tree{number}")
            self.copies.put(tree)
            self.servers[tree] = ForkServer(
                "warm_python.py", MERGEKIT_FINANCE_AUTOLOAD="0", PYTHONPATH=str(tree), **READ_AT_IMPORT
            )

    def pytest(self, tree: Path, files: list[str], *options: str) -> tuple[int, str]:
        """Run tests in a copy of the tree; return pytest's exit code, -9 if they hang, and its output."""
        environment = {**os.environ, **READ_AT_IMPORT, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
        with tempfile.TemporaryDirectory(prefix="mutant") as temporary:
            arguments = [
                "-q", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning", "-m", MARKERS,
                f"--basetemp={temporary}/t", *options, *files,
            ]  # fmt: skip
            try:
                done = self.servers[tree].run(
                    [sys.executable, "-c", RUN, str(tree), *arguments], str(tree), environment
                )
            except subprocess.TimeoutExpired:
                return -9, ""
        return done.returncode, done.stdout + done.stderr

    def stop(self) -> None:
        for server in self.servers.values():
            server.stop()

    def failing(self, tree: Path, files: list[str]) -> list[str]:
        """Tests of these files that fail without a mutant, measured once; none if all are known to pass."""
        if self.green:
            return []
        name = "+".join(files)
        with self.lock:
            lock = self.unmutated[name]
        with lock:
            path = self.work / "unmutated.json"
            with self.lock:
                stored = json.loads(path.read_text()) if path.exists() else {}
            if name not in stored:
                status, output = self.pytest(tree, files, "-rfE")
                if status not in (0, 1, 5):
                    sys.exit(
                        f"the tests do not run without a mutant, pytest ended with {status}:\n{output[-2000:]}"
                    )
                lines = output.splitlines()
                failing = [w.split()[1] for w in lines if w.startswith(("FAILED tests", "ERROR tests"))]
                with self.lock:
                    stored = json.loads(path.read_text()) if path.exists() else {}
                    stored[name] = failing
                    path.write_text(json.dumps(stored, indent=1))
            return list(stored[name])

    def run(self, mutant: Mutant) -> None:
        tree = self.copies.get()
        path = tree / mutant.path
        source = path.read_bytes()
        verdict, by = "SURVIVED", ""
        try:
            for files in test_files(tree, mutant):
                left_out = self.failing(tree, files)
                write_source(path, source[: mutant.start] + mutant.new.encode() + source[mutant.end :])
                status, output = self.pytest(tree, files, "-x", *(f"--deselect={one}" for one in left_out))
                write_source(path, source)
                if self.show:
                    print(output)
                if by := "it hung" if status == -9 else _first_failure(output):
                    verdict = "killed"
                    break
                if status not in (0, 5):  # 5: no test was collected
                    sys.exit(f"pytest ended with {status}:\n{output[-2000:]}")
        finally:
            write_source(path, source)
            self.copies.put(tree)
        with self.lock, self.store.open("a") as file:
            file.write(json.dumps({"title": mutant.title, "verdict": verdict, "by": by}) + "\n")
            print(f"{mutant.number:3} {verdict:8} {mutant.title}  {by}", flush=True)

    def results(self) -> dict[str, dict[str, str]]:
        lines = self.store.read_text().splitlines() if self.store.exists() else []
        return {row["title"]: row for row in map(json.loads, lines)}


def _first_failure(output: str) -> str:
    """Return the first test that failed, or the file whose import did; an empty text if none did."""
    for line in output.splitlines():
        if line.startswith(("FAILED tests", "ERROR tests")):
            return line.split(" - ")[0].split(" ", 1)[1]
        if line.startswith("ImportError while loading conftest"):
            return "a conftest.py"
    return ""


def write_source(path: Path, source: bytes) -> None:
    """Write a module and delete its bytecode, which Python compares by size and by the second only."""
    path.write_bytes(source)
    Path(importlib.util.cache_from_source(str(path))).unlink(missing_ok=True)


def copy_tree(to: Path) -> Path:
    """A fresh copy of everything git knows of, with uncommitted changes."""
    shutil.rmtree(to, ignore_errors=True)
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout
    for name in filter(None, listed.decode().split("\0")):
        if (ROOT / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, to / name)
    return to


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=15)
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument(
        "--only", type=int, nargs="*", metavar="K", help="these numbers, even if they are finished"
    )
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "mutants")
    parser.add_argument("--list", action="store_true")
    parser.add_argument(
        "--green", action="store_true", help="all tests pass without a mutant: do not run them first to see"
    )
    options = parser.parse_args()
    chosen = mutants(ROOT, options.seed, options.count)
    if options.list:
        print(*(f"{m.number:3} {m.title}" for m in chosen), sep="\n")
        return
    options.work.mkdir(parents=True, exist_ok=True)
    runner = Runner(options.work, options.jobs, bool(options.only), options.green)
    finished = runner.results()
    todo = [m for m in chosen if (m.number in options.only if options.only else m.title not in finished)]
    print(f"{len(chosen)} mutants, {len(chosen) - len(todo)} left out or finished, results in {runner.store}")
    with ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(runner.run, todo))
    runner.stop()
    finished = runner.results()
    rows = [(m, finished[m.title]) for m in chosen if m.title in finished]
    print("\n| # | mutant | verdict | by |\n|---|---|---|---|")
    for mutant, row in rows:
        print(f"| {mutant.number} | `{mutant.title}` | {row['verdict']} | {row['by'].replace('|', '/')} |")
    survivors = sum(row["verdict"] == "SURVIVED" for _, row in rows)
    print(f"\n{len(rows) - survivors} of {len(rows)} killed, {survivors} survived")
    sys.exit(bool(survivors))


if __name__ == "__main__":
    main()
