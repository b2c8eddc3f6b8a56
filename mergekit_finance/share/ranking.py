"""Rank models of several studies and cards on the same items, with intervals and paired differences."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mergekit_finance.errors import DataError, first_line
from mergekit_finance.files import JsonObject
from mergekit_finance.report import labels
from mergekit_finance.share.ranked_results import RankedModel, RankedResults, difference
from mergekit_finance.statistics import contrasts
from mergekit_finance.statistics.bootstrap import Replicates, bootstrap
from mergekit_finance.statistics.scores import TaskScores, aligned, task_scores
from mergekit_finance.statistics.totals import named_aggregation
from mergekit_finance.study.schema.values import Interval, rounded

FEW = 100  # clusters of a task, below which the note says that differences are mostly noise


@dataclass(frozen=True)
class Row:
    """One model in a ranking.

    Attributes:
        rank: from 1; equal scores have the same.
        name, how: as in `RankedModel`.
        sources: names of the studies and cards that have this model.
        macro: mean score over the tasks.
        below_first: the score minus that of the first row; None in the first row.
        retention: mean score over the retention tasks; None unless all sources have the same.
        scores: by task.
    """

    rank: int
    name: str
    how: str
    sources: list[str]
    macro: Interval
    below_first: Interval | None
    retention: Interval | None
    scores: Mapping[str, float]


@dataclass(frozen=True)
class Ranking:
    """Models by score.

    Attributes:
        rows: best first.
        tasks: of the mean score.
        retention: tasks of the retention score.
        items: by task, how many items all sources report.
        clusters: of the task with the fewest.
        refused: source -> why it cannot be compared.
        notes: one line each.
    """

    rows: list[Row]
    tasks: list[str]
    retention: list[str]
    items: Mapping[str, int]
    clusters: int
    refused: Mapping[str, str]
    notes: list[str]

    def as_json(self) -> JsonObject:
        """Return the ranking for a JSON file. Scores and differences are fractions of 1."""
        return {
            "format": 1,
            "tasks": list(self.tasks),
            "retention": list(self.retention),
            "items": dict(self.items),
            "ranking": [
                {
                    "rank": row.rank,
                    "model": row.name,
                    "how": row.how,
                    "from": list(row.sources),
                    "macro": list(row.macro),
                    "below_first": list(row.below_first) if row.below_first else None,
                    "retention": list(row.retention) if row.retention else None,
                    "scores": dict(row.scores),
                }
                for row in self.rows
            ],
            "not_comparable": dict(self.refused),
            "notes": list(self.notes),
        }


def rank(sources: Sequence[RankedResults]) -> Ranking:
    """Rank the models of all sources that can be compared with the first one.

    Args:
        sources: at least one. The first decides tasks, items, engine and resampling.

    Raises:
        DataError: no second source can be compared, no item is reported by all, or no task has scores in
            [0, 1].
    """
    reference = sources[0]
    if not any(task.kind == "tasks" for task in reference.tasks.values()):
        raise DataError(
            f"{reference.name}: no task has scores of single items in [0, 1], by which models are ranked. "
            "The report shows its measures in other units."
        )
    refused = {one.name: why for one in sources[1:] if (why := difference(one, reference))}
    compared = [one for one in sources if one.name not in refused]
    if refused and len(compared) == 1:
        reasons = "; ".join(f"{name}: {why}" for name, why in refused.items())
        raise DataError(
            f"nothing can be compared with {reference.name}. {reasons}. Evaluate all with the same tasks, "
            "limit, engine and version."
        )
    refused |= {f"{one.name}: {model}": why for one in compared for model, why in one.left_out.items()}
    models = _distinct(compared)
    tasks = [name for name, task in reference.tasks.items() if task.kind == "tasks"]
    retention = _common_retention(compared)
    reported = _reported(compared, [*tasks, *retention])
    scores = _scores(reference, [model for model, _ in models], reported)
    replicates = bootstrap(list(scores.values()), reference.resamples, reference.seed)
    clusters = min(scores[task].count for task in tasks)
    return Ranking(
        rows=_rows(models, replicates, tasks, retention),
        tasks=tasks,
        retention=retention,
        items={task: int(mask.sum()) for task, mask in reported.items()},
        clusters=clusters,
        refused=refused,
        notes=list(_notes(compared, reported, clusters)),
    )


def _distinct(sources: Sequence[RankedResults]) -> list[tuple[RankedModel, list[str]]]:
    """Return each model once, with the names of its sources: two studies may share their base."""
    models: dict[str, tuple[RankedModel, list[str]]] = {}
    for source in sources:
        for model in source.models:
            models.setdefault(model.key.digest, (model, []))[1].append(source.name)
    return list(models.values())


def _common_retention(sources: Sequence[RankedResults]) -> list[str]:
    """Return the retention tasks if all sources have the same, else none."""
    tasks = [[name for name, task in one.tasks.items() if task.kind == "retention"] for one in sources]
    return tasks[0] if all(set(names) == set(tasks[0]) for names in tasks) else []


def _reported(sources: Sequence[RankedResults], tasks: Sequence[str]) -> dict[str, np.ndarray]:
    """Return by task which items all sources report. Raises DataError if a task has none."""
    masks = {task: np.logical_and.reduce([one.reported[task] for one in sources]) for task in tasks}
    for task, mask in masks.items():
        if not mask.any():
            raise DataError(
                f"task {labels.task_name(task)}: no item is reported by all. "
                "Use the same selection in all studies."
            )
    return masks


def _scores(
    reference: RankedResults, models: Sequence[RankedModel], reported: Mapping[str, np.ndarray]
) -> dict[str, TaskScores]:
    """Return the scores of the reported items; models are called by their position."""
    scores = {}
    for task, mask in reported.items():
        info, columns = reference.tasks[task], [model.columns[task] for model in models]
        try:
            all_items = task_scores(
                task,
                [f"{info.dataset}/{cluster}" for cluster in columns[0].clusters],
                {str(place): rows.score for place, rows in enumerate(columns)},
                named_aggregation(info.aggregation),
                weight=info.weight,
            )
        except (ValueError, TypeError) as error:  # values of another kind than the aggregation takes
            raise DataError(f"scores of task {task} are damaged ({first_line(error)}).") from error
        scores[task] = all_items.take(mask)
    return aligned(scores)


def _rows(
    models: Sequence[tuple[RankedModel, list[str]]],
    replicates: Replicates,
    tasks: Sequence[str],
    retention: Sequence[str],
) -> list[Row]:
    macros = [rounded(contrasts.score(replicates, tasks, str(place))) for place in range(len(models))]
    order = sorted(range(len(models)), key=lambda place: (-macros[place].value, models[place][0].name))
    first, rows = order[0], []
    for place in order:
        model, sources = models[place]
        rows.append(
            Row(
                rank=1 + sum(macro.value > macros[place].value for macro in macros),
                name=model.name,
                how=model.how,
                sources=sources,
                macro=macros[place],
                below_first=None
                if place == first
                else rounded(contrasts.difference(replicates, tasks, str(place), str(first))),
                retention=rounded(contrasts.score(replicates, retention, str(place))) if retention else None,
                scores={task: round(replicates.observed[task][str(place)], 6) for task in tasks},
            )
        )
    return rows


def _notes(sources: Sequence[RankedResults], reported: Mapping[str, np.ndarray], clusters: int) -> list[str]:
    """Return what a reader must know before relying on the ranking."""
    notes = []
    if clusters < FEW:
        notes.append(f"A task has only {clusters} independent items: differences are mostly noise.")
    for source in sources:
        if source.is_optimistic:
            notes.append(
                f"{source.name} selected hyperparameters on the reported items: its merges are optimistic."
            )
        for model in source.models:
            if model.backend:
                notes.append(
                    f"{model.name} was imported: {model.backend} answered, with settings that are not known, "
                    "so that some answers may differ for that reason."
                )
        if any((source.reported[task] != mask).any() for task, mask in reported.items()):
            notes.append(f"Items that only {source.name} reports are left out.")
    keys = [model.key for source in sources for model in source.models]
    for words, values in (
        ("devices", {key.device for key in keys}),
        ("versions of packages", {str(sorted(key.versions.items())) for key in keys}),
        ("code that answers", {key.answer_code for key in keys}),
    ):
        if len(values) > 1:
            notes.append(
                f"Results were made with different {words}: a few answers may differ for that reason."
            )
    return notes
