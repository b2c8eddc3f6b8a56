"""Adapters: one function per raw layout, from raw records to the rows that the tasks' YAML files use.

Every row has `item_id` (unique, stable) and `cluster_id`: rows of one cluster share a source (a headline, a
report, a conversation) and are not independent. Choice rows have `options` and `gold_index`. Rows of
AdaptLLM/finance-tasks have their whole prompt, demonstrations included, in `input`; rows of raw layouts have
its parts (`text`, `shots`, …), from which the YAML's template builds the prompt.
"""

from mergekit_finance.data.adapters import english, general, japanese, retention
from mergekit_finance.data.adapters.base import Adapter, Row
from mergekit_finance.errors import DataError, did_you_mean

__all__ = ["ADAPTERS", "Adapter", "Row", "adapter"]

ADAPTERS: dict[str, Adapter] = {
    function.__name__: function
    for module in (english, japanese, general, retention)
    for function in module.ADAPTERS
}


def adapter(name: str) -> Adapter:
    """Return the adapter of this name in registry and manifest. Raises DataError for unknown names."""
    if name not in ADAPTERS:
        raise DataError(f"unknown adapter {name!r}. {did_you_mean(name, ADAPTERS)}")
    return ADAPTERS[name]
