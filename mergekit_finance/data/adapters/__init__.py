"""From raw records to the rows that task YAMLs use: one adapter per raw layout.

Every row gets `item_id` (unique, stable) and `cluster_id` (what shares a source and so is not
independent: a headline, a report, a conversation). Choice rows have `options` and `gold_index`; rows of
AdaptLLM/finance-tasks have their whole prompt, demonstrations included, in `input`, and rows of raw
layouts their parts (`text`, `shots`, …), which the YAML's template puts together.
"""

from mergekit_finance.data.adapters import english, general, japanese
from mergekit_finance.data.adapters.base import Adapter, Row
from mergekit_finance.errors import DataError, did_you_mean

__all__ = ["ADAPTERS", "Adapter", "Row", "adapter"]

ADAPTERS: dict[str, Adapter] = {
    function.__name__: function for module in (english, japanese, general) for function in module.ADAPTERS
}


def adapter(name: str) -> Adapter:
    """One adapter by the name that registry and manifest give it."""
    if name not in ADAPTERS:
        raise DataError(f"unknown adapter {name!r}. {did_you_mean(name, ADAPTERS)}")
    return ADAPTERS[name]
