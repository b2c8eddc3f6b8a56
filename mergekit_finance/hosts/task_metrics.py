"""Metrics and filters that a task file declares, read without loading lm-eval.

Written for lm-eval 0.4.13 and 0.5.0.dev1: what their tasks make of `metric_list`, `filter_list` and
`output_type`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from mergekit_finance.errors import DataError, did_you_mean
from mergekit_finance.hosts.metric_modules import HOST_METRICS
from mergekit_finance.hosts.task_files import FunctionName, lm_eval_tasks

if TYPE_CHECKING:
    from mergekit_finance.files import Json
    from mergekit_finance.hosts.task_files import Settings

# The metrics of a task without `metric_list`, by output type (`DEFAULT_METRIC_REGISTRY`).
DEFAULT_METRICS = {
    "loglikelihood": ("perplexity", "acc"),
    "loglikelihood_rolling": ("word_perplexity", "byte_perplexity", "bits_per_byte"),
    "multiple_choice": ("acc", "acc_norm"),
    "generate_until": ("exact_match",),
}
DEFAULT_TYPE = "generate_until"
NO_VALUES = "bypass"  # the metric of tasks that only write answers
UNNAMED = "none"  # the filter of a task without `filter_list`
# Where metrics and aggregations are registered: one file in lm-eval 0.4, four in 0.5.
METRIC_FILES = ("metrics", "metrics/aggregations", "metrics/corpus", "metrics/generation", "metrics/ll")
REGISTERED = re.compile(
    r"""^@(?:register_)?metric\(\s*(?:metric=)?"([^"]+)",(.*?)\)$""", re.MULTILINE | re.DOTALL
)
AGGREGATION = re.compile(r"""^@(?:register_)?aggregation\("([^"]+)"\)""", re.MULTILINE)


@dataclass(frozen=True)
class DeclaredMetric:
    """A metric of a task file.

    Attributes:
        aggregation: the name of an aggregation of lm-eval, or of a function.
        higher_is_better: False for losses.
    """

    aggregation: str
    higher_is_better: bool


class UnregisteredError(DataError):
    """A name that lm-eval does not have. Code of the task may register it when lm-eval loads the task."""


def is_readable(config: "Settings") -> bool:
    """Return whether a task's file says all about its metrics.

    Not for a task that is a Python class, nor for one whose code may register metrics and filters that it
    uses, nor for one that leaves the aggregation of a metric to a version of lm-eval that has its metrics in
    other files than these.
    """
    if "class" in config:
        return False
    if not _has_code(config) and _registered()[0]:
        return True
    try:
        declared_metrics("", config)
        declared_filters("", config)
    except UnregisteredError:
        return False
    except DataError:
        return True
    return True


def _has_code(value: "Json | Settings") -> bool:
    """Return whether a part of a task's file names a Python function."""
    if isinstance(value, Mapping):
        return any(map(_has_code, value.values()))
    if isinstance(value, list):
        return any(map(_has_code, value))
    return isinstance(value, FunctionName)


def declared_metrics(name: str, config: "Settings") -> dict[str, DeclaredMetric]:
    """Return the metrics that a task reports, in its order, without `bypass`.

    Args:
        name: of the task, for messages.
        config: the content of its file with that of included files.

    Raises:
        DataError: lm-eval cannot load the task because of its output type or its metrics.
    """
    kind = config.get("output_type") or DEFAULT_TYPE
    if not isinstance(kind, str) or kind not in DEFAULT_METRICS:
        hint = did_you_mean(str(kind)[:100], DEFAULT_METRICS)
        raise _broken(name, f"output_type {kind!r:.60} is not one of lm-eval's. {hint}")
    entries = config.get("metric_list")
    if entries is None or _is_default(entries):
        entries = [{"metric": metric} for metric in DEFAULT_METRICS[kind]]
    if not isinstance(entries, list):
        raise _broken(name, "metric_list is not a list. Correct the task's file.")
    metrics: dict[str, DeclaredMetric] = {}
    for entry in entries:
        metric = entry.get("metric") if isinstance(entry, Mapping) else None
        if not isinstance(entry, Mapping) or not isinstance(metric, str):
            raise _broken(name, "an entry of metric_list has no `metric`. Correct the task's file.")
        metrics[_short(metric)] = _declared(name, metric, entry)
    return {metric: declared for metric, declared in metrics.items() if metric != NO_VALUES}


