"""What differs between lm-eval 0.4.13 and 0.5.0.dev1, for tests that use lm-eval themselves."""

from collections.abc import Callable
from importlib.util import find_spec

from lm_eval.api import registry

HAS_SCORERS = find_spec("lm_eval.scorers") is not None  # since 0.5


def registered_metric(name: str) -> tuple[Callable[..., float], bool]:
    """Aggregation and higher-is-better of a metric, for tasks that name neither."""
    if HAS_SCORERS:
        metric = registry.metric_registry[name]
        return metric.aggregation, metric.higher_is_better
    return registry.get_metric_aggregation(name), registry.is_higher_better(name)
