"""Rows of the page's tables, as text with a number to sort by."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mergekit_finance.report import labels
from mergekit_finance.report.stored import Stored

LEVEL = 0.0


@dataclass(frozen=True)
class Cell:
    """What a cell says, what it sorts by, how it looks: plain, number, good or bad."""

    text: str
    order: str | float | None  # a number sorts as one; of None the text, and an empty cell stands last
    look: str = ""


@dataclass(frozen=True)
class Table:
    """One table of the page."""

    name: str
    title: str
    note: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    filters: Sequence[int] = ()  # columns with few values: a choice each


def plain(text: Any) -> Cell:
    return Cell(str(text), str(text))


def number(value: float | None, digits: int = 1, scale: float = 1) -> Cell:
    if value is None:
        return Cell("", None, "number")
    return Cell(f"{scale * value:.{digits}f}", value, "number")


def ranged(numbers: Sequence[float] | None, sign: bool = False) -> Cell:
    """Value and interval; of a difference, good or bad where the interval is on one side of nothing."""
    if not numbers:
        return Cell("", None, "number")
    look = "good" if numbers[1] > LEVEL else "bad" if numbers[2] < LEVEL else ""
    return Cell(labels.interval(numbers, sign), numbers[0], f"number {look if sign else ''}".strip())


def tables(stored: Stored) -> list[Table]:
    return [_selected(stored), _tasks(stored), _all(stored)]


def overview(stored: Stored) -> Table:
    """One row a combination: the short answer."""
    rows = []
    for name, known in stored.combinations.items():
        point, sets = stored.points[known["selected"]], stored.summary["selected"][known["selected"]]["sets"]
        rows.append(
            [
                Cell(str(known["stage"]), known["stage"]),
                plain(labels.combination(name.split("+"))),
                plain(labels.how(point)),
                ranged(sets["macro"]["score"]),
                ranged(sets["macro"]["gain"], sign=True),
                ranged(sets["macro"]["og"], sign=True),
                _on_its_skills(*stored.tested(name)),
                ranged(point.get("retention")),
            ]
        )
    columns = [
        "stage",
        "merge",
        "selected",
        "macro",
        "Macro-Gain",
        "Macro-OG",
        "OG on its skills",
        "retention",
    ]
    note = "In points of a hundred, with 95% intervals. Green: above 0 with its whole interval; red: below."
    return Table("overview", "At a glance", note, columns, rows)


def _on_its_skills(name: str, tested: Mapping[str, Any]) -> Cell:
    """OG over the tasks of a combination's skills; of the macro, and saying so, where it has no such task."""
    cell = ranged(tested["og"], sign=True)
    return replace(cell, text=f"{cell.text} (macro)") if name == "macro" else cell


def _selected(stored: Stored) -> Table:
    rows = []
    for name in stored.selected:
        point, sets = stored.points[name], stored.summary["selected"][name]["sets"]
        for tasks, found in sets.items():
            rows.append(
                [
                    plain(labels.combination(point["combination"])),
                    plain(labels.how(point)),
                    plain("chosen" if name in stored.chosen else ""),
                    plain(tasks),
                    number(len(found["tasks"]), 0),
                    ranged(found["score"]),
                    ranged(found["gain"], sign=True),
                    ranged(found["og"], sign=True),
                    ranged(found["over_best_constituent"], sign=True),
                    plain(found["best_constituent"]),
                    number(found.get("p_over_best_constituent"), 4),
                    number(found.get("mde"), 1, 100),
                ]
            )
    columns = [
        *("merge", "selected", "of its operators", "task set", "tasks", "score", "Gain", "OG"),
        *("over best single parent", "best parent", "p", "detectable"),
    ]
    note = (
        f"Every combination at the hyperparameters that {stored.picked}, one row a set of tasks. "
        "OG compares with the best parent of every task; the next column with the one best parent over the "
        "set, p two-sided by sign flips. Detectable: the smallest difference that this many items would "
        "show four times in five."
    )
    return Table("selected", "Selected points", note, columns, rows, (0, 2, 3))


def _tasks(stored: Stored) -> Table:
    rows = []
    for name in stored.selected:
        for task in stored.tasks:
            rows.append(_task(stored, name, task))
    columns = [
        *("merge", "selected", "task", "skills", "items", "clusters"),
        *("score", "parents", "Gain", "OG", "p", "q", "verdict"),
    ]
    note = (
        "Selected points, task by task. p: against the better parent, one-sided; q: after Benjamini-Hochberg "
        "within the stage, over a combination's named tasks with enough clusters."
    )
    return Table("tasks", "Task by task", note, columns, rows, (0, 2, 3, 12))


def _task(stored: Stored, name: str, task: str) -> list[Cell]:
    point, found = stored.points[name], stored.summary["selected"][name]["tasks"][task]
    parents = ", ".join(f"{p} {labels.points(v)}" for p, v in found["constituents"].items())
    best = max(found["constituents"].values(), default=0.0)
    return [
        plain(labels.combination(point["combination"])),
        plain(labels.how(point)),
        plain(labels.task(task)),
        plain(labels.skills(stored.summary["tasks"][task])),
        number(found["items"], 0),
        number(found["clusters"], 0),
        ranged(found["score"]),
        Cell(parents, best),
        ranged(found["gain"], sign=True),
        ranged(found["og"], sign=True),
        number(found.get("p_og"), 4),
        number(found.get("q_og"), 4),
        plain(found.get("verdict", "")),
    ]


def _all(stored: Stored) -> Table:
    rows = [_single(stored, name) for name in stored.singles]
    rows += [_point(stored, name, point) for name, point in stored.points.items()]
    columns = [
        *("stage", "merge", "operator", "hyperparameters", "selected"),
        *("macro", f"on {'selection' if stored.splits else 'all'} items"),
        *("Macro-Gain", "Macro-OG", "retention", "probes", "name"),
    ]
    items = "the report" if stored.splits else "all"
    note = f"Every model that was evaluated; scores on {items} items unless said otherwise."
    return Table("points", "All points", note, columns, rows, (0, 1, 2, 4))


def _single(stored: Stored, name: str) -> list[Cell]:
    own = stored.measured(name)
    known = [Cell("0", 0), plain(name), plain("none"), plain(""), plain("")]
    empty = [number(None)] * 3
    return [
        *known,
        ranged(own["macro"]),
        *empty,
        ranged(own.get("retention")),
        ranged(own.get("probes")),
        plain(name),
    ]


def _point(stored: Stored, name: str, point: Mapping[str, Any]) -> list[Cell]:
    mark = "combination" if name in stored.chosen else "operator" if name in stored.selected else ""
    return [
        Cell(str(point["stage"]), point["stage"]),
        plain(labels.combination(point["combination"])),
        plain(labels.operator(point["operator"])),
        Cell(labels.values(point), min(point["values"].values(), default=0.0)),
        plain(mark),
        ranged(point["macro"]),
        number(point.get("macro_on_selection"), 1, 100),
        _signed(point.get("macro_gain")),
        _signed(point.get("macro_og")),
        ranged(point.get("retention")),
        ranged(point.get("probes")),
        plain(name),
    ]


def _signed(value: float | None) -> Cell:
    return number(None) if value is None else Cell(labels.points(value, sign=True), value, "number")
