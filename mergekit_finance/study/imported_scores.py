"""Which scores of items an imported model can have on a task of a study."""

from collections.abc import Callable, Mapping, Sequence

from mergekit_finance.files import Json
from mergekit_finance.statistics.totals import known_name, named_aggregation
from mergekit_finance.study.schema import Columns, TaskInfo

MISSING_LABEL = -1  # no prediction


def impossible_metric(info: TaskInfo, base: Columns, columns: Columns) -> str:
    """Return `score` or `correct` if an item has a value of it that the task cannot give, else "".

    Args:
        info: the task, whose score is in [0, 1].
        base: the base's items of the task. What they have, another model may have too: some tasks of lm-eval
            have scores of items outside [0, 1].
        columns: the imported model's, of the same items.
    """
    is_possible = CHECKS.get(known_name(named_aggregation(info.aggregation)), _has_form_of_base)
    if not is_possible(columns.score, base):
        return "score"
    return "" if _are_shares(columns.correct, base.correct) else "correct"


def _are_shares(values: Sequence[Json], of_base: Sequence[Json]) -> bool:
    """Return whether all values are numbers in [0, 1], or in the range of the base's values."""
    ends = [0.0, 1.0, *(value for value in of_base if isinstance(value, int | float))]
    low, high = min(ends), max(ends)
    return all(isinstance(value, int | float) and low <= value <= high for value in values)


def _means(values: Sequence[Json], base: Columns) -> bool:
    return _are_shares(values, base.score)


def _choices(values: Sequence[Json], base: Columns) -> bool:
    """Return whether all values are (..., gold, prediction), of the base's item but for the prediction."""
    labels = {repr(label) for one in base.score if isinstance(one, list) for label in one[-2:]}
    for value, of_base, options in zip(values, base.score, base.options, strict=True):
        if not isinstance(value, list) or not isinstance(of_base, list) or len(value) != len(of_base):
            return False
        if list(map(repr, value[:-1])) != list(map(repr, of_base[:-1])):  # repr: True is not 1
            return False
        choice = value[-1]
        is_index = isinstance(choice, int) and not isinstance(choice, bool)
        if is_index and (choice == MISSING_LABEL or not options or 0 <= choice < options):
            continue
        if options or repr(choice) not in labels:  # labels of generated answers may be texts
            return False
    return True


def _entities(values: Sequence[Json], base: Columns) -> bool:
    """Return whether all values are counts (right, predicted, gold), with the base's gold."""
    for value, of_base in zip(values, base.score, strict=True):
        if not isinstance(value, list) or len(value) != 3 or any(type(count) is not int for count in value):
            return False
        right, predicted, gold = value
        if not 0 <= right <= min(predicted, gold) or not isinstance(of_base, list) or gold != of_base[-1]:
            return False
    return True


def _has_form_of_base(values: Sequence[Json], base: Columns) -> bool:
    """Return whether all values have the form of some value of the base, for any other aggregation."""
    forms = {_form(value) for value in base.score}
    return all(_form(value) in forms for value in values)


def _form(value: Json) -> str:
    """Return the types in a value: `number`, `text`, or those of a list's entries."""
    if isinstance(value, list):
        return f"[{', '.join(map(_form, value))}]"
    is_number = isinstance(value, int | float)
    return "number" if is_number else "text" if isinstance(value, str) else type(value).__name__


CHECKS: Mapping[str, Callable[[Sequence[Json], Columns], bool]] = {
    "mean": _means,
    "weighted_f1": _choices,
    "macro_f1_two_class": _choices,
    "headline_mean_f1": _choices,
    "corpus_entity_f1": _entities,
}
