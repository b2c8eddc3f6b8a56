"""A small finished study (two lab experts, four tasks), changed copies of it, and cards."""

import fcntl
import functools
import json
import shutil
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, NamedTuple

from helpers import commands
from mergekit_finance.lab.copy_models import copy_models
from mergekit_finance.report.figures import curves, draw_all
from mergekit_finance.study.config import parse_study
from mergekit_finance.study.results import StudyResults
from mergekit_finance.study.run import StudyRun

PAIR = "stage2-finance-math-ties-density0.5-lambda1.0"
TASKS = ["finance_bench_fpb", "finance_bench_docmath_cs_cot", "finance_bench_jfinqa_numerical"]


def finished_study(folder: Path) -> Path:
    """Models in folder/lab, the study in folder/out: 3 combinations, Task Arithmetic and TIES."""
    copy_models(folder / "lab")
    models = {name: {"model": str(folder / "lab" / name), "skills": name} for name in ("finance", "math")}
    study = {
        "base": str(folder / "lab" / "base"),
        "experts": models,
        "operators": {"task_arithmetic": {"lambda": [0.4, 0.6]}, "ties": {"density": 0.5}},
        "stages": [1, 2],
        "tasks": TASKS,
        "retention": "finance_bench_retention_arc",
        "source": "lab",
        "limit": 8,
        "resamples": 200,
        "evaluation": {"batch_size": 8, "max_gen_toks": 8, "dtype": "float32"},
        "workers": 1,
    }
    StudyRun(
        parse_study(study, "study.yml"), folder / "out", "cpu", 8, quiet=True, say=lambda text: None
    ).run()
    return folder / "out"


@functools.cache
def shared_study(base: Path) -> Path:
    """Return one finished study for all workers of a test run, which must not change it.

    The models have no license texts, which is the harder case for a card.
    """
    folder = (commands.SERVER.shared or base) / "card-study"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the first worker makes it while the others wait
        if not (folder / "finished").exists():
            finished_study(folder)
            for path in folder.glob("lab/*/LICENSE"):
                path.unlink()  # not part of a fingerprint
            (folder / "finished").touch()
    return folder / "out"


class Picture(NamedTuple):
    """A figure that is drawn already."""

    name: str
    data: bytes

    def png(self) -> bytes:
        return self.data


PICTURES: dict[object, list[Picture]] = {}


def draw_once(results: StudyResults, names: Collection[str]) -> list[Picture]:
    """Stand in for `draw_all`: draw the figures, or return those of the same results."""
    shown = results.summary.model_dump_json(exclude={"study", "ship", "selection", "verdict"})
    key = (shown, curves.has_curves(results), *names)
    if key not in PICTURES:
        PICTURES[key] = [Picture(drawn.name, drawn.png()) for drawn in draw_all(results, names)]
    return PICTURES[key]


def changed(out: Path, to: Path, name: str, change: Callable[[dict[str, Any]], object]) -> Path:
    """Return a copy of a study with one of its JSON files changed."""
    shutil.copytree(out, to)
    content = json.loads((to / name).read_text("utf-8"))
    change(content)
    (to / name).write_text(json.dumps(content), "utf-8")
    return to


def elsewhere(out: Path, to: Path, reference: str, now: str) -> Path:
    """Return a copy of a study that was run again after a model had moved: its results are the same."""

    def change(content: dict[str, Any]) -> None:
        content.update(json.loads(json.dumps(content).replace(f'"{reference}"', f'"{now}"')))

    return changed(out, to, "index.json", change)


def body(folder: Path) -> str:
    """Return a card's text without its front matter."""
    return (folder / "README.md").read_text("utf-8").split("\n---\n", 1)[1]


def licensed(out: Path, to: Path, base: str | None, **experts: str | None) -> Path:
    """Return a copy whose study names these licenses."""

    def change(content: dict[str, Any]) -> None:
        content["study"]["base_license"] = base
        for name, license_name in experts.items():
            content["study"]["experts"][name]["license"] = license_name

    return changed(out, to, "study.json", change)
