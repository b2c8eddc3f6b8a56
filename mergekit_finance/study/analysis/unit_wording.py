"""The words and table cells of tasks that are in no mean of scores: see `analysis.units`."""

from collections.abc import Collection, Iterator

from mergekit_finance.study.analysis.phrases import how, merge_name, task_list
from mergekit_finance.study.schema import NOT_SELECTED, Estimated, Summary, UnitResults

NO_INTERVAL = (
    "No interval for {tasks}: the metric is computed over all items at once, so there are no scores of "
    "single items. The values are in no other mean."
)
NOT_SELECTED_NOTE = (
    f"{NOT_SELECTED} Every merge is shown on all items, without a verdict; take the one that your measures "
    "favor, and confirm it on other items."
)
KINDS = {"tasks": "", "retention": ", retention", "probes": ", probes"}


def unit_title(unit: UnitResults) -> str:
    """Return `bits_per_byte (lower is better), retention`."""
    direction = "lower" if unit.lower_is_better else "higher"
    name = unit.unit or "scores without items"
    return f"{name} ({direction} is better){KINDS.get(unit.kind, '')}"


def amount(numbers: Estimated | None, sign: bool = False) -> str:
    """Return `1.234 [1.2, 1.3]` in the unit itself, not in points; without an interval the value alone."""
    if numbers is None:
        return ""
    value, low, high = numbers
    text = _significant(value, sign)
    if low is None or high is None:
        return text
    if low == high:  # as in `phrases.interval_in_words`: [0, 0] would look like certainty about other items
        return f"{text} (the same in every resample)"
    return f"{text} [{_significant(low, sign)}, {_significant(high, sign)}]"


def _significant(value: float, sign: bool) -> str:
    """Return four significant digits, with thousands as they are: 1.234, 12345."""
    text = f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return f"+{text}" if sign and value > 0 else text


def unit_rows(summary: Summary, unit: UnitResults) -> list[list[str]]:
    """Return the table of a unit with its header: base, experts and every merge."""
    rows = [[unit_title(unit), "macro", "Macro-Gain", "Macro-OG"]]
    for name, row in unit.models.items():
        point = summary.points.get(name)
        label = f"{merge_name('+'.join(point.combination))}, {how(summary, name)}" if point else name
        effects = (amount(row.macro_gain, True), amount(row.macro_og, True))
        rows.append([label, amount(row.macro), *effects])
    return rows


def unit_sentences(summary: Summary) -> Iterator[tuple[str, str]]:
    """Yield one sentence per unit and combination, and one that names tasks without intervals."""
    for unit in summary.units:
        for name, row in sorted(summary.combinations.items(), key=lambda item: item[1].stage):
            merge, point = unit.models[row.selected], summary.points[row.selected]
            others = ", ".join(f"{c} {amount(unit.models[c].macro)}" for c in point.constituents)
            yield (
                "units",
                f"{unit_title(unit)}: {merge_name(name)} {amount(merge.macro)} ({others}), "
                f"Macro-Gain {amount(merge.macro_gain, True)}, Macro-OG {amount(merge.macro_og, True)}; "
                f"{_tasks(unit.tasks)}. Above 0 the merge is better.",
            )
    if without := [name for unit in summary.units for name in unit.without_items]:
        yield "caution", NO_INTERVAL.format(tasks=task_list(without))


def _tasks(names: Collection[str]) -> str:
    return "1 task" if len(names) == 1 else f"{len(names)} tasks"
