"""Which of a task's metrics is its `score`, and how results and samples get it.

Tasks of this package report `score` themselves. Of any other task of lm-eval it is the metric that the user
names, else the first that the task declares, after the filter that the user names, else the first filter.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mergekit_finance.errors import DataError, did_you_mean
from mergekit_finance.file_models import MAX_NUMBER
from mergekit_finance.hosts import lm_eval as host
from mergekit_finance.hosts.metric_modules import AGGREGATIONS, HOST_METRICS
from mergekit_finance.plugins.manager import plugin_packages
from mergekit_finance.recipe.task_entries import TaskSettings

if TYPE_CHECKING:
    from lm_eval.api.task import ConfigurableTask

    from mergekit_finance.files import Json
    from mergekit_finance.hosts.lm_eval import Results, Sample

SCORE, NO_FILTER = "score", "none"
# Metrics of lm-eval that are no shares of 1, although higher is better; where lower is better none is.
OTHER_UNITS = ("bleu", "chrf", "chrf++")
OURS = "mergekit_finance"
CORPUS = ("bleu", "chrf", "chrfpp", "ter")  # aggregations of lm-eval over the texts of all items at once


@dataclass(frozen=True)
class MetricChoice:
    """A metric and a filter as the user names them; None: the task's own."""

    metric: str | None = None
    filter: str | None = None


def choices_of(settings: Mapping[str, TaskSettings]) -> dict[str, MetricChoice]:
    """Return which metric and filter is the score, by task or group."""
    return {name: MetricChoice(one.metric, one.filter) for name, one in settings.items()}


@dataclass(frozen=True)
class Measure:
    """What is read from a task's results as its `score`.

    Attributes:
        metric, filter: their names in lm-eval's results.
        aggregation: from the values of items to the task's value.
        higher_is_better: False for perplexity, bits per byte and other losses.
    """

    metric: str
    filter: str
    aggregation: "Callable[[Sequence[Json]], float]"
    higher_is_better: bool = True

    @property
    def key(self) -> str:
        """The metric's name in lm-eval's results: `acc_norm,none`."""
        return f"{self.metric},{self.filter}"

    @property
    def unit(self) -> str:
        """The metric's name if it is measured in a unit of its own, or "" for a score in [0, 1]."""
        return unit_of(self.metric, self.higher_is_better)

    @property
    def is_corpus(self) -> bool:
        """Whether it is one of lm-eval's metrics over the texts of all items at once, such as BLEU."""
        return self._module == HOST_METRICS and getattr(self.aggregation, "__name__", "") in CORPUS

    @property
    def per_item(self) -> bool:
        """Whether the task's value can be computed again from stored scores of items: not for BLEU, and not
        for a function of the user's task files, which is never called when stored results are read."""
        package = self._module.split(".")[0]
        return not self.is_corpus and (
            self._module in AGGREGATIONS or package == OURS or package in plugin_packages()
        )

    @property
    def _module(self) -> str:
        return getattr(self.aggregation, "__module__", "") or ""


def unit_of(metric: str, higher_is_better: bool) -> str:
    """Return a metric's name if it is measured in a unit of its own, or "" for a score in [0, 1]."""
    return metric if metric in OTHER_UNITS or not higher_is_better else ""


def measure_of(name: str, task: "ConfigurableTask", choice: MetricChoice) -> Measure:
    """Return what a task's score is.

    Raises:
        DataError: the task has no such metric or filter, or no metric at all; one line names the valid ones.
    """
    metrics, filters = host.metrics_of(task), host.filters_of(task)
    metric, filter_name = choose(name, list(metrics), filters, choice)
    aggregation, higher_is_better = metrics[metric]
    if not callable(aggregation):  # lm-eval only logs that it has none of the name
        raise DataError(
            f"task {name!r}: lm-eval has no aggregation of the name that the task's file gives for "
            f"{metric!r}. Correct `aggregation` in its metric_list.",
            id="task.broken",
        )
    return Measure(metric, filter_name, aggregation, higher_is_better)


def choose(
    name: str, metrics: Sequence[str], filters: Sequence[str], choice: MetricChoice
) -> tuple[str, str]:
    """Return the metric that is a task's score, and its filter.

    Args:
        name: of the task, for messages.
        metrics, filters: the task's, in its order.
        choice: what the user names.

    Raises:
        DataError: the task has no such metric or filter, or none at all; one line names the valid ones.
    """
    if not metrics or not filters:
        raise DataError(
            f"task {name!r} computes no metric, so Gain is not defined for it. Use another task, or give "
            f"it a `{'filter_list' if metrics else 'metric_list'}`.",
            id="task.no-score",
        )
    if choice.metric is not None and choice.metric not in metrics:
        raise DataError(
            f"task {name!r} has no metric {choice.metric!r}. {did_you_mean(choice.metric, metrics)}",
            id="task.unknown-metric",
        )
    if choice.filter is not None and choice.filter not in filters:
        raise DataError(
            f"task {name!r} has no filter {choice.filter!r}. {did_you_mean(choice.filter, filters)}",
            id="task.unknown-filter",
        )
    metric = choice.metric or (SCORE if SCORE in metrics else metrics[0])
    return metric, choice.filter or (NO_FILTER if NO_FILTER in filters else filters[0])


def not_listed(name: str, names: Sequence[str]) -> DataError:
    """Return the error for settings of a task that is not evaluated; `names` are those that are."""
    return DataError(
        f"settings of {name!r}: no task or group of that name is evaluated. {did_you_mean(name, names)}",
        id="task.unknown",
    )


def with_scores(results: "Results", measures: Mapping[str, Measure]) -> "Results":
    """Add `score` to lm-eval's results and samples, in place, and return them.

    Of samples only those of the measure's filter are kept, one per item: lm-eval repeats every item for every
    filter, with the same responses. An item for which the task did not compute the metric is left out, as in
    lm-eval's own aggregation.

    Raises:
        DataError: a task did not compute its metric for any item, or the metric is not in [0, 1].
    """
    for name, measure in measures.items():
        samples = [row for row in map(_scored(measure), results["samples"][name]) if row]
        if not samples:
            raise DataError(
                f"task {name!r} did not compute {measure.key!r} for any item. Name another metric.",
                id="task.no-score",
            )
        value = float(results["results"][name][measure.key])
        if not measure.unit and not -1 <= value <= 1:
            raise DataError(
                f"task {name!r}: {measure.key!r} is {value:g} and not in [0, 1], so its Gain cannot be "
                "averaged with that of other tasks. Name another metric.",
                id="task.no-score",
            )
        if not math.isfinite(value) or abs(value) > MAX_NUMBER:
            raise DataError(
                f"task {name!r}: {measure.key!r} is {value:g}, larger than results can hold. Name another "
                "metric, for example bits_per_byte.",
                id="task.no-score",
            )
        results["results"][name][f"{SCORE},{NO_FILTER}"] = value
        results["samples"][name] = samples
    return results


def _scored(measure: Measure) -> "Callable[[Sample], Sample | None]":
    def scored(row: "Sample") -> "Sample | None":
        if row.get("filter", NO_FILTER) != measure.filter or measure.metric not in row:
            return None
        return row if measure.metric == SCORE else {**row, SCORE: row[measure.metric]}

    return scored
