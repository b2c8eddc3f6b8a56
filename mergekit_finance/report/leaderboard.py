"""The tables at the top of the page: models by score, combinations by effect, models by task."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from mergekit_finance.report import labels
from mergekit_finance.report.tables import (
    FLIPS,
    Cell,
    Table,
    flips_cell,
    interval_cell,
    number_cell,
    text_cell,
    with_flips,
)
from mergekit_finance.study.analysis import verdict, wording
from mergekit_finance.study.results import StudyResults
from mergekit_finance.study.schema import NO_SKILL, Evaluated, TaskEffect, TaskSet
from mergekit_finance.study.schema.values import Interval

MOST_GROUPS = 8  # columns of skill groups whose intervals fit the page; three skills have 7, and "no skill"
SHADES = 7  # CSS classes shade-0 to shade-6, from the worst to the best score of a task


def leaderboard(results: StudyResults) -> Table:
    """Return one row for the base, every expert and the selected merge of every combination, best first."""
    groups = task_groups(results)
    if list(groups) == [NO_SKILL]:  # its mean is the macro average
        groups = {}
    columns = ["model", "how", "macro", "Macro-Gain", FLIPS[0], "Macro-OG", FLIPS[1], *groups]
    rows = [_leaderboard_row(results, name, groups) for name in (*results.singles, *results.chosen)]
    rows.sort(key=lambda row: -_value(row[2]))
    if results.summary.models["base"].retention:
        columns.append("retention")
    note = (
        f"Mean scores in points of 100, with 95 % intervals. {_means_note(results)}"
        f"{_groups_note(results, groups)}Constituents: the models in a merge. Gain: the merge minus "
        "the mean of its constituents. OG: the merge minus the best constituent of each task. Green: the "
        "whole interval is above 0; red: below 0. Underlined: the best of a column. How: the merge method "
        "and its hyperparameters, see Terms."
    )
    rows = _with_best(rows, [2, *range(7, len(columns))])
    return with_flips(Table("leaderboard", "Leaderboard", note, columns, rows, is_stacked=True), results)


def _means_note(results: StudyResults) -> str:
    """Return which tasks the columns macro and retention are about."""
    others = [kind for kind in ("probes", "retention") if results.of_kind(kind)]
    note = f"Macro: the mean over all tasks{' but ' if others else ''}{' and '.join(others)}. "
    if "retention" in others:
        note += "Retention: general tasks, which training on a domain can make a model forget. "
    return note


def _groups_note(results: StudyResults, groups: Mapping[str, list[str]]) -> str:
    """Return what the columns of skill groups are, or "" if there is none."""
    skilled = [name for name in groups if name != NO_SKILL]
    parts = []
    if skilled:
        parts.append(f"{', '.join(skilled)}: the mean over the tasks that need these skills and no others.")
    if NO_SKILL in groups:
        parts.append(f"{NO_SKILL}: the mean over the tasks for which no skill is named.")
    if groups and results.summary.models["base"].groups is None:
        parts.append(
            "They have no intervals, because an older version wrote summary.json; running the study again "
            "adds them."
        )
    elif len(groups) > MOST_GROUPS:
        parts.append("Their intervals are in the CSV only.")
    return "".join(f"{part} " for part in parts)


def task_groups(results: StudyResults) -> dict[str, list[str]]:
    """Return the tasks of the macro average by their skills, such as `finance + math`."""
    groups: dict[str, list[str]] = {}
    for name in results.task_names:
        task = results.summary.tasks[name]
        if not labels.TASK_KINDS.get(task.kind, task.kind):
            groups.setdefault(labels.task_group(task), []).append(name)
    return groups


def _leaderboard_row(results: StudyResults, name: str, groups: dict[str, list[str]]) -> list[Cell]:
    point = results.summary.points.get(name)
    model = point or results.summary.models[name]
    macro = results.summary.selected[name].sets["macro"] if point else None
    cells = [
        text_cell(labels.combination(point.combination) if point else name),
        text_cell(labels.operator_and_values(point) if point else "not merged"),
        interval_cell(model.macro),
        interval_cell(macro.gain if macro else None, sign=True),
        flips_cell(point.flips_gain if point else None),
        interval_cell(macro.og if macro else None, sign=True),
        flips_cell(point.flips_og if point else None),
    ]
    group_cells = [_group_cell(results, model, tasks) for tasks in groups.values()]
    if len(groups) > MOST_GROUPS:
        group_cells = [replace(cell, text=cell.text.partition(" [")[0]) for cell in group_cells]
    cells += group_cells
    if results.summary.models["base"].retention:
        cells.append(interval_cell(model.retention))
    return cells


def _group_cell(results: StudyResults, model: Evaluated, tasks: Sequence[str]) -> Cell:
    """Return a model's mean over a group of tasks, with its interval if summary.json has it."""
    stored = (model.groups or {}).get(results.summary.tasks[tasks[0]].skill_group)
    if stored:
        return interval_cell(stored)
    return number_cell(group_mean(results, model.scores, tasks), 1, 100)


def group_mean(results: StudyResults, scores: Mapping[str, float], tasks: Sequence[str]) -> float | None:
    """Return the mean of a model's scores over those of `tasks` that it has, by the tasks' weights."""
    weights = {task: results.summary.tasks[task].weight for task in tasks if task in scores}
    total = sum(weights.values())
    return sum(scores[task] * weight for task, weight in weights.items()) / total if total else None


