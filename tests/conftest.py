"""Shared fixtures: tiny real models once a session, the sample source, real rows where they are."""

import gc
import os
import sys
import threading
from pathlib import Path

import pytest
from helpers import commands, host_costs
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parents[1]
REAL_ROWS = "FINANCE_BENCH_TEST_DATA"

# Always offline: a test that uses the Hub must fail at once, not hang.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
if "PYTEST_XDIST_WORKER" in os.environ:  # a worker has one core: more threads wait for each other in a loop
    os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.pop("FINANCE_BENCH_DATA", None)

# No time limits: a slow example shows only that the machine is busy.
settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")


# 9,000 tests and the hosts' modules stay until the end: collecting garbage meanwhile took a quarter of the CPU time of
# pytest's collection, and visits them again at every later gc.collect() of a host.
gc.disable()


def pytest_collection_finish():
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session", autouse=True)
def _fork_servers_share_a_folder(tmp_path_factory):
    """Folders of xdist's workers stand side by side in that of the run."""
    folder = tmp_path_factory.getbasetemp()
    commands.SERVER.shared = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


@pytest.fixture(autouse=True)
def _nothing_printed_or_checked_yet():
    """Each test sees the warnings that a new process would print."""
    from mergekit_finance.checks import check_all

    check_all.start_again()


@pytest.fixture(autouse=True)
def _hosts_do_once_what_is_always_the_same():
    """lm-eval describes the machine after every evaluation, and starts `pip list` for it: 1 s of CPU time each.

    It parses all files of a folder of tasks for every index.
    """
    if "lm_eval.evaluator" in sys.modules:
        host_costs.describe_environment_once()
    if "lm_eval.tasks._index" in sys.modules:
        host_costs.parse_task_files_once()


THREADS_OF_XDIST = tuple(thread.name for thread in threading.enumerate())


@pytest.fixture(autouse=True)
def _workers_may_be_forked_beside_the_threads_of_xdist(monkeypatch):
    """A worker process that is started anew imports the hosts: 9 s of CPU time. The threads only wait."""
    if local_pool := sys.modules.get("mergekit_finance.study.local_pool"):
        monkeypatch.setattr(local_pool, "OUR_THREADS", (*local_pool.OUR_THREADS, *THREADS_OF_XDIST))


@pytest.fixture
def asked(monkeypatch):
    """The requests that reach a model in this process, as lm-eval's instances."""
    from mergekit_finance.evaluation import answering

    requests, ask = [], answering.ask_with_fixed_seed

    def counted(lm, kind, batch, on_answer):
        requests.extend(batch)
        return ask(lm, kind, batch, on_answer)

    monkeypatch.setattr(answering, "ask_with_fixed_seed", counted)
    return requests


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """A folder with base, finance, math and japanese: 2-layer Llamas with random weights, bf16."""
    from helpers.tiny_models import make_family

    folder = tmp_path_factory.mktemp("tiny models")
    make_family(folder, hidden=32)
    return folder


@pytest.fixture(scope="session")
def real_rows():
    """The folder of real raw rows, whose licenses keep them out of this repository."""
    folder_name = os.environ.get(REAL_ROWS)
    if not folder_name:
        pytest.skip(f"{REAL_ROWS} names no folder of real dataset rows")
    folder = Path(folder_name).resolve()
    assert folder.is_dir(), f"{REAL_ROWS} is not a folder: {folder_name}"
    return folder


@pytest.fixture(scope="session")
def mirror(real_rows, tmp_path_factory):
    """A mirror adopted from the real rows."""
    from mergekit_finance.data.adopt import adopt
    from mergekit_finance.data.mirror import Mirror
    from mergekit_finance.plugins.manager import datasets

    folder = tmp_path_factory.mktemp("mirror")
    adopt(real_rows, Mirror(folder), datasets().values(), lambda text: None)
    return folder


@pytest.fixture(scope="session")
def recipe_text(tiny):
    """A stage-2 recipe on the tiny models."""
    return f"""\
merge_method: cpt_task_arithmetic
base_model: {tiny}/base
models:
  - model: {tiny}/finance
  - model: {tiny}/math
parameters:
  lambda: 0.5
dtype: float32
out_dtype: bfloat16
finance:
  stage: 2
  constituents: ["{tiny}/finance", "{tiny}/math"]
"""


@pytest.fixture
def recipe(recipe_text, tmp_path):
    """A function that writes variants of the stage-2 recipe on the tiny models."""

    def write(*changes: tuple[str, str], name: str = "recipe.yml") -> Path:
        changed = recipe_text
        for old, new in changes:
            assert old in changed
            changed = changed.replace(old, new)
        path = tmp_path / name
        path.write_text(changed, encoding="utf-8")
        return path

    return write


@pytest.fixture
def mkf():
    """Run `mergekit-finance` in a forked process; returns the finished process."""

    def call(*args, cwd=None, env=None):
        return commands.run("mergekit-finance", *args, cwd=cwd, env=env)

    return call


@pytest.fixture
def installed_mkf():
    """Run the installed `mergekit-finance` in a fresh interpreter: one test a command does."""

    def call(*args, cwd=None, env=None):
        return commands.run_installed("mergekit-finance", *args, cwd=cwd, env=env)

    return call


def pytest_unconfigure():
    commands.SERVER.stop()
    commands.WARM.stop()


def pytest_terminal_summary(terminalreporter):
    """Print how many damaged inputs were read, and which took longest."""
    runs = [
        value
        for reports in terminalreporter.stats.values()
        for report in reports
        if getattr(report, "when", None) == "call"
        for name, value in report.user_properties
        if name == "fuzz"
    ]
    if runs:
        slowest = max(runs, key=lambda run: run["slowest"])
        terminalreporter.write_line(
            f"fuzz: {sum(run['cases'] for run in runs)} cases, {sum(run['refused'] for run in runs)} refused; "
            f"the slowest took {slowest['slowest']:.2f} CPU s ({slowest['target']})"
        )
