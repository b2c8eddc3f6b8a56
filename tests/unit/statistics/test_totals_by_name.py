"""Aggregations by name, as tasks.json of a study folder has them: only plugins' functions are looked up."""

import sys
from types import ModuleType

import pytest

from mergekit_finance.errors import DataError
from mergekit_finance.plugins.manager import manager
from mergekit_finance.statistics.totals import aggregation_name, named_aggregation, sufficient

HARMFUL = [
    "os:system",
    "subprocess:call",
    "builtins:eval",
    "importlib:import_module",
    "mergekit_finance.files:bundled",
    "lm_eval.utils:load_yaml_config",
    "lm_eval.api.metrics:logging.shutdown",
    "lm_eval.api.metrics:nothing",
    "antigravity:geohash",
    ":",
    "a:b:c",
    ".:x",
]


@pytest.mark.parametrize("name", HARMFUL)
def test_a_study_folder_cannot_name_any_function_as_an_aggregation(name: str) -> None:
    """Otherwise tasks.json of a downloaded study could name `subprocess:call`, to be called with its scores."""
    before = set(sys.modules)
    with pytest.raises(DataError) as caught:
        named_aggregation(name)
    assert "\n" not in str(caught.value) and name in str(caught.value)
    assert "antigravity" not in set(sys.modules) - before


def median_of_plugin(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def test_a_plugins_function_is_found_again_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    plugin = ModuleType("example_plugin")
    metrics = ModuleType("example_plugin.metrics")
    monkeypatch.setattr(median_of_plugin, "__module__", "example_plugin.metrics")
    metrics.median_of_plugin = median_of_plugin
    metrics.borrowed = len
    for module in (plugin, metrics):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    with pytest.raises(DataError, match="Install the plugin"):
        named_aggregation("example_plugin.metrics:median_of_plugin")
    manager().register(plugin, "example")
    try:
        name = aggregation_name(median_of_plugin)
        assert name == "example_plugin.metrics:median_of_plugin"
        assert named_aggregation(name) is median_of_plugin
        with pytest.raises(DataError, match="is not a function of that module"):
            named_aggregation("example_plugin.metrics:borrowed")
        with pytest.raises(DataError, match="is not in this version of the plugin"):
            named_aggregation("example_plugin.metrics:gone")
    finally:
        manager().unregister(plugin)


def test_a_metric_of_lm_eval_is_found_again_by_its_name() -> None:
    from lm_eval.api.metrics import median

    assert named_aggregation(aggregation_name(median)) is median


@pytest.mark.parametrize("name", ["weighted_f1", "headline_mean_f1"])
def test_values_that_are_nearly_all_different_are_refused_before_memory_is_filled(name: str) -> None:
    width = 2 if name == "weighted_f1" else 3
    values = [[f"{i}-{j}" for j in range(width)] for i in range(20_000)]
    with pytest.raises(DataError, match="too many different values"):
        sufficient(name, values)
