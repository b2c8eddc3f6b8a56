"""A finished study, small: two lab experts, four tasks; and changed copies of it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mergekit_finance.lab.export import export
from mergekit_finance.study.config import parse
from mergekit_finance.study.run import StudyRun

TASKS = ["finance_bench_fpb", "finance_bench_docmath_cs_cot", "finance_bench_jfinqa_numerical"]


def finished_study(folder: Path) -> Path:
    """Models in folder/lab, the study in folder/out: 3 combinations, Task Arithmetic and TIES."""
    export(folder / "lab")
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
        "evaluation": {"batch_size": 8, "max_gen_toks": 8},
        "workers": 1,
    }
    StudyRun(parse(study, "study.yml"), folder / "out", "cpu", 8, quiet=True, say=lambda text: None).run()
    return folder / "out"


def changed(out: Path, to: Path, name: str, change: Callable[[dict[str, Any]], object]) -> Path:
    """A copy of a study with one of its JSON files changed in place."""
    shutil.copytree(out, to)
    content = json.loads((to / name).read_text("utf-8"))
    change(content)
    (to / name).write_text(json.dumps(content), "utf-8")
    return to


def licensed(out: Path, to: Path, base: str | None, **experts: str | None) -> Path:
    """A copy whose study.yml names these licences."""

    def change(content: dict[str, Any]) -> None:
        content["study"]["base_licence"] = base
        for name, licence in experts.items():
            content["study"]["experts"][name]["licence"] = licence

    return changed(out, to, "study.json", change)
