"""The tables of the page: cells with a text, a value to sort by, and a style."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from mergekit_finance.files import Json
from mergekit_finance.operators import number_of
from mergekit_finance.report import labels
from mergekit_finance.statistics.power import MIN_CLUSTERS
from mergekit_finance.study.analysis.item_flips import GAIN_AND_OG, flips_of_gain, flips_of_og, flips_text
from mergekit_finance.study.analysis.objective_wording import bound_text, front
from mergekit_finance.study.analysis.phrases import chosen_by, in_points, interval, task_list
from mergekit_finance.study.analysis.unit_wording import NO_INTERVAL, amount, unit_title
from mergekit_finance.study.results import StudyResults
from mergekit_finance.study.schema import Estimated, ItemFlips, PointResult, UnitResults

FLIPS = ("items (Gain)", "items (OG)")  # columns


@dataclass(frozen=True)
class Cell:
    """A table cell.

    Attributes:
        text: what it shows.
        order: what it sorts by. With a number it sorts as a number, with None by its text; empty cells last.
        style: CSS classes: `number`, `good`, `bad`, `best`, `shade-N` or none.
        ends: the ends of the 95 % interval, if the cell has one.
        flips: how many items became right and wrong, if the cell shows that.
    """

    text: str
    order: str | float | None
    style: str = ""
    ends: tuple[float, float] | None = None
    flips: tuple[int, int] | None = None


@dataclass(frozen=True)
class DroppedSetting:
    """What the name of a dropped setting is made of."""

    combination: Sequence[str]
    operator: str
    values: Mapping[str, Json]


@dataclass(frozen=True)
class Table:
    """A table of the page.

    Attributes:
        filters: indices of columns with few values, which get a drop-down list.
        label: index of the column that says what a row is about; it stays in view when the table scrolls.
        is_stacked: the page shows an interval below its value, which takes less width.
    """

    name: str
    title: str
    note: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    filters: Sequence[int] = ()
    label: int = 0
    is_stacked: bool = False


def text_cell(text: str) -> Cell:
    """Return a left-aligned cell that sorts by its text."""
    return Cell(text, text)


def number_cell(value: float | None, digits: int = 1, scale: float = 1) -> Cell:
    """Return a right-aligned number, or an empty cell for None."""
    if value is None:
        return Cell("", None, "number")
    return Cell(f"{scale * value:.{digits}f}", value, "number")


def interval_cell(numbers: Sequence[float] | None, sign: bool = False) -> Cell:
    """Return a value with its interval; empty for None.

    Args:
        sign: the value is a difference: shown with its sign, and colored if its interval excludes 0.
    """
    if not numbers:
        return Cell("", None, "number")
    style = "good" if numbers[1] > 0 else "bad" if numbers[2] < 0 else ""
    style = f"number {style if sign else ''}".strip()
    return Cell(interval(numbers, sign), numbers[0], style, (numbers[1], numbers[2]))


def difference_cell(value: float | None) -> Cell:
    """Return a difference without an interval, with its sign."""
    return number_cell(None) if value is None else Cell(in_points(value, sign=True), value, "number")


def tables(results: StudyResults) -> list[Table]:
    """Return the tables of the section "Tables"."""
    selected = [selected_points(results), tasks_of_selected_points(results)]
    return [
        *(selected if results.summary.has_selection else []),
        *([all_points(results)] if results.tasks else []),
        *([objective_table(results)] if results.summary.objective else []),
        *(unit_table(results, unit, k) for k, unit in enumerate(results.summary.units)),
        *([dropped_settings(results)] if results.summary.races else []),
    ]


def objective_table(results: StudyResults) -> Table:
    """Return one row per merge: the objective, the bounds, and whether it keeps them."""
    summary, objective = results.summary, results.summary.objective
    assert objective is not None
    on_front = front(summary)
    columns = ["merge", "selected", "keeps the bounds", "on the front", "objective", "on selection items"]
    columns += [f"{name} vs {bound.against}" for name, bound in objective.bounds.items()]
    columns += [f"{name}, selection items" for name in objective.bounds]
    rows = []
    for name, point in summary.points.items():
        model = objective.models[name]
        cells = [text_cell(labels.point_name(point)), text_cell("yes" if name in results.chosen else "")]
        cells += [text_cell(model.keeps), text_cell("yes" if name in on_front else "")]
        cells += [interval_cell(model.value), number_cell(model.on_selection, 1, 100)]
        cells += [interval_cell(model.reported[bound], sign=True) for bound in objective.bounds]
        cells += [interval_cell(model.differences[bound], sign=True) for bound in objective.bounds]
        rows.append(cells)
    bounds = "; ".join(bound_text(name, bound) for name, bound in objective.bounds.items())
    note = (
        "The objective of study.yml, in points, on the reported items unless the column says otherwise. "
        f"Bounds: {bounds or 'none'}. They are kept surely if the 95 % interval of the difference on the "
        "selection items is above the bound, perhaps if it holds the bound. An end at 0, and both ends of an "
        "interval without width, count as 3 / n further out (n: independent items). On the front: no other "
        "merge is as good or better in the objective and in every difference."
    )
    return Table("objective", "Your objective", note, columns, rows, (1, 2, 3))


def dropped_settings(results: StudyResults) -> Table:
    """Return one row per setting that a search dropped."""
    columns = [
        *("merge", "setting", "dropped in round", "of rounds", "items answered"),
        *("of selection items", "below the round's best", "standard error"),
    ]
    with_bounds = any(
        one.misses
        for race in (results.summary.races or {}).values()
        for of_round in race.rounds
        for one in of_round.dropped
    )
    columns += ["surely misses"] if with_bounds else []
    rows = [
        [
            text_cell(labels.combination(name.split("+"))),
            text_cell(labels.operator_and_values(DroppedSetting(name.split("+"), one.operator, one.values))),
            number_cell(number, 0),
            number_cell(len(race.rounds), 0),
            number_cell(of_round.items, 0),
            number_cell(race.items, 0),
            difference_cell(one.difference),
            number_cell(one.standard_error, 1, 100),
            *([text_cell(", ".join(one.misses or ()))] if with_bounds else []),
        ]
        for name, race in (results.summary.races or {}).items()
        for number, of_round in enumerate(race.rounds, 1)
        for one in of_round.dropped
    ]
    note = (
        "Settings that were not evaluated in full. Differences are "
        f"{'of the objective' if results.summary.objective else 'means over the tasks of the macro average'}"
        ", in points, paired by items; standard errors are over clusters, and empty where a task had "
        "one cluster."
    )
    return Table("dropped", "Dropped settings", note, columns, rows, (0, 2))


def unit_table(results: StudyResults, unit: UnitResults, number: int) -> Table:
    """Return base, experts and selected points in a unit of their own; it is in no other table.

    If nothing was selected, all points.
    """
    columns = ["model", "macro", "Macro-Gain", "Macro-OG", *map(labels.task_name, unit.tasks)]
    rows = []
    for name in (*results.singles, *(results.selected or results.points)):
        row, point = unit.models[name], results.summary.points.get(name)
        effects = [(row.macro, False), (row.macro_gain, True), (row.macro_og, True)]
        values = [(row.values[task], False) for task in unit.tasks]
        cells = [_amount_cell(numbers, sign) for numbers, sign in (*effects, *values)]
        rows.append([text_cell(labels.point_name(point) if point else name), *cells])
    note = "Values as the tasks compute them, with 95 % intervals where a task has scores of single items."
    if unit.lower_is_better:
        note += " Gain and OG have the sign turned: above 0 the merge is better."
    if unit.without_items:
        note += f" {NO_INTERVAL.format(tasks=task_list(unit.without_items))}"
    return Table(f"unit-{number}", f"In {unit_title(unit)}", note, columns, rows)


def _amount_cell(numbers: Estimated | None, is_difference: bool) -> Cell:
    if numbers is None:
        return number_cell(None)
    style = "good" if (numbers.low or 0) > 0 else "bad" if (numbers.high or 0) < 0 else ""
    style = f"number {style}".strip() if is_difference else "number"
    ends = None if numbers.low is None or numbers.high is None else (numbers.low, numbers.high)
    return Cell(amount(numbers, is_difference), numbers.value, style, ends)


def selected_points(results: StudyResults) -> Table:
    """Return one row per selected point and set of tasks."""
    columns = [
        *("merge", "selected", "best of its operators", "task set", "tasks", "score"),
        *("Gain", "items (Gain)", "OG", "items (OG)"),
        *("over best constituent", "best constituent", "p", "detectable", "items vs best", "items vs base"),
    ]
    rows = []
    for name in results.selected:
        point = results.summary.points[name]
        effects = results.summary.selected[name]
        for set_name, tasks in effects.sets.items():
            rows.append(
                [
                    text_cell(labels.combination(point.combination)),
                    text_cell(labels.operator_and_values(point)),
                    text_cell("yes" if name in results.chosen else ""),
                    text_cell(set_name),
                    number_cell(len(tasks.tasks), 0),
                    interval_cell(tasks.score),
                    interval_cell(tasks.gain, sign=True),
                    flips_cell(flips_of_gain(effects, tasks.tasks)),
                    interval_cell(tasks.og, sign=True),
                    flips_cell(flips_of_og(effects, tasks.tasks)),
                    interval_cell(tasks.over_best_constituent, sign=True),
                    text_cell(tasks.best_constituent),
                    number_cell(tasks.p_over_best_constituent, 4),
                    number_cell(tasks.mde, 1, 100),
                    flips_cell(tasks.flips.get(tasks.best_constituent)),
                    flips_cell(tasks.flips.get("base")),
                ]
            )
    note = (
        f"Every combination at the hyperparameters {chosen_by(results.summary.selection)}, one row per set "
        "of tasks: macro (all), own (of its skills), named (those that the verdict is about), and each group "
        "of skills. OG: the merge minus the best constituent of each task. Over best constituent: minus the "
        "one with the highest mean over the set (p: two-sided, by sign flips). Detectable: "
        "the smallest difference that this number of items would detect with 80 % power. Items: the answers "
        f"that became right (+) and wrong (-), {GAIN_AND_OG}."
    )
    return Table("selected", "Selected points", note, columns, rows, (0, 2, 3))


def tasks_of_selected_points(results: StudyResults) -> Table:
    """Return one row per selected point and task."""
    columns = [
        *("merge", "selected", "task", "skills", "items", "clusters"),
        *("score", "constituents", "Gain", "items (Gain)", "OG", "items (OG)"),
        *("p", "q", "verdict", "items vs base"),
    ]
    rows = [_task_row(results, name, task) for name in results.selected for task in results.task_names]
    note = (
        "Selected points, task by task. p: that the merge is above every constituent, one-sided; q: p after "
        "Benjamini and Hochberg's correction for many tests, within the stage over the tasks that each "
        f"verdict is about and that have at least {MIN_CLUSTERS} clusters. "
        f"Items: the answers that became right (+) and wrong (-), {GAIN_AND_OG}."
    )
    return Table("tasks", "Task by task", note, columns, rows, (0, 2, 3, 14))


def _task_row(results: StudyResults, name: str, task: str) -> list[Cell]:
    point, effects = results.summary.points[name], results.summary.selected[name]
    effect = effects.tasks[task]
    scores = effect.constituents
    return [
        text_cell(labels.combination(point.combination)),
        text_cell(labels.operator_and_values(point)),
        text_cell(labels.task_name(task)),
        text_cell(labels.task_group(results.summary.tasks[task])),
        number_cell(effect.items, 0),
        number_cell(effect.clusters, 0),
        interval_cell(effect.score),
        Cell(
            ", ".join(f"{model} {in_points(score)}" for model, score in scores.items()),
            max(scores.values(), default=0.0),
        ),
        interval_cell(effect.gain, sign=True),
        flips_cell(flips_of_gain(effects, [task])),
        interval_cell(effect.og, sign=True),
        flips_cell(flips_of_og(effects, [task])),
        number_cell(effect.p_og, 4),
        number_cell(effect.q_og, 4),
        text_cell(effect.verdict),
        flips_cell(effect.flips.get("base")),
    ]


def flips_cell(numbers: ItemFlips | None) -> Cell:
    """Return `+12 -30`, sorted by the difference."""
    if numbers is None:
        return number_cell(None)
    pair = (numbers.gained, numbers.lost)
    return Cell(flips_text(numbers), numbers.gained - numbers.lost, "number", flips=pair)


def with_flips(table: Table, results: StudyResults) -> Table:
    """Return a table with a note on its columns FLIPS, or without them where no flips are stored."""
    if any(point.flips_gain or point.flips_og for point in results.summary.points.values()):
        note = f"{table.note} Items: the answers that became right (+) and wrong (-), {GAIN_AND_OG}."
        return replace(table, note=note)
    kept = [place for place, column in enumerate(table.columns) if column not in FLIPS]
    rows = [[row[place] for place in kept] for row in table.rows]
    return replace(table, columns=[table.columns[place] for place in kept], rows=rows)


def all_points(results: StudyResults) -> Table:
    """Return one row for the base, every expert and every point."""
    columns = [
        *("stage", "merge", "operator", "hyperparameters", "selected"),
        *("macro", f"on {'selection' if results.splits else 'all'} items"),
        *("Macro-Gain", FLIPS[0], "Macro-OG", FLIPS[1], "retention", "probes", "name"),
    ]
    rows = [_single_row(results, name) for name in results.singles]
    rows += [_point_row(results, name, point) for name, point in results.summary.points.items()]
    items = "reported" if results.splits else "all"
    note = f"Every model that was evaluated. Scores are on {items} items unless the column says otherwise."
    return with_flips(Table("points", "All points", note, columns, rows, (0, 1, 2, 4), label=1), results)


def _single_row(results: StudyResults, name: str) -> list[Cell]:
    model, empty = results.summary.models[name], text_cell("")
    return [
        Cell("0", 0),
        text_cell(name),
        text_cell("none"),
        *(empty, empty),
        interval_cell(model.mean),
        *[number_cell(None)] * 5,
        interval_cell(model.retention),
        interval_cell(model.probes),
        text_cell(name),
    ]


def _point_row(results: StudyResults, name: str, point: PointResult) -> list[Cell]:
    numbers = [number for value in point.values.values() if (number := number_of(value)) is not None]
    selected = "combination" if name in results.chosen else "operator" if name in results.selected else ""
    return [
        Cell(str(point.stage), point.stage),
        text_cell(labels.combination(point.combination)),
        text_cell(labels.operator_name(point.operator)),
        Cell(labels.hyperparameters(point), min(numbers, default=0.0)),
        text_cell(selected),
        interval_cell(point.mean),
        number_cell(point.macro_on_selection, 1, 100),
        difference_cell(point.macro_gain),
        flips_cell(point.flips_gain),
        difference_cell(point.macro_og),
        flips_cell(point.flips_og),
        interval_cell(point.retention),
        interval_cell(point.probes),
        text_cell(name),
    ]