def declared_filters(name: str, config: "Settings") -> list[str]:
    """Return the names of a task's filters, in its order. Raises DataError if lm-eval cannot load them."""
    entries = config.get("filter_list")
    if entries is None or _is_default(entries):
        return [UNNAMED]
    return [_filter(name, entry) for entry in (entries if isinstance(entries, list) else [None])]


def _is_default(entries: "Json") -> bool:
    """Return whether a list stands for the default, as an empty one does since lm-eval 0.5."""
    return entries == [] and bool(_source("scorers/_base.py"))


def _declared(name: str, metric: str, entry: "Settings") -> DeclaredMetric:
    registered, aggregations = _registered()
    default = registered.get(metric)
    aggregation = entry.get("aggregation", default.aggregation if default else None)
    if not isinstance(aggregation, str):
        raise _unregistered(name, f"metric {metric!r:.60} has no aggregation. Write `aggregation: mean`.")
    if aggregations and aggregation not in aggregations and not isinstance(aggregation, FunctionName):
        hint = did_you_mean(aggregation[:100], aggregations)
        message = f"metric {metric!r:.60}: lm-eval has no aggregation {aggregation!r:.60}. {hint}"
        raise _unregistered(name, message)
    better = entry.get("higher_is_better", default.higher_is_better if default else True)
    return DeclaredMetric(aggregation, better is not False)


def _filter(name: str, entry: "Json") -> str:
    steps = entry.get("filter") if isinstance(entry, Mapping) else None
    label = entry.get("name") if isinstance(entry, Mapping) else None
    if not isinstance(label, str) or not isinstance(steps, list):
        raise _broken(name, "filter_list must list mappings with `name` and `filter`. Correct them.")
    for step in steps:
        function = step.get("function") if isinstance(step, Mapping) else None
        if not isinstance(function, str):
            raise _broken(name, f"filter {label!r:.60} has a step without `function`. Add it.")
        if _filters() and function not in _filters() and not isinstance(function, FunctionName):
            hint = did_you_mean(function[:100], _filters())
            message = f"filter {label!r:.60}: lm-eval has no filter function {function!r:.60}. {hint}"
            raise _unregistered(name, message)
    return label


def _short(metric: str) -> str:
    """Return a metric's name in results: of a function, its name without its module."""
    return metric.rpartition(".")[2] if isinstance(metric, FunctionName) else str(metric)


def _broken(name: str, problem: str) -> DataError:
    return DataError(f"task {name!r:.80}: {problem}", id="task.broken")


def _unregistered(name: str, problem: str) -> UnregisteredError:
    return UnregisteredError(f"task {name!r:.80}: {problem}", id="task.broken")


@cache
def _registered() -> tuple[dict[str, DeclaredMetric], frozenset[str]]:
    """Return lm-eval's metrics and the names of its aggregations; empty if its files are elsewhere."""
    text = "\n".join(_source(f"api/{name}.py") for name in METRIC_FILES)
    metrics: dict[str, DeclaredMetric] = {}
    for metric, settings in REGISTERED.findall(text):
        aggregation = re.search(r'aggregation="([^"]+)"', settings)
        # Metrics of lm-eval 0.5 over all items are classes, whose own method aggregates.
        name = aggregation[1] if aggregation else FunctionName(f"{HOST_METRICS}.corpus.{metric}")
        metrics[metric] = DeclaredMetric(name, "higher_is_better=False" not in settings)
    return metrics, frozenset(AGGREGATION.findall(text))


@cache
def _filters() -> frozenset[str]:
    """Return the names of lm-eval's filter functions; empty if its files are elsewhere."""
    imported = re.findall(r"^from \. import (.+)$", _source("filters/__init__.py"), re.MULTILINE)
    modules = [module.strip() for line in imported for module in line.split(",")]
    texts = [_source(f"filters/{module}.py") for module in modules]
    return frozenset(re.findall(r'@register_filter\("([^"]+)"\)', "\n".join(texts)))


def _source(file: str) -> str:
    """Return the text of a module of lm-eval, or "" if there is none."""
    root = lm_eval_tasks()
    try:
        return Path(root.parent, file).read_text(encoding="utf-8") if root else ""
    except (OSError, ValueError):
        return ""
