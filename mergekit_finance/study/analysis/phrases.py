"""Formats of numbers and names that all sentences, tables and figures use.

Differences are in points of a hundred, as `value [low, high]` with a 95 % interval. A cluster is an item, or
several items from one source, which are not independent.
"""

from collections.abc import Mapping, Sequence

from mergekit_finance.operators import PARAMETER_SYMBOLS, operator_of, value_text, values_text
from mergekit_finance.statistics.power import enough
from mergekit_finance.study.analysis.selection import cell
from mergekit_finance.study.schema import SelectionResult, Summary

MOST_TASKS = 6  # listed in a sentence


def in_points(value: float, sign: bool = False, digits: int = 1) -> str:
    """Return a share as points of a hundred: `3.1`, or `+3.1` with `sign`; zero has no sign."""
    return number(100 * value, digits, sign)


def number(value: float, digits: int = 1, sign: bool = False) -> str:
    """Return a number with a plain minus; what rounds to zero has no sign."""
    rounded = round(value, digits) + 0.0  # + 0.0: no minus zero
    return f"{rounded:+.{digits}f}" if sign and rounded else f"{rounded:.{digits}f}"


def interval(numbers: Sequence[float], sign: bool = False) -> str:
    """Return `3.1 [1.0, 5.2]` from a value and its interval, in points."""
    value, low, high = (in_points(number, sign) for number in numbers)
    return f"{value} [{low}, {high}]"


def interval_in_words(numbers: Sequence[float], sign: bool = False) -> str:
    """Return `3.1 [1.0, 5.2]` in points, or `3.1 (the same in every resample)`.

    A difference that is the same in every cluster resamples to itself. That is not an interval, and
    [0.0, 0.0] would look like certainty about other items.
    """
    value, low, high = numbers
    return (
        f"{in_points(value, sign)} (the same in every resample)" if low == high else interval(numbers, sign)
    )


def difference(numbers: Sequence[float], unit: str = "points") -> str:
    """Return `+1.2 [-0.4, +2.8] points`, or `0.0 points in every resample`."""
    value, low, high = numbers
    if low == high:
        return f"{in_points(value, sign=True)} {unit} in every resample"
    return f"{interval(numbers, sign=True)} {unit}"


def merge_name(combination: str) -> str:
    """Return `finance + math`; for one expert `base + finance`."""
    names = combination.split("+")
    return " + ".join(["base", *names] if len(names) == 1 else names)


def how(summary: Summary, point: str) -> str:
    """Return `Task Arithmetic, λ 0.4`; of a cell with several mask seeds, which one is reported."""
    row = summary.points[point]
    swept = {key: value for key, value in row.values.items() if key != "seed"}
    values = [values_text(swept, {"lambda": symbol("lambda")})] if swept else []
    same = [other for other in summary.points.values() if cell(other) == cell(row)]
    if len(same) > 1:
        values.append(f"mask seed {value_text(row.values['seed'])}, the first of {len(same)}")
    return ", ".join([operator_of(row.operator).label, *values])


def symbol(parameter: str) -> str:
    """Return λ for lambda; density stays a word in text."""
    return PARAMETER_SYMBOLS[parameter] if parameter == "lambda" else parameter


def task_list(tasks: Sequence[str]) -> str:
    """Return short task names, at most MOST_TASKS: `fpb, headline and 3 more`."""
    names = [task.removeprefix("finance_bench_") for task in tasks]
    more = f" and {len(names) - MOST_TASKS} more" if len(names) > MOST_TASKS else ""
    return f"{', '.join(names[:MOST_TASKS])}{more}"


def weights_note(weights: Mapping[str, float]) -> str:
    """Return how the means over tasks are weighted, or "" where all tasks have the same weight.

    Args:
        weights: by task.
    """
    if len(set(weights.values())) < 2:
        return ""
    tasks_by_weight: dict[float, list[str]] = {}
    for task, weight in weights.items():
        tasks_by_weight.setdefault(weight, []).append(task)
    largest = max(tasks_by_weight, key=lambda weight: (len(tasks_by_weight[weight]), -weight))
    names = tasks_by_weight | ({largest: ["all others"]} if len(tasks_by_weight[largest]) > 1 else {})
    parts = [f"{task_list(names[weight])} {weight:g}" for weight in sorted(names, reverse=True)]
    return f"Means over tasks are weighted: {'; '.join(parts)}."


def alternatives(words: Sequence[str]) -> str:
    """Return `"recovery" or "no clear effect", depending on the random seed`; words can have commas."""
    quoted = [f'"{word}"' for word in words]
    return f"{', '.join(quoted[:-1])} or {quoted[-1]}, depending on the random seed"


def sample_size(clusters: int) -> str:
    """Return `120 clusters`, or `64 clusters (inconclusive)` below MIN_CLUSTERS."""
    return cluster_count(clusters) + ("" if enough(clusters) else " (inconclusive)")


def cluster_count(clusters: int) -> str:
    """Return `120 clusters` or `1 cluster`."""
    return "1 cluster" if clusters == 1 else f"{clusters} clusters"


def chosen_by(selection: SelectionResult) -> str:
    """Return what gave the hyperparameters that are shown."""
    if selection.is_split:
        return "selected on the selection items"
    return "selected on the reported items" if selection.same_items else "given by the study file"
