"""`mergekit-finance demo`: the three-stage study on the lab's four trained models, anywhere, offline."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mergekit_finance.files import bundled
from mergekit_finance.lab.export import export
from mergekit_finance.study.config import Study, load, parse
from mergekit_finance.study.run import StudyRun

LAMBDA = 0.4  # of the short demo: between the two ends of what a sweep would try


def demo(
    out: Path, full: bool, limit: int | None, workers: int | None, say: Callable[[str], None]
) -> dict[str, Any]:
    """Export the lab, run the study (one λ, or with `full` every point), build its report."""
    from mergekit_finance.report.writing import build

    out.mkdir(parents=True, exist_ok=True)
    say(f"the lab's four trained models go to {out / 'lab'}")
    export(out / "lab")
    study = study_of(out / "lab", full, workers)
    where = out / ("full" if full else "study")
    say(f"{len(study.experts)} experts, {'all points of recipes/lab/study.yml' if full else f'λ {LAMBDA}'}")
    found = StudyRun(study, where, "cpu", limit or study.limit, "the demo's study", say=say)()
    build(where)
    return found


def study_of(lab: Path, full: bool, workers: int | None = None) -> Study:
    """The bundled study of the lab, its models in `lab`."""
    found = load(bundled("recipes") / "lab" / "study.yml").model_dump(by_alias=True, exclude_none=True)
    place = str(lab) if lab.is_absolute() else f"./{lab}"
    found["base"] = f"{place}/base"
    for name, expert in found["experts"].items():
        expert["model"] = f"{place}/{name}"
    if not full:
        found["operators"] = {"task_arithmetic": {"lambda": LAMBDA}}
    if workers:
        found["workers"] = workers
    return parse(found, "the demo's study")
