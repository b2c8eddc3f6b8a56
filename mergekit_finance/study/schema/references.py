"""Check that every name in a summary refers to something in it: tables and figures look them up."""

from collections.abc import Set
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mergekit_finance.study.schema.answer import Effects, Summary


def unknown_name(summary: "Summary") -> str:
    """Return the first name in a summary that refers to no model, point or task, or ""."""
    if "base" not in summary.models:
        return "models: no base"
    if problem := _misplaced_selection(summary):
        return problem
    tasks = summary.tasks.keys()
    for name, combination in summary.combinations.items():
        for point in sorted({combination.selected, *combination.by_operator.values()}):
            if point not in summary.points or point not in summary.selected:
                return f"combinations.{name}: {point!r} is not a selected point"
        tested = combination.effect.tested if combination.effect else "macro"
        if tested not in summary.selected[combination.selected].sets:
            return f"combinations.{name}.effect.tested: {tested!r} is no set of tasks of the selected point"
    for point, effects in summary.selected.items():
        if problem := _missing_effect(effects, tasks):
            return f"selected.{point}: {problem}"
    for row in summary.similarity.combinations:
        if row.point not in summary.selected:
            return f"similarity: {row.point!r} is not a selected point"
    models = {**summary.models, **summary.points}
    for name, model in models.items():
        if tasks - model.scores.keys():
            return f"{name}: scores are missing"
    for unit in summary.units:
        for name in sorted(models.keys() - unit.models.keys()):
            return f"units: {unit.unit} of {name} is missing"
        for name, of_unit in unit.models.items():
            if unit.tasks.keys() - of_unit.values.keys():
                return f"units: {unit.unit} of {name} is missing"
    if summary.objective and (problem := summary.objective.problem(models.keys(), tasks)):
        return f"objective: {problem}"
    ship = summary.shipped
    used = {ship.model, ship.best_single, ship.best_merge} if ship else set()
    used |= {name for point in summary.points.values() for name in point.constituents}
    used |= {name for row in summary.selected.values() for name in row.constituents}
    return next((f"{name!r} is not a model of the study" for name in sorted(used - models.keys())), "")


def _misplaced_selection(summary: "Summary") -> str:
    """Return what contradicts that merges were selected, or that none was; "" if nothing does."""
    if not summary.all_tasks:
        return "tasks: none"
    is_selected = any(task.kind == "tasks" for task in summary.tasks.values())
    if is_selected != summary.has_selection or is_selected != (summary.shipped is not None):
        return "combinations and ship do not fit the tasks"
    models = {**summary.models, **summary.points}
    return next((f"{n}: macro is missing" for n, m in models.items() if is_selected and m.mean is None), "")


def _missing_effect(effects: "Effects", tasks: Set[str]) -> str:
    """Return what a selected point lacks, or names without being a task of the study; "" if nothing."""
    if "macro" not in effects.sets or tasks - effects.tasks.keys():
        return "tasks are missing"
    for task in sorted({task for row in effects.sets.values() for task in row.tasks} - tasks):
        return f"{task!r} is not a task of the study"
    scored = [set(row.constituents) for row in effects.sets.values()]
    scored += [set(row.constituents) for row in effects.tasks.values()]
    for name in effects.constituents:
        if any(name not in names for names in scored):
            return f"a score of constituent {name!r} is missing"
    if effects.recovery and "retention" not in effects.sets:
        return "recovery without the set of retention tasks"
    return ""
