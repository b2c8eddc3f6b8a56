"""The finished part of a study that was interrupted, or is still running.

OUT/unfinished.json    the study, its tasks, and the folders of everything that it will evaluate

The run writes it before it evaluates, and removes it when summary.json is written.
"""

from dataclasses import replace
from pathlib import Path

from mergekit_finance.errors import DataError
from mergekit_finance.files import require_names
from mergekit_finance.study.analysis.summary import answer
from mergekit_finance.study.read_files import check_index, read_model, refuse_link
from mergekit_finance.study.results import StudyResults, load_results, results_of
from mergekit_finance.study.schema import Index, ModelEntry, PointEntry, UnfinishedStudy

FILE = "unfinished.json"


def load_available_results(folder: Path, with_text: bool = False) -> StudyResults:
    """Return the results of a study, or of its finished part if it is unfinished; see `load_results`.

    Raises:
        DataError: as `load_results`, or no merge of an unfinished study has been evaluated yet.
    """
    if (folder / "summary.json").exists() or not (folder / FILE).exists():
        return load_results(folder, with_text)
    for path in (folder / "points", *(folder / "points").glob("*")):
        refuse_link(path)
    path = folder / FILE
    plan = read_model(UnfinishedStudy, path)
    require_names(path, plan.tasks)
    check_index(path, plan.index)
    part = _evaluated(folder, plan.index)
    if part is None:
        raise DataError(
            f"{folder}: no merge of this unfinished study has been evaluated yet. Run the same "
            "`mergekit-finance study` command again; it continues."
        )
    results = results_of(folder, plan.study, plan.limit, plan.tasks, part, with_text)
    results.require_results([*results.models, *results.points])
    missing = _count(plan, plan.index) - _count(plan, part)
    return replace(results, partial_summary=answer(results, None), missing_merges=missing)


def _count(plan: UnfinishedStudy, index: Index) -> int:
    """Return how many merges of an index the finished study will have; of a race only the winner."""
    if plan.study.race is None:
        return len(index.points)
    return len({tuple(point.combination) for point in index.points})


def _evaluated(folder: Path, index: Index) -> Index | None:
    """Return the models and merges whose scores are stored; None without the base or any merge."""

    def is_stored(entry: ModelEntry | PointEntry) -> bool:
        return (folder / "points" / entry.folder / "scores.json").is_file()

    models = {name: model for name, model in index.models.items() if is_stored(model)}
    present = {model.reference for model in models.values()}
    points: list[PointEntry] = []
    for point in index.points:  # in the order of stages: a merge of merges comes after them
        constituents = present | {one.folder for one in points}
        are_present = all(ref in constituents or Path(ref).name in constituents for ref in point.references)
        if is_stored(point) and are_present and set(point.combination) <= models.keys():
            points.append(point)
    return Index(models=models, points=points) if points and "base" in models else None