def effects(results: StudyResults) -> Table:
    """Return one row per combination: its effect, the comparisons behind it, and retention in stage 1."""
    columns = [
        *("stage", "merge", "effect", "over best constituent", "over base", "OG on its skills"),
        *("retention lost", "recovered"),
    ]
    rows = []
    for name, combination in sorted(results.combinations.items(), key=lambda item: item[1].stage):
        selected = results.summary.selected[combination.selected]
        effect = verdict.effect(results.summary, name)
        tested, recovery = selected.sets[effect.tested], selected.recovery
        rows.append(
            [
                Cell(str(combination.stage), combination.stage),
                text_cell(labels.combination(name.split("+"))),
                text_cell(wording.short_effect_word(effect, combination.stage)),
                interval_cell(tested.over_best_constituent, sign=True),
                interval_cell(tested.over_base, sign=True),
                _og_on_skills(*results.tested(name)),
                interval_cell(recovery.lost if recovery else None),
                interval_cell(recovery.recovered if recovery else None),
            ]
        )
    note = (
        "The selected merge of each combination minus another model: differences in points, with 95 % "
        f"intervals, on the tasks of the combination's skills{_other_tasks(results)}. Best constituent: the "
        "one with the best mean over these tasks. OG on its skills: the merge minus the best constituent of "
        "each task. Green and red: as above."
    )
    if any(results.tested(name)[0] == "macro" for name in results.combinations):
        note += " (macro): no task needs its skills alone, so all tasks count."
    if any(results.effects(name).recovery for name in results.combinations):
        note += " Retention lost: the base minus the expert; recovered: the merge minus the expert."
    else:
        columns, rows = columns[:-2], [row[:-2] for row in rows]
    return Table("effects", "Effect of every combination", note, columns, rows, label=1, is_stacked=True)


def _other_tasks(results: StudyResults) -> str:
    """Return in parentheses which other tasks some differences are on; "" if there are none."""
    named = results.study.named
    tested = {name: verdict.effect(results.summary, name).tested for name in results.combinations}
    parts = []
    if results.of_kind("retention") and any(tested[name] == "named" and name not in named for name in tested):
        parts.append("in stage 1 on the retention tasks, too")
    if named:
        parts.append("where the study names tasks, on these")
    if "macro" in tested.values():
        parts.append("where no task needs its skills alone, on all tasks of the macro average")
    return f" ({'; '.join(parts)})" if parts else ""


def _og_on_skills(set_name: str, tested: TaskSet) -> Cell:
    """Return OG over the tasks of a combination's skills; marked as macro if it has no such task."""
    cell = interval_cell(tested.og, sign=True)
    return replace(cell, text=f"{cell.text} (macro)") if set_name == "macro" else cell


def scores_by_task(results: StudyResults) -> Table:
    """Return one row per model and one column per task, shaded by the rank of a score within its task."""
    names = [*results.singles, *results.chosen]
    columns = ["model", *map(labels.task_name, results.task_names)]
    by_task = [_task_cells(results, names, task) for task in results.task_names]
    points = results.summary.points
    heads = [
        text_cell(labels.combination(points[name].combination) if name in points else name) for name in names
    ]
    rows = [[head, *cells] for head, *cells in zip(heads, *by_task, strict=True)]
    note = (
        "Scores in points of 100. The stronger the color, the better within a task; bold: the best. "
        "▲ ▼: the merge is above or below the best constituent of this task, and the 95 % interval of the "
        "difference excludes 0."
    )
    return Table("scores", "Scores by task", note, columns, _with_best(rows, range(1, len(columns))))


def _task_cells(results: StudyResults, names: Sequence[str], task: str) -> Iterator[Cell]:
    """Yield the cell of every model for one task."""
    summary = results.summary
    scores = [
        (summary.points.get(name) or summary.models[name]).scores.get(task, float("nan")) for name in names
    ]
    present = [score for score in scores if score == score]
    low, high = (min(present), max(present)) if present else (0.0, 0.0)
    for name, score in zip(names, scores, strict=True):
        if score != score:
            yield number_cell(None)
            continue
        cell = number_cell(score, 1, 100)
        shade = round((score - low) / (high - low) * (SHADES - 1)) if high > low else 0
        mark = _mark(summary.selected[name].tasks.get(task)) if name in summary.selected else ""
        yield replace(cell, text=f"{cell.text}{mark}", style=f"number shade-{shade}")


def _mark(effect: TaskEffect | None) -> str:
    """Return ▲ or ▼ if OG is above or below 0 with its whole interval."""
    if effect is None:
        return ""
    return {"above": " ▲", "below": " ▼", "unclear": ""}[Interval(*effect.og).side]


def _with_best(rows: list[list[Cell]], columns: Sequence[int]) -> list[list[Cell]]:
    """Return rows in which the largest number of each of these columns has the style `best`.

    A column whose numbers are all the same has no best.
    """
    largest = {}
    for column in columns:
        values = {_value(row[column]) for row in rows} - {float("-inf")}
        if len(values) > 1:
            largest[column] = max(values)
    return [
        [
            replace(cell, style=f"{cell.style} best")
            if place in largest and cell.order is not None and _value(cell) == largest[place]
            else cell
            for place, cell in enumerate(row)
        ]
        for row in rows
    ]


def _value(cell: Cell) -> float:
    return cell.order if isinstance(cell.order, float) else float("-inf")
